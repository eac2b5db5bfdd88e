"""What the platform's operators see of the whole system: diagnostics, the database, processes, caches."""

import os
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from redis.asyncio import Redis

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.live import following
from tests.support.log import eventually
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack

DIAGNOSTICS = """{ diagnostics {
  version python startedAt uptimeSeconds embedded settings { name value isDefault }
  checks { name ok reason latencyMs } migrations { revision newest } outbox { waiting oldestSeconds }
  clock { database process offsetSeconds } disks { path totalBytes freeBytes } warnings { code message action }
} }"""
DATABASE = """{ databaseStats {
  name version bytes connections activeConnections idleInTransaction maxConnections cacheHitRatio commits rollbacks
  deadlocks oldestTransactionSeconds oldestTransactionApplication
  tables { name rows bytes indexBytes deadRows lastVacuumAt lastAnalyzeAt
    partitions { name range rows bytes indexBytes } }
} }"""
_QUEUES = ["cleanups", "generation", "storage", "uploads", "variants"]
WORKERS = """{ workers {
  processes { kind host pid version startedAt heartbeatAt leader queues jobsDone jobsFailed } queues { name depth }
} }"""
CACHES = """{ cacheStats {
  host pid measuredAt documents { entries capacity hits misses } principals { entries capacity hits misses }
  pool { open idle capacity } liveSubscriptions liveSubscriptionGroups
} }"""


async def _diagnostics(api: Api) -> dict[str, Any]:
    found: dict[str, Any] = (await api.run(DIAGNOSTICS))["diagnostics"]
    return found


async def test_a_healthy_system_tells_what_it_is(admin: Api, stack: Stack) -> None:
    found = await _diagnostics(admin)
    assert {check["name"] for check in found["checks"]} == {"database", "redis", "storage", "migrations", "relay"}
    assert all(check["ok"] and check["reason"] is None for check in found["checks"]), found["checks"]
    assert all(0 <= check["latencyMs"] < 3000 for check in found["checks"])
    assert found["migrations"]["revision"] == found["migrations"]["newest"]
    assert found["embedded"] == []  # the tests' own pair is given by address
    assert abs(found["clock"]["offsetSeconds"]) < 0.5  # it is the same machine's
    assert found["uptimeSeconds"] > 0
    assert str(stack.data_dir / "storage") in {disk["path"] for disk in found["disks"]}
    assert all(0 < disk["freeBytes"] <= disk["totalBytes"] for disk in found["disks"])
    health = (await admin.http.get("/health")).json()
    assert found["version"] == health["system"]["version"]


async def test_settings_are_told_without_their_secrets(admin: Api, stack: Stack) -> None:
    answer = await admin.post(DIAGNOSTICS)
    told = {one["name"]: one for one in answer.json()["data"]["diagnostics"]["settings"]}
    assert told["QM_PORT"] == {"name": "QM_PORT", "value": stack.url.rpartition(":")[2], "isDefault": False}
    assert told["QM_UPLOADS_AT_ONCE"]["isDefault"] is True
    assert told["QM_SENTRY_DSN"]["value"] is None
    for name in ("QM_SECRET_KEY", "QM_ADMIN_PASSWORD"):
        assert told[name]["value"] == "(set)"
        assert stack.environment[name] not in answer.text
    assert "@" not in told["QM_DATABASE_URL"]["value"]
    assert "?" not in told["QM_REDIS_URL"]["value"]


async def test_the_database_tells_of_its_tables_and_partitions(org: Organisation, database_url: str) -> None:
    await org.device()
    await execute(database_url, "VACUUM ANALYZE devices")

    async def vacuumed() -> Any:
        found = (await org.admin.run(DATABASE))["databaseStats"]
        tables = {table["name"]: table for table in found["tables"]}
        return (found, tables) if tables["devices"]["lastVacuumAt"] else None

    found, tables = await eventually(vacuumed, what="the statistics")
    assert found["name"] == database_url.rpartition("/")[2].partition("?")[0]
    assert re.match(r"\d+", found["version"])
    assert found["bytes"] > sum(table["bytes"] for table in tables.values()) > 0
    assert 0 < found["connections"] <= found["maxConnections"]
    assert 0 < found["cacheHitRatio"] <= 1
    assert tables["devices"]["rows"] >= 1
    assert tables["devices"]["indexBytes"] > 0
    assert tables["devices"]["partitions"] == []
    months = tables["events"]["partitions"]
    assert len(months) >= 4  # this month and those ahead
    assert tables["events"]["bytes"] == sum(month["bytes"] for month in months)
    assert {month["range"].partition(" (")[0] for month in months} <= {"FOR VALUES FROM", "DEFAULT"}
    sizes = [table["bytes"] for table in found["tables"]]
    assert sizes == sorted(sizes, reverse=True)


