"""Presence: what a device is said to be follows from its last report, its sleep and the server's clock.

What runs every minute runs also when a relay begins to lead: a test that waits for the sweep ends the relay.
"""

import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.faults.fleet import kill_child
from tests.support.api import Organisation, TestDevice
from tests.support.live import Socket
from tests.support.log import logged
from tests.support.stack import Stack

_PRESENCE = """query ($filter: DeviceFilter, $first: Int! = 100) { devices(filter: $filter, first: $first) {
  totalCount nodes { id status presence { state since missedWakes evidence lastSeenAt nextWakeAt } }
} }"""
_UPDATES = """subscription ($ids: [ID!]) { deviceUpdates(ids: $ids) {
  type event { data } device { presence { state } }
} }"""
STATES = ["NEW", "ONLINE", "ASLEEP", "LATE", "LOST"]
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def slept(database: Any, device: TestDevice, ago: timedelta, *, interval: timedelta = HOUR) -> datetime:
    """Let its last report have been so long ago, and the sweep take notice; returns when it was."""
    row = await database.fetchrow(
        "UPDATE devices SET last_seen_at = now() - $2::interval, presence_since = now() - $2::interval, "
        "next_wake_at = now() - $2::interval + $3::interval, presence = 'ONLINE', presence_due_at = now() "
        "WHERE id = $1 RETURNING last_seen_at",
        device.id,
        ago,
        interval,
    )
    seen: datetime = row["last_seen_at"]
    return seen


async def presence(org: Organisation, device: TestDevice) -> dict[str, Any]:
    query = "query ($id: ID!) { device(id: $id) { presence { state since missedWakes evidence nextWakeAt } } }"
    found: dict[str, Any] = (await org.viewer.run(query, id=device.id))["device"]["presence"]
    return found


async def test_a_device_that_never_reported_is_new(org: Organisation) -> None:
    device = await org.device()
    now = await presence(org, device)
    assert (now["state"], now["missedWakes"], now["evidence"]) == ("NEW", 0, "It never reported.")


@pytest.mark.parametrize(
    ("ago", "state", "missed"),
    [
        (30 * timedelta(seconds=1), "ONLINE", 0),
        (2 * MINUTE, "ASLEEP", 0),
        (65 * MINUTE, "ASLEEP", 0),  # a tenth of its sleep later than announced is no news
        (67 * MINUTE, "LATE", 1),
        (127 * MINUTE, "LATE", 2),
        (185 * MINUTE, "LATE", 2),
        (187 * MINUTE, "LOST", 3),
        (timedelta(days=3), "LOST", 71),
    ],
)
async def test_it_is_told_by_how_long_it_sleeps(
    org: Organisation, database: Any, ago: timedelta, state: str, missed: int
) -> None:
    device = await org.device()
    seen = await slept(database, device, ago)
    now = await presence(org, device)
    assert (now["state"], now["missedWakes"]) == (state, missed)
    since = {"ONLINE": 0 * MINUTE, "ASLEEP": MINUTE, "LATE": 66 * MINUTE, "LOST": 186 * MINUTE}[state]
    assert datetime.fromisoformat(now["since"]) == seen + since
    assert f"Last report {seen:%Y-%m-%d %H:%M:%S} UTC" in now["evidence"]
    assert (f"{missed} wake" in now["evidence"]) is (missed > 0)


async def test_one_that_stays_awake_is_online_until_it_missed_a_report(org: Organisation, database: Any) -> None:
    device = await org.device(wakeIntervalSeconds=600)
    await device.heartbeat(json={"sleepSeconds": 0})
    assert (await presence(org, device))["state"] == "ONLINE"
    for minutes, state in ((19, "ONLINE"), (21, "LATE"), (39, "LATE"), (41, "LOST")):
        await slept(database, device, minutes * MINUTE, interval=10 * MINUTE)
        assert (await presence(org, device))["state"] == state


