"""What a device may say in a wake, and what becomes of it: many at once, each for itself."""

import asyncio
import uuid
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.devices.operations import UPDATE, device_now
from tests.support.api import Organisation, TestDevice
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.problems import problem


async def telemetry(database_url: str, device: TestDevice) -> list[dict[str, Any]]:
    """What the database keeps of the device's reports, the oldest first."""
    connection = await asyncpg.connect(database_url)
    try:
        rows = await connection.fetch(
            "SELECT * FROM device_telemetry WHERE device_id = $1 ORDER BY reported_at", device.id
        )
        return [dict(row) for row in rows]
    finally:
        await connection.close()


async def row_of(database_url: str, device: TestDevice) -> dict[str, Any]:
    connection = await asyncpg.connect(database_url)
    try:
        row = await connection.fetchrow("SELECT * FROM devices WHERE id = $1", device.id)
        return dict(row or {})
    finally:
        await connection.close()


async def test_everything_that_is_said_is_kept(org: Organisation, database_url: str) -> None:
    device = await org.device()
    said = {
        "batteryV": 3.71,
        "batteryPct": 62,
        "rssi": -71,
        "firmware": "1.4.0",
        "uptimeSeconds": 12,
        "freeHeapBytes": 180_000,
        "bootCount": 411,
        "resetReason": "DEEPSLEEP",
        "temperatureC": -4.5,
    }
    in_the_future = datetime.now(UTC) + timedelta(days=4000)
    assert (await device.heartbeat(json={**said, "deviceTime": in_the_future.isoformat()})).status_code == 200
    (kept,) = await telemetry(database_url, device)
    assert (kept["battery_v"], kept["uptime_seconds"], kept["free_heap_bytes"]) == (3.71, 12, 180_000)
    assert (kept["boot_count"], kept["reset_reason"], kept["temperature_c"]) == (411, "DEEPSLEEP", -4.5)
    assert (kept["firmware"], kept["rssi"], kept["uploaded"]) == ("1.4.0", -71, None)
    assert abs(kept["clock_offset_seconds"] - 4000 * 86_400) < 60
    row = await row_of(database_url, device)
    assert abs(row["last_seen_at"] - datetime.now(UTC)) < timedelta(minutes=1)  # by the server's clock
    assert row["reported_clock_at"] == in_the_future
    (event,) = await logged(org.viewer, types=["device.checked_in"], subjectIds=[device.id])
    assert event["data"] == said


async def test_uploads_leave_a_trace_that_tells_success_from_failure(org: Organisation, database_url: str) -> None:
    device, image = await org.device(), photo()
    assert (await device.upload(image, headers={"X-Battery-V": "3.5"})).status_code == 201
    assert (await device.upload(image)).status_code == 200
    problem(await device.upload(image[:-50]), 422, "TRUNCATED")
    assert [row["uploaded"] for row in await telemetry(database_url, device)] == [True, True, False]
    now = await device_now(org.viewer, device.id)
    assert (now["totalCaptures"], now["failedUploads"], now["batteryV"]) == (1, 1, 3.5)


async def test_it_says_when_it_wakes_next(org: Organisation, database_url: str) -> None:
    device = await org.device(wakeIntervalSeconds=600)
    for said, expected, stays_awake in (
        ({}, 600, False),
        ({"sleepSeconds": 90, "wakeIntervalSeconds": 60}, 90, False),
        ({"sleepSeconds": 0}, 600, True),
    ):
        await device.heartbeat(json=said)
        row = await row_of(database_url, device)
        assert row["next_wake_at"] - row["last_seen_at"] == timedelta(seconds=expected)
        assert (row["presence"], row["stays_awake"]) == ("ONLINE", stays_awake)
        assert row["presence_due_at"] - row["last_seen_at"] == timedelta(seconds=1200 if stays_awake else 60)
        assert row["presence_since"] <= row["last_seen_at"]
    assert row["reported_wake_interval_seconds"] == 60


async def test_headers_say_it_as_well(org: Organisation, database_url: str) -> None:
    device = await org.device()
    headers = {"X-Sleep-Seconds": "45", "X-Device-Time": "86400", "X-Boot-Count": "7", "X-Config-Version": "3"}
    assert (await device.heartbeat(headers=headers)).status_code == 200
    row = await row_of(database_url, device)
    assert row["next_wake_at"] - row["last_seen_at"] == timedelta(seconds=45)
    assert row["reported_clock_at"] == datetime(1970, 1, 2, tzinfo=UTC)
    assert (await telemetry(database_url, device))[0]["boot_count"] == 7