async def test_every_process_says_that_it_lives(admin: Api, stack: Stack, org: Organisation) -> None:
    device = await org.device()
    before = await _jobs_done(admin)
    assert (await device.upload(photo())).status_code == 201

    async def counted() -> bool:
        return await _jobs_done(admin) > before

    await eventually(counted, what="a job that was done")
    # Another test may have killed one just now: it is still told of for a while, its successor not yet.
    living = {(kind.upper(), stack.child(kind)) for kind in ("api", "worker", "relay")}

    async def told() -> Any:
        found = (await admin.run(WORKERS))["workers"]
        by_kind = {one["kind"]: one for one in found["processes"] if (one["kind"], one["pid"]) in living}
        return (found, by_kind) if len(by_kind) == len(living) and by_kind["RELAY"]["leader"] else None

    found, by_kind = await eventually(told, what="a word of each process")
    assert [kind for kind, process in by_kind.items() if process["leader"]] == ["RELAY"]
    assert by_kind["WORKER"]["queues"] == _QUEUES
    assert by_kind["WORKER"]["jobsFailed"] == 0
    assert {queue["name"] for queue in found["queues"]} == set(_QUEUES)
    for process in by_kind.values():
        age = datetime.now(UTC) - datetime.fromisoformat(process["heartbeatAt"])
        assert age < timedelta(seconds=30)
        assert process["startedAt"] < process["heartbeatAt"]


async def _jobs_done(api: Api) -> int:
    processes = (await api.run(WORKERS))["workers"]["processes"]
    return sum(process["jobsDone"] for process in processes)


async def test_jobs_that_wait_are_counted(admin: Api, stack: Stack) -> None:
    """A queue of which no worker takes anything: named by a process of another version that announced itself."""
    namespace = stack.environment["QM_REDIS_NAMESPACE"]
    client = Redis.from_url(stack.environment["QM_REDIS_URL"])
    name = "worker:elsewhere:1"
    said = (
        b'{"kind":"worker","host":"elsewhere","pid":1,"version":"0.0.1","started_at":1,"heartbeat_at":2,'
        b'"queues":["slow"]}'
    )
    await client.set(f"{namespace}:processes:{name}", said, ex=30)
    await client.sadd(f"{namespace}:processes", name)
    await client.rpush(f"{namespace}:jobs:slow", "one", "two")
    try:
        queues = (await admin.run(WORKERS))["workers"]["queues"]
        assert {"name": "slow", "depth": 2} in queues
        warnings = {warning["code"]: warning for warning in (await _diagnostics(admin))["warnings"]}
        assert "restart" in warnings["MIXED_VERSIONS"]["action"]
        await client.delete(f"{namespace}:processes:{name}")  # as when it ended 30 seconds ago
        hosts = {process["host"] for process in (await admin.run(WORKERS))["workers"]["processes"]}
        assert "elsewhere" not in hosts
        assert await client.sismember(f"{namespace}:processes", name) == 0
    finally:
        await client.delete(f"{namespace}:processes:{name}", f"{namespace}:jobs:slow")
        await client.aclose()


async def test_caches_are_told_per_process(org: Organisation, stack: Stack) -> None:
    async def seen(subscriptions: int) -> dict[str, Any] | None:
        # One that another test killed is still told of for a while.
        told = (await org.admin.run(CACHES))["cacheStats"]
        (found,) = [one for one in told if one["pid"] == stack.child("api")]
        return found if found["liveSubscriptions"] == subscriptions else None

    await eventually(lambda: seen(0), what="the end of other tests' subscriptions")
    query = "subscription { events { type } }"
    async with following("ws", stack.url, org.viewer, query), following("sse", stack.url, org.viewer, query):
        found = await eventually(lambda: seen(2), what="two subscriptions")
    assert found["liveSubscriptionGroups"] == 1
    assert 0 < found["documents"]["entries"] <= found["documents"]["capacity"]
    assert found["documents"]["hits"] >= 1
    assert found["documents"]["misses"] >= found["documents"]["entries"]
    assert 0 < found["principals"]["entries"] <= found["principals"]["capacity"]
    assert found["principals"]["hits"] is None
    assert 0 <= found["pool"]["idle"] <= found["pool"]["open"] <= found["pool"]["capacity"]


