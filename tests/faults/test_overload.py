"""What cannot be taken now is refused in time, says when to come back, and was not acknowledged."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.faults.fleet import UNLIMITED, services, signed_in
from tests.support.api import Organisation, TestDevice
from tests.support.images import settled
from tests.support.photos import photo
from tests.support.stack import Stack

BOUND = 12.0  # seconds: one statement's time limit, waits for the pool before and after it, and a busy machine
COUNTS = "query ($id: ID!) { device(id: $id) { totalCaptures } images(first: 1) { totalCount } }"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server with the smallest pool there is."""
    settings = {"QM_DATABASE_POOL_SIZE": "1", **UNLIMITED}
    with Stack.started(tmp_path_factory.mktemp("overload"), **settings) as stack:
        yield stack


@pytest.fixture
async def org(stack: Stack) -> AsyncIterator[Organisation]:
    async with signed_in(stack) as org:
        yield org


@asynccontextmanager
async def locked(stack: Stack, table: str) -> AsyncIterator[None]:
    """Somebody else holds a table, as a migration or a person with psql may."""
    connection = await asyncpg.connect(services(stack)["database_url"])
    transaction = connection.transaction()
    await transaction.start()
    await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
    try:
        yield
    finally:
        await transaction.rollback()
        await connection.close()


def is_refused(answer: httpx.Response) -> bool:
    """Whether it is a whole refusal: a problem document that says when to come back."""
    problem = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) >= 1
    assert problem["correlationId"] == answer.headers["x-request-id"]
    return bool(answer.status_code == 503 and problem["status"] == 503 and problem["code"])


async def stored(org: Organisation, device: TestDevice) -> tuple[int, int]:
    """What the server says it has: captures of the device, images of the organisation."""
    data = await org.viewer.run(COUNTS, id=device.id)
    return data["device"]["totalCaptures"], data["images"]["totalCount"]


async def test_an_exhausted_pool_refuses_in_time_and_loses_nothing(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    assert (await device.upload(photo())).status_code == 201
    pictures = [photo() for _ in range(8)]
    async with locked(stack, "devices"):
        began = time.monotonic()
        answers = await asyncio.gather(*(device.upload(picture) for picture in pictures))
        took = time.monotonic() - began
        assert all(map(is_refused, answers)), [answer.text for answer in answers]
        assert took < BOUND
        live = await org.viewer.http.get("/health/live")
        assert live.status_code == 200, "the process itself is not held up"
    assert await stored(org, device) == (1, 1)
    again = [await device.upload(picture) for picture in pictures]
    assert [answer.status_code for answer in again] == [201] * 8
    for answer in again:
        assert (await settled(org.viewer, answer.json()["imageId"]))["status"] == "READY"
    assert await stored(org, device) == (9, 9)


async def test_graphql_says_so_in_its_own_way(stack: Stack, org: Organisation) -> None:
    query = "{ devices { nodes { id } } }"
    async with locked(stack, "devices"):
        began = time.monotonic()
        errors = await asyncio.gather(*(org.viewer.refused(query) for _ in range(4)))
        assert time.monotonic() - began < BOUND
    assert {error["extensions"]["code"] for error in errors} <= {"UNAVAILABLE", "TIMEOUT"}
    assert "UNAVAILABLE" in {error["extensions"]["code"] for error in errors}
    assert (await org.viewer.run(query))["devices"]["nodes"] == []


@contextmanager
def a_file_instead(storage: Path) -> Iterator[None]:
    """The store's folder is no folder."""
    aside = storage.with_name("aside")
    storage.rename(aside)
    storage.write_text("not a folder")
    try:
        yield
    finally:
        storage.unlink()
        aside.rename(storage)


@contextmanager
def a_full_disk(storage: Path) -> Iterator[None]:
    """The store is on a disk of its own, of which nothing is left."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(storage)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    try:
        (storage / "blobs").mkdir()
        (storage / "incoming").mkdir()
        (storage / "ballast").write_bytes(b"x" * (48 << 10))
        yield
    finally:
        subprocess.run(["umount", "-l", str(storage)], check=True)


@pytest.mark.parametrize("trouble", [a_file_instead, a_full_disk])
async def test_a_store_that_cannot_be_written_refuses_and_acknowledges_nothing(
    trouble: Callable[[Path], AbstractContextManager[None]], stack: Stack, org: Organisation
) -> None:
    device = await org.device()
    first = await device.upload(photo())
    assert (await settled(org.viewer, first.json()["imageId"]))["status"] == "READY"
    picture = photo(size=(1600, 1200), quality=95)
    assert len(picture) > 48 << 10
    with trouble(stack.data_dir / "storage"):
        answers = [await device.upload(picture) for _ in range(3)]
        assert all(map(is_refused, answers)), [answer.text for answer in answers]
        assert {answer.json()["code"] for answer in answers} == {"UNAVAILABLE"}
        assert str(stack.data_dir) not in answers[0].text
        health = await org.viewer.http.get("/health")
        beat = await device.heartbeat()
    assert beat.status_code == 200, "what needs no store goes on"
    assert health.status_code == (503 if trouble is a_file_instead else health.status_code)
    assert await stored(org, device) == (1, 1)
    again = await device.upload(picture)
    assert again.status_code == 201
    assert again.json()["duplicate"] is False
    assert (await settled(org.viewer, again.json()["imageId"]))["status"] == "READY"
    assert list((stack.data_dir / "storage" / "incoming").iterdir()) == [], "nothing half-written is left"