async def test_what_is_searched_is_what_is_shown(org: Organisation, database: Any) -> None:
    chance = random.Random(7)
    for number in range(60):
        device = await org.device(labels=["even"] if number % 2 == 0 else [])
        interval = timedelta(seconds=chance.choice([10, 60, 600, 3600, 86_400]))
        ago = interval * chance.choice([0.01, 0.5, 1.05, 1.15, 2, 2.9, 3.3, 400])
        await slept(database, device, ago, interval=interval)
        await database.execute(
            "UPDATE devices SET stays_awake = $2, enabled = $3, failures_in_a_row = $4, firmware = $5, "
            "battery_pct = $6 WHERE id = $1",
            device.id,
            chance.random() < 0.3,
            chance.random() < 0.8,
            chance.choice([0, 3]),
            chance.choice(["1.0", "1.1", None]),
            chance.choice([None, 5.0, 50.0]),
        )
    await org.device()
    everything = (await org.viewer.run(_PRESENCE))["devices"]["nodes"]
    assert {node["presence"]["state"] for node in everything} == set(STATES)
    assert {node["status"] for node in everything} == {"ACTIVE", "INACTIVE", "ERROR"}

    async def found(**filter: Any) -> set[str]:
        page = (await org.viewer.run(_PRESENCE, filter=filter))["devices"]
        assert page["totalCount"] == len(page["nodes"])
        return {node["id"] for node in page["nodes"]}

    for state in STATES:
        assert await found(presence=[state]) == {n["id"] for n in everything if n["presence"]["state"] == state}
    for status in ("ACTIVE", "INACTIVE", "ERROR"):
        assert await found(status=[status]) == {n["id"] for n in everything if n["status"] == status}
    assert len(await found(labels=["even"])) == 30
    assert await found(labels=["even", "odd"]) == set()
    assert len(await found(firmware=["1.0", "1.1"])) == await database.fetchval(
        "SELECT count(*) FROM devices WHERE client_id = $1 AND firmware IS NOT NULL", org.id
    )
    low = await found(batteryBelow=20)
    assert (
        0
        < len(low)
        == await database.fetchval("SELECT count(*) FROM devices WHERE client_id = $1 AND battery_pct = 5", org.id)
    )
    assert await found(presence=["LATE", "LOST"], labels=["even"]) <= await found(presence=["LATE", "LOST"])


async def test_the_sweep_announces_each_change_once(org: Organisation, stack: Stack, database: Any) -> None:
    late, online = await org.device(), await org.device()
    await online.heartbeat()
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        updates = await socket.subscribe(
            _UPDATES,
            ids=[late.id],
        )
        seen = await slept(database, late, 67 * MINUTE)
        await kill_child(stack, "relay")
        update = (await updates.next())["deviceUpdates"]
        while update["type"] == "device.registered":  # which came just before
            update = (await updates.next())["deviceUpdates"]
    assert (update["type"], update["device"]["presence"]["state"]) == ("device.presence_changed", "LATE")
    data = update["event"]["data"]
    assert (data["from"], data["to"]) == ("ONLINE", "LATE")
    assert datetime.fromisoformat(data["since"]) == seen + 66 * MINUTE
    row = await database.fetchrow("SELECT * FROM devices WHERE id = $1", late.id)
    assert (row["presence"], row["presence_since"]) == ("LATE", seen + 66 * MINUTE)
    assert row["presence_due_at"] == seen + 186 * MINUTE
    (event,) = await logged(org.viewer, types=["device.presence_changed"])
    assert (event["actorKind"], event["subjectId"]) == ("SYSTEM", late.id)
    assert event["id"][14] == "7"  # a UUIDv7, though the database made it
    await late.heartbeat()
    back = (await logged(org.viewer, 2, types=["device.presence_changed"], subjectIds=[late.id]))[-1]
    assert back["data"] == {"from": "LATE", "to": "ONLINE"}


async def test_who_gives_no_sign_for_two_weeks_is_marked(org: Organisation, stack: Stack, database: Any) -> None:
    device = await org.device()
    await slept(database, device, timedelta(days=14, minutes=1))
    await kill_child(stack, "relay")
    (event,) = await logged(org.viewer, types=["device.marked_inactive"])
    assert event["subjectId"] == device.id
    marked = "query ($id: ID!) { device(id: $id) { status markedInactiveAt } }"
    now = (await org.viewer.run(marked, id=device.id))["device"]
    assert now["status"] == "INACTIVE"
    assert datetime.now(UTC) - datetime.fromisoformat(now["markedInactiveAt"]) < HOUR
    await device.heartbeat()
    assert (await org.viewer.run(marked, id=device.id))["device"] == {"status": "ACTIVE", "markedInactiveAt": None}