@pytest.fixture
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_TRUSTED_PROXIES="*", QM_HOST="0.0.0.0") as stack:
        yield stack


async def test_a_process_that_was_killed_is_gone_and_one_that_stays_comes_back(own_stack: Stack) -> None:
    """Redis is emptied: the processes are known again after a heartbeat. The worker is stopped: a warning."""
    stack = own_stack
    client = redis.Redis.from_url(stack.environment["QM_REDIS_URL"])
    namespace = stack.environment["QM_REDIS_NAMESPACE"]
    async with stack.signed_in() as admin:

        async def kinds() -> set[str]:
            processes = (await admin.run(WORKERS))["workers"]["processes"]
            return {process["kind"] for process in processes}

        async def all_there() -> bool:
            return await kinds() == {"API", "WORKER", "RELAY"}

        await eventually(all_there, what="three processes")
        for key in client.scan_iter(f"{namespace}:processes*"):
            client.delete(key)
        assert await kinds() < {"API", "WORKER", "RELAY"}
        await eventually(all_there, what="three processes again")

        pid = stack.child("worker")
        os.kill(pid, 19)  # stopped, it says nothing any more
        try:
            client.delete(f"{namespace}:processes:worker:{os.uname().nodename}:{pid}")  # as after 30 seconds
            warnings = {one["code"]: one for one in (await _diagnostics(admin))["warnings"]}
            assert "quartermaster worker" in warnings["NO_WORKER"]["action"]
        finally:
            os.kill(pid, 18)


async def test_what_is_wrong_is_told_with_what_to_do(own_stack: Stack) -> None:
    stack = own_stack
    url = stack.environment["QM_DATABASE_URL"]
    async with stack.signed_in() as admin:
        await execute(url, "UPDATE alembic_version SET version_num = '0001'")
        os.kill(stack.child("relay"), 19)
        await execute(
            url,
            "INSERT INTO outbox (kind, name, payload, created_at) "
            "VALUES ('job', 'of_another_version', '{}', now() - interval '5 minutes')",
        )
        started = time.monotonic()
        found = await _diagnostics(admin)
        assert time.monotonic() - started < 5
        os.kill(stack.child("relay"), 18)
    warnings = {warning["code"]: warning for warning in found["warnings"]}
    assert {"MIGRATIONS_FAILS", "RELAY_FAILS", "OUTBOX_LATE", "ANY_PROXY_TRUSTED", "NO_PUBLIC_URL"} <= set(warnings)
    assert all(warning["message"] and warning["action"] for warning in warnings.values())
    assert found["migrations"]["revision"] == "0001"
    assert found["outbox"]["waiting"] >= 1
    assert found["outbox"]["oldestSeconds"] > 299


async def test_jobs_that_do_not_end_and_backups_that_are_not_made_are_told(own_stack: Stack) -> None:
    """The relay is stopped, or it would begin again what is cut off."""
    url = own_stack.environment["QM_DATABASE_URL"]

    async def told(started: str, ended: str) -> dict[str, Any]:
        changed = (
            f"started_at = {started}, ended_at = {ended}, reached = now() - interval '40 days', failure = NULL"
        )
        await execute(url, f"UPDATE scheduled_jobs SET {changed} WHERE name = 'BACKUP'")
        warnings = (await _diagnostics(admin))["warnings"]
        return {one["code"]: one["message"] for one in warnings if one["code"].startswith("BACKUP")}

    async with own_stack.signed_in() as admin:
        os.kill(own_stack.child("relay"), 19)
        try:
            assert await told("now() - interval '5 hours'", "NULL") == {}
            assert list(await told("now() - interval '7 hours'", "NULL")) == ["BACKUP_TAKES_LONG"]
            assert await told("now() - interval '71 hours'", "now() - interval '70 hours'") == {}
            assert "The last is of" in (await told("now() - interval '97 hours'", "now()"))["BACKUP_OLD"]
            assert "There is none" in (await told("NULL", "NULL"))["BACKUP_OLD"]
            assert await told("now()", "now()") == {}
        finally:
            os.kill(own_stack.child("relay"), 18)


async def test_only_admins_of_the_platform_ask(org: Organisation) -> None:
    for query in (DIAGNOSTICS, DATABASE, WORKERS, CACHES):
        assert await org.operator.code(query) == "FORBIDDEN"
