"""Whether the server says that it can do its work, and why not when something is taken away from it."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from migrations import newest_revision
from server.embedded import running
from tests.support.api import Api
from tests.support.sql import execute
from tests.support.stack import Stack, wait_until

CHECKS = {"database", "redis", "storage", "migrations", "relay"}


@pytest.fixture(scope="module")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of services that can be killed without anybody else's noticing."""
    folder = tmp_path_factory.mktemp("services")
    with running(folder):
        yield folder


@pytest.fixture(scope="module")
def dependent(services: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A server that uses them and did not start them: its own it would start again."""
    run = json.loads((services / "run.json").read_text())
    with Stack.started(
        tmp_path_factory.mktemp("dependent"),
        QM_DATABASE_URL=run["database_url"],
        QM_REDIS_URL=run["redis_url"],
        QM_SECRET_KEY="a secret key of this test, long enough",
    ) as stack:
        yield stack


def reasons(stack: Stack) -> dict[str, str]:
    """What is wrong, by check; nothing when the server is ready."""
    answer = httpx.get(f"{stack.url}/health", timeout=20)
    report = answer.json()
    wrong = {name: check["reason"] for name, check in report["checks"].items() if not check["ok"]}
    assert (answer.status_code, report["status"]) == ((503, "unavailable") if wrong else (200, "ok"))
    assert set(report["checks"]) == CHECKS
    assert ("retry-after" in answer.headers) == bool(wrong)
    assert answer.headers["cache-control"] == "no-store"
    return wrong


def kill_service(folder: Path, name: str) -> None:
    run: dict[str, Any] = json.loads((folder / "run.json").read_text())
    os.kill(run["pids"][name], signal.SIGKILL)


async def test_a_ready_server_says_so_and_how_it_is(api: Api) -> None:
    report = (await api.http.get("/health")).json()
    assert report["status"] == "ok"
    assert report["checks"] == {name: {"ok": True} for name in CHECKS}
    assert report["uptimeSeconds"] > 0
    assert set(report["system"]) == {"version", "python", "liveSubscribers"}


async def test_a_database_that_is_behind_is_named_with_both_revisions(stack: Stack) -> None:
    database = stack.environment["QM_DATABASE_URL"]
    await execute(database, "UPDATE alembic_version SET version_num = '0000'")
    try:
        wrong = reasons(stack)
    finally:
        await execute(database, f"UPDATE alembic_version SET version_num = '{newest_revision()}'")
    due = newest_revision()
    assert wrong == {"migrations": f"The database is at revision 0000, this server needs {due}: migrate."}
    assert reasons(stack) == {}


async def test_a_database_that_was_never_migrated_is_not_ready(stack: Stack) -> None:
    database = stack.environment["QM_DATABASE_URL"]
    await execute(database, "ALTER TABLE alembic_version RENAME TO no_version")
    try:
        wrong = reasons(stack)
    finally:
        await execute(database, "ALTER TABLE no_version RENAME TO alembic_version")
    assert set(wrong) == {"migrations"}


def test_a_storage_folder_that_went_away_is_noticed_and_not_made_anew(stack: Stack) -> None:
    storage = stack.data_dir / "storage"
    storage.rename(stack.data_dir / "elsewhere")
    try:
        wrong = reasons(stack)
        assert not storage.exists()
    finally:
        Path(stack.data_dir / "elsewhere").rename(storage)
    assert wrong == {"storage": "The blob store cannot be used: No such file or directory."}
    assert reasons(stack) == {}


async def test_an_outbox_that_nobody_empties_is_a_reason(stack: Stack) -> None:
    database = stack.environment["QM_DATABASE_URL"]
    # An entry of a kind that no relay knows stays, as all would if there were none.
    await execute(
        database,
        "INSERT INTO outbox (kind, name, payload, created_at) VALUES ('x', 'x', '{}', now() - interval '1 hour')",
    )
    try:
        wrong = reasons(stack)
    finally:
        await execute(database, "DELETE FROM outbox WHERE kind = 'x'")
    assert set(wrong) == {"relay"}
    assert wrong["relay"].startswith("1 entries of the outbox wait, the oldest for 36")


def test_services_that_die_are_named_while_the_process_itself_lives(dependent: Stack, services: Path) -> None:
    assert reasons(dependent) == {}
    kill_service(services, "redis")
    assert set(wait_until(lambda: reasons(dependent), what="Redis to be missed")) == {"redis"}
    kill_service(services, "postgres")
    wait_until(lambda: "database" in reasons(dependent), what="the database to be missed")
    wrong = reasons(dependent)
    assert set(wrong) == {"redis", "database", "migrations", "relay"}
    assert wrong["database"] == "The database cannot be reached."
    assert "postgresql://" not in str(wrong)
    alive = httpx.get(f"{dependent.url}/health/live", timeout=20)
    assert (alive.status_code, alive.json()) == (200, {"status": "ok"})
