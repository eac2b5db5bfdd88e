"""One PostgreSQL and one Redis for the whole run, and for each pytest worker its own database and server.

The pair is the embedded default, started once in the process that leads the run. A template database is
migrated once; each worker copies it and starts `quartermaster serve` on the copy, so tests talk to real
processes over HTTP. Tests share a server but not a client (organisation): each makes its own.
"""

import asyncio
import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path

import asyncpg
import httpx
import pytest

from migrations import upgrade
from server.embedded import running
from tests.support.api import Api, Organisation
from tests.support.stack import Stack
from tests.support.stores import keys_of
from tests.support.swift import S3Server, s3_server, why_not

_POSTGRES, _REDIS = "QM_TESTS_DATABASE_URL", "QM_TESTS_REDIS_URL"
_TEMPLATE = "qm_template"
_stack = ExitStack()


def _with_database(url: str, name: str) -> str:
    return url.rpartition("/")[0] + "/" + name


async def _make_database(url: str, name: str, template: str | None = None) -> None:
    connection = await asyncpg.connect(url)
    copied = f' TEMPLATE "{template}"' if template else ""
    await connection.execute(f'CREATE DATABASE "{name}"{copied}')
    await connection.close()


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput") or config.option.collectonly:
        return
    folder = Path(_stack.enter_context(tempfile.TemporaryDirectory(prefix="qm-tests-")))
    services = _stack.enter_context(running(folder / "services"))
    os.environ[_POSTGRES], os.environ[_REDIS] = services.database_url, services.redis_url
    asyncio.run(_make_database(services.database_url, _TEMPLATE))
    upgrade(_with_database(services.database_url, _TEMPLATE))


def pytest_unconfigure(config: pytest.Config) -> None:
    _stack.close()


@pytest.fixture(scope="session")
def worker_name() -> str:
    return os.environ.get("PYTEST_XDIST_WORKER", "main")


@pytest.fixture(scope="session")
def database_url(worker_name: str) -> str:
    """A database of this pytest worker, at the newest revision."""
    url, name = os.environ[_POSTGRES], f"qm_{worker_name}"
    asyncio.run(_make_database(url, name, _TEMPLATE))
    return _with_database(url, name)


@pytest.fixture(scope="session")
def stack(folder_stack: Stack) -> Stack:
    return folder_stack


@pytest.fixture(scope="session")
def folder_stack(database_url: str, worker_name: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`quartermaster serve`, for all tests of this pytest worker."""
    with Stack.started(
        tmp_path_factory.mktemp("data"),
        QM_DATABASE_URL=database_url,
        QM_REDIS_URL=os.environ[_REDIS],
        QM_REDIS_NAMESPACE=f"tests-{worker_name}",
        QM_SECRET_KEY="a secret key of the tests, long enough",
        QM_INTROSPECTION="true",
    ) as stack:
        yield stack


StackOf = Callable[..., AbstractContextManager[Stack]]


@pytest.fixture(scope="session")
def stack_of(worker_name: str, tmp_path_factory: pytest.TempPathFactory) -> StackOf:
    """Starts another `quartermaster serve` with other settings, on a new database and Redis namespace."""

    def start(**settings: str) -> AbstractContextManager[Stack]:
        url, name = os.environ[_POSTGRES], f"qm_{worker_name}_{uuid.uuid4().hex[:8]}"
        asyncio.run(_make_database(url, name, _TEMPLATE))
        given = {
            "QM_DATABASE_URL": _with_database(url, name),
            "QM_REDIS_URL": os.environ[_REDIS],
            "QM_REDIS_NAMESPACE": name,
            "QM_SECRET_KEY": "a secret key of the tests, long enough",
        }
        return Stack.started(tmp_path_factory.mktemp("data"), **{**given, **settings})

    return start


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server of this pytest worker, started when the first test asks for it."""
    folder = tmp_path_factory.mktemp("s3")
    if reason := why_not(folder):
        pytest.skip(reason)
    with s3_server(folder) as server:
        yield server


@pytest.fixture(scope="session")
def s3_stack(s3: S3Server, stack_of: StackOf) -> Iterator[Stack]:
    """`quartermaster serve` whose images are in S3."""
    url = s3.url(f"images-{uuid.uuid4().hex[:8]}/some/prefix")
    with stack_of(QM_STORAGE_URL=url, QM_INTROSPECTION="true", **keys_of(s3)) as stack:
        yield stack


@pytest.fixture(scope="session", params=["folder", "s3"])
def either_stack(request: pytest.FixtureRequest) -> Stack:
    """The server on each kind of storage, for modules whose `stack` this is."""
    stack: Stack = request.getfixturevalue(f"{request.param}_stack")
    return stack


@pytest.fixture
async def api(stack: Stack) -> AsyncIterator[Api]:
    """An HTTP client of the server, signed in as nobody."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=20) as http:
        yield Api(http)


@pytest.fixture
async def admin(api: Api, stack: Stack) -> Api:
    """Signed in as an admin of the platform."""
    return await stack.admin(api)


@pytest.fixture
async def org(admin: Api) -> Organisation:
    """A client (organisation) of this test alone."""
    return await Organisation.made(admin)


@pytest.fixture
async def other_org(admin: Api) -> Organisation:
    """Another one, whose things must stay its own."""
    return await Organisation.made(admin)