@pytest.mark.parametrize(
    ("said", "argument"),
    [
        ({"sleepSeconds": -1}, "sleepSeconds"),
        ({"sleepSeconds": "soon"}, "sleepSeconds"),
        ({"wakeIntervalSeconds": 90 * 86_400 + 1}, "wakeIntervalSeconds"),
        ({"deviceTime": "yesterday"}, "deviceTime"),
        ({"uptimeSeconds": 2**31}, "uptimeSeconds"),
        ({"temperatureC": 1000}, "temperatureC"),
        ({"resetReason": "x" * 51}, "resetReason"),
        ({"config": 7}, "config"),
        ({"config": {"version": -1}}, "config.version"),
        ({"config": {"version": "new"}}, "config.version"),
        ({"config": {"error": "no room"}}, "config.version"),
        ({"config": {"version": 1, "error": 7}}, "config.error"),
        ({"commands": {}}, "commands"),
        ({"commands": [7]}, "commands"),
        ({"commands": [{"id": "x", "status": "DONE"}]}, "commands.0.id"),
        ({"commands": [{"id": str(uuid.UUID(int=1)), "status": "?"}]}, "commands.0.status"),
        ({"commands": [{"id": str(uuid.UUID(int=1)), "status": "DONE"}] * 51}, "commands"),
        ({"update": "1.2"}, "update"),
        ({"update": {"status": "FAILED"}}, "update.version"),
        ({"update": {"version": "1.2", "status": "INSTALLED"}}, "update.status"),
    ],
)
async def test_what_is_malformed_is_named_and_changes_nothing(
    org: Organisation, said: dict[str, Any], argument: str
) -> None:
    device = await org.device()
    refusal = problem(await device.heartbeat(json=said), 422, "BAD_USER_INPUT")
    assert refusal["details"]["argument"] == argument
    assert (await device_now(org.viewer, device.id))["lastSeenAt"] is None


async def test_many_report_at_once_and_each_is_answered_for_itself(org: Organisation, database_url: str) -> None:
    devices = [await org.device(wakeIntervalSeconds=100 + number) for number in range(30)]
    off, gone = devices[3], devices[4]
    await org.operator.run(UPDATE, id=off.id, changes={"enabled": False})
    made = await org.operator.run("mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }", id=org.id)
    sent = {"Authorization": f"Bearer {made['regenerateClientToken']['token']}"}
    beats = [
        device.heartbeat(headers={**sent, "X-Request-ID": f"wake-{number}-{turn}"}, json={"bootCount": turn})
        for turn in range(4)
        for number, device in enumerate(devices)
    ]
    deregister = org.operator.run("mutation ($id: ID!) { deregisterDevice(id: $id) { id } }", id=gone.id)
    answers, _ = await asyncio.gather(asyncio.gather(*beats), deregister)
    for number, device in enumerate(devices):
        mine = answers[number :: len(devices)]
        if device is off:
            assert Counter(answer.status_code for answer in mine) == {403: 4}
        elif device is gone:
            assert {answer.status_code for answer in mine} <= {200, 404}
        else:
            assert [answer.json()["next"]["wakeInSeconds"] for answer in mine] == [100 + number] * 4
            rows = await telemetry(database_url, device)
            assert sorted(row["boot_count"] for row in rows) == [0, 1, 2, 3]
    events = await logged(org.viewer, 4, types=["device.checked_in"], subjectIds=[devices[7].id])
    assert {event["correlationId"] for event in events} == {f"wake-7-{turn}" for turn in range(4)}


async def test_one_that_was_missed_is_told_of_when_it_is_back(org: Organisation, database_url: str) -> None:
    device = await org.device()
    connection = await asyncpg.connect(database_url)
    await connection.execute("UPDATE devices SET presence = 'LOST' WHERE id = $1", device.id)
    await connection.close()
    await device.heartbeat()
    await device.heartbeat()
    (event,) = await logged(org.viewer, types=["device.presence_changed"], subjectIds=[device.id])
    assert event["data"] == {"from": "LOST", "to": "ONLINE"}
