"""Telemetry and events whose time is over: months that nobody keeps go whole, rows of who keeps less one by one."""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import StackOf
from tests.retention.operations import CLEANUP_LOGS, change, ended, value
from tests.support.api import Api, Organisation
from tests.support.live import event_stream
from tests.support.log import logged, whole_log
from tests.support.sql import execute
from tests.support.stack import Stack

_SUBSCRIBE = "subscription ($after: String) { events(after: $after) { id } }"


@pytest.fixture
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of() as stack:
        yield stack


def _url(stack: Stack) -> str:
    return stack.environment["QM_DATABASE_URL"]


async def _month(url: str, table: str, year: int) -> str:
    """January of that year, as the schedule made it then."""
    name = f"{table}_{year}_01"
    bounds = f"FROM ('{year}-01-01') TO ('{year}-02-01')"
    await execute(url, f"CREATE TABLE {name} PARTITION OF {table} FOR VALUES {bounds}")
    return name


async def _cleaned(admin: Api, kind: str, **variables: Any) -> dict[str, Any]:
    begun = (await admin.run(CLEANUP_LOGS, kind=kind, **variables))["cleanupLogs"]
    return await ended(admin, begun["id"])


async def _exists(url: str, table: str) -> bool:
    return bool(await value(url, "SELECT to_regclass($1) IS NOT NULL", table))


@pytest.mark.parametrize(("kind", "table"), [("TELEMETRY", "device_telemetry"), ("EVENTS", "events")])
async def test_months_that_nobody_keeps_go_whole(own_stack: Stack, kind: str, table: str) -> None:
    url = _url(own_stack)
    async with own_stack.signed_in() as admin:
        org = await Organisation.made(admin)
        old = await _month(url, table, 2020)
        dry = (await admin.run(CLEANUP_LOGS, kind=kind, dry=True))["cleanupLogs"]
        assert dry["state"] == "DONE"
        assert dry["more"]["months"] == [old]
        assert dry["more"]["monthBytes"] > 0
        assert await _exists(url, old)
        # Somebody keeps them for ever, so they stay.
        await change(org.operator, kind, enabled=False)
        assert (await _cleaned(admin, kind))["more"] == {}
        assert await _exists(url, old)
        await change(org.operator, kind)
        run = await _cleaned(admin, kind)
        assert (run["state"], run["more"]["months"], run["client"]) == ("DONE", [old], None)
        assert run["removedBytes"] == dry["more"]["monthBytes"]
        assert not await _exists(url, old)
        (event,) = await logged(admin, types=["retention.partition_dropped"])
        assert event["data"]["partition"] == old


async def test_months_that_are_most_of_what_there_is_stop_it(own_stack: Stack) -> None:
    """As when the clock of the database runs years ahead."""
    url = _url(own_stack)
    async with own_stack.signed_in() as admin:
        old = [await _month(url, "device_telemetry", year) for year in range(2001, 2012)]
        assert (await admin.run(CLEANUP_LOGS, kind="TELEMETRY", dry=True))["cleanupLogs"]["stopCode"] is not None
        run = await _cleaned(admin, "TELEMETRY")
        assert (run["state"], run["stopCode"]) == ("STOPPED", "SHARE_EXCEEDED")
        assert all([await _exists(url, name) for name in old])
        run = await _cleaned(admin, "TELEMETRY", share=1.0)
        assert run["more"]["months"] == old
        assert not any([await _exists(url, name) for name in old])


async def test_the_telemetry_of_who_keeps_less_goes_row_by_row(own_stack: Stack) -> None:
    url = _url(own_stack)
    count = "SELECT count(*) FROM device_telemetry WHERE device_id = $1"
    async with own_stack.signed_in() as admin:
        short, long = await Organisation.made(admin), await Organisation.made(admin)
        devices = [await short.device(), await long.device(), await short.device()]
        for org, device in zip((short, long, short), devices, strict=True):
            await execute(
                url,
                "INSERT INTO device_telemetry (device_id, client_id, reported_at, battery_v) "
                f"SELECT '{device.id}', '{org.id}', now() - make_interval(days => n, mins => 1), 3.9 "
                "FROM generate_series(0, 59) AS n",
            )
        await change(short.operator, "TELEMETRY", keepDays=40)
        run = await _cleaned(admin, "TELEMETRY")
        assert (run["state"], run["removed"]) == ("DONE", 40)
        assert [await value(url, count, device.id) for device in devices] == [40, 60, 40]
        (event,) = await logged(short.viewer, types=["cleanup.done"])
        assert event["data"] == {"runId": run["id"], "kind": "TELEMETRY", "removed": 40}
        assert await whole_log(long.viewer, types=["cleanup.done"]) == []


async def test_a_client_that_would_lose_most_of_it_is_passed_over(own_stack: Stack) -> None:
    url = _url(own_stack)
    async with own_stack.signed_in() as admin:
        org, other = await Organisation.made(admin), await Organisation.made(admin)
        for one, count in ((org, 150), (other, 30)):
            device = await one.device()
            await execute(
                url,
                "INSERT INTO device_telemetry (device_id, client_id, reported_at) "
                f"SELECT '{device.id}', '{one.id}', now() - interval '50 days' FROM generate_series(1, {count})",
            )
            await change(one.operator, "TELEMETRY", keepDays=40)
        run = await _cleaned(admin, "TELEMETRY")
        assert (run["state"], run["removed"]) == ("DONE", 30)
        assert run["more"]["stopped"][org.id]["due"] == 150
        (event,) = await logged(org.viewer, types=["cleanup.stopped"])
        assert event["data"]["code"] == "SHARE_EXCEEDED"
        assert (await _cleaned(admin, "TELEMETRY", share=1.0))["removed"] == 150


async def test_events_of_who_keeps_less_go_and_nobody_resumes_over_the_gap(own_stack: Stack) -> None:
    url = _url(own_stack)
    async with own_stack.signed_in() as admin:
        short, long = await Organisation.made(admin), await Organisation.made(admin)
        for org in (short, long):
            await org.device()
        await change(admin, "EVENTS", client=short.id, keepDays=31)
        await logged(short.viewer, types=["retention.policy_updated"])  # the last of what happened
        old = {org.id: await whole_log(org.viewer) for org in (short, long)}
        last = old[short.id][-1]["cursor"]
        await execute(url, "UPDATE events SET recorded_at = recorded_at - interval '40 days'")
        await short.device("young")
        (young,) = await logged(short.viewer, types=["device.registered"], subjectIds=[await _id(short, "young")])
        run = await _cleaned(admin, "EVENTS")
        assert run["state"] == "DONE"
        assert run["removed"] == len(old[short.id])
        left = {event["id"] for event in await whole_log(short.viewer)}
        assert young["id"] in left
        assert not left & {event["id"] for event in old[short.id]}
        assert {event["id"] for event in old[long.id]} <= {event["id"] for event in await whole_log(long.viewer)}
        assert await _resumed(short.viewer, old[short.id][0]["cursor"]) == "CURSOR_EXPIRED"
        assert await _resumed(admin, old[short.id][0]["cursor"]) == "CURSOR_EXPIRED"
        assert await _resumed(long.viewer, old[long.id][0]["cursor"]) == old[long.id][1]["id"]
        assert await _resumed(short.viewer, last) == young["id"]


async def _id(org: Organisation, key: str) -> str:
    found = await org.viewer.run("query ($key: String) { device(key: $key) { id } }", key=key)
    return str(found["device"]["id"])


async def _resumed(api: Api, cursor: str) -> str:
    """The id of the first event behind a cursor, or why there is none."""
    async with event_stream(api, _SUBSCRIBE, after=cursor) as events:
        _, answer = await anext(events)
    if answer.get("errors"):
        return str(answer["errors"][0]["extensions"]["code"])
    return str(answer["data"]["events"]["id"])


async def test_only_the_platform_cleans_up_logs(org: Organisation) -> None:
    assert await org.operator.code(CLEANUP_LOGS, kind="EVENTS") == "FORBIDDEN"
    assert await org.admin.code(CLEANUP_LOGS, kind="IMAGES") == "BAD_USER_INPUT"
