"""Health, telemetry and the numbers of a fleet: what the reports of a while add up to."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.support.api import Organisation, TestDevice
from tests.support.photos import photo

_HEALTH = """query ($id: ID!) { device(id: $id) { health {
  batteryV batteryPct rssi lastSeenAt uploads failedUploads uploadSuccessRate
  batteryTrend { percentPerDay low high points since direction } batteryDaysLeft { days low high }
} } }"""
_TELEMETRY = """query ($id: ID!, $from: DateTime, $to: DateTime, $points: Int! = 200) { device(id: $id) {
  telemetry(from: $from, to: $to, points: $points) { since until stepSeconds points {
    at reports uploads failedUploads batteryPct { min mean max } rssi { min mean max } temperatureC { mean }
  } }
} }"""
_SUMMARY = """query ($client: ID) { deviceSummary(clientId: $client) {
  total enabled checkedInLastDay lowBattery failingUploads
  presence { name count } status { name count } firmware { name count } labels { name count }
} }"""
NOW = datetime.now(UTC).replace(microsecond=0)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.fixture
async def database(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


async def reported(database: Any, org: Organisation, device: TestDevice, reports: list[dict[str, Any]]) -> None:
    """Let the device have reported this before: columns of its telemetry, `reported_at` among them."""
    for report in reports:
        names = list(report)
        await database.execute(
            f"INSERT INTO device_telemetry (device_id, client_id, {', '.join(names)}) "
            f"VALUES ($1, $2, {', '.join(f'${n + 3}' for n in range(len(names)))})",
            device.id,
            org.id,
            *report.values(),
        )
        if "battery_pct" in report:
            await database.execute(
                "UPDATE devices SET battery_pct = $2 WHERE id = $1", device.id, report["battery_pct"]
            )


async def health(org: Organisation, device: TestDevice) -> dict[str, Any]:
    found: dict[str, Any] = (await org.viewer.run(_HEALTH, id=device.id))["device"]["health"]
    return found


def batteries(values: list[float], *, every: timedelta = DAY / 2) -> list[dict[str, Any]]:
    """Reports of these charges, the last one now."""
    begin = NOW - (len(values) - 1) * every
    return [{"reported_at": begin + n * every, "battery_pct": value} for n, value in enumerate(values)]


async def test_a_device_without_reports_has_nothing_to_tell(org: Organisation) -> None:
    device = await org.device()
    now = await health(org, device)
    assert (now["uploads"], now["failedUploads"], now["uploadSuccessRate"]) == (0, 0, None)
    assert (now["batteryTrend"], now["batteryDaysLeft"], now["lastSeenAt"]) == (None, None, None)


async def test_uploads_of_a_week_are_counted(org: Organisation, database: Any) -> None:
    device, image = await org.device(), photo()
    for _ in range(3):
        assert (await device.upload(image, headers={"X-Battery-V": "3.6", "X-RSSI": "-70"})).status_code in (
            200,
            201,
        )
    assert (await device.upload(image[:-20])).status_code == 422
    await device.heartbeat(json={"batteryPct": 50})
    await reported(database, org, device, [{"reported_at": NOW - 8 * DAY, "uploaded": False}])
    now = await health(org, device)
    assert (now["uploads"], now["failedUploads"], now["uploadSuccessRate"]) == (3, 1, 0.75)
    assert (now["batteryV"], now["batteryPct"], now["rssi"]) == (3.6, 50, -70)


async def test_a_draining_battery_is_foreseen_in_spite_of_wild_readings(org: Organisation, database: Any) -> None:
    device = await org.device()
    values = [80 - number for number in range(20)]  # two percent a day
    values[7] = values[12] = 0  # a bad contact
    await reported(database, org, device, batteries([20.0, 15.0, *values]))  # charged ten days ago
    trend = (await health(org, device))["batteryTrend"]
    assert trend["percentPerDay"] == pytest.approx(-2, abs=0.05)
    assert trend["low"] <= trend["percentPerDay"] <= trend["high"] < 0
    assert trend["direction"] == "DRAINING"
    left = (await health(org, device))["batteryDaysLeft"]
    assert left["days"] == pytest.approx(61 / 2, rel=0.05)
    assert left["low"] <= left["days"] <= left["high"]


async def test_a_charge_begins_a_new_trend(org: Organisation, database: Any) -> None:
    device = await org.device()
    await reported(database, org, device, batteries([*range(60, 40, -2), *range(100, 90, -1)]))
    trend = (await health(org, device))["batteryTrend"]
    assert trend["points"] in (10, 11)  # half days begin at noon and midnight, not now
    assert trend["percentPerDay"] == pytest.approx(-2, abs=0.3)


@pytest.mark.parametrize(
    ("values", "direction"),
    [
        ([70.0] * 12, "STEADY"),
        ([50.0, 51, 50, 52, 50, 51, 50, 52, 51, 50], "STEADY"),
        ([*range(40, 60, 2)], "CHARGING"),
    ],
)
async def test_what_does_not_surely_drain_has_no_end(
    org: Organisation, database: Any, values: list[float], direction: str
) -> None:
    device = await org.device()
    await reported(database, org, device, batteries(values))
    now = await health(org, device)
    assert (now["batteryTrend"]["direction"], now["batteryDaysLeft"]) == (direction, None)


async def test_too_little_says_nothing(org: Organisation, database: Any) -> None:
    device = await org.device()
    await reported(database, org, device, batteries([80, 79, 78], every=DAY))
    assert (await health(org, device))["batteryTrend"] is None


async def test_telemetry_is_told_in_steps_with_its_gaps(org: Organisation, database: Any) -> None:
    device, other = await org.device(), await org.device()
    begin = NOW.replace(minute=0, second=0) - 10 * HOUR
    reports = [
        {"reported_at": begin, "battery_pct": 80.0, "rssi": -60},
        {"reported_at": begin + HOUR / 2, "battery_pct": 70.0, "rssi": -80, "uploaded": True},
        {"reported_at": begin + 2 * HOUR, "temperature_c": 4.5, "uploaded": False},
        {"reported_at": begin + 4 * HOUR, "battery_pct": 1.0},  # the end of the stretch does not belong to it
        {"reported_at": begin - timedelta(seconds=1), "battery_pct": 1.0},
    ]
    await reported(database, org, device, reports)
    await reported(database, org, other, [{"reported_at": begin, "battery_pct": 3.0}])
    end = begin + 4 * HOUR
    asked: dict[str, Any] = {"id": device.id, "from": begin.isoformat(), "to": end.isoformat(), "points": 4}
    data = await org.viewer.run(_TELEMETRY, **asked)
    told = data["device"]["telemetry"]
    assert (told["stepSeconds"], datetime.fromisoformat(told["since"])) == (3600, begin)
    assert datetime.fromisoformat(told["until"]) == end
    assert [datetime.fromisoformat(point["at"]) for point in told["points"]] == [begin + n * HOUR for n in range(4)]
    first, second, third, fourth = told["points"]
    assert (first["reports"], first["uploads"], first["failedUploads"]) == (2, 1, 0)
    assert first["batteryPct"] == {"min": 70, "mean": 75, "max": 80}
    assert first["rssi"] == {"min": -80, "mean": -70, "max": -60}
    assert (third["reports"], third["failedUploads"], third["temperatureC"]["mean"]) == (1, 1, 4.5)
    for gap in (second, fourth):
        assert (gap["reports"], gap["batteryPct"]) == (0, {"min": None, "mean": None, "max": None})


async def test_telemetry_is_of_the_last_week_unless_said_otherwise(org: Organisation) -> None:
    device = await org.device()
    await device.heartbeat(json={"batteryPct": 61})
    told = (await org.viewer.run(_TELEMETRY, id=device.id))["device"]["telemetry"]
    assert 200 <= len(told["points"]) <= 202
    assert sum(point["reports"] for point in told["points"]) == 1
    assert told["points"][-1]["batteryPct"]["mean"] == 61


@pytest.mark.parametrize(
    ("asked", "argument"),
    [
        ({"points": 0}, "points"),
        ({"points": 1001}, "points"),
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"from": "2024-01-01T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, "from"),
        ({"to": "0001-01-01T00:00:00Z"}, "from"),
    ],
)
async def test_a_stretch_that_cannot_be_is_refused(org: Organisation, asked: dict[str, Any], argument: str) -> None:
    device = await org.device()
    error = await org.viewer.refused(_TELEMETRY, id=device.id, **asked)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == argument


async def test_telemetry_of_many_devices_is_bounded(org: Organisation) -> None:
    for _ in range(21):
        await org.device()
    query = "{ devices(first: 21) { nodes { telemetry(points: 1000) { stepSeconds } } } }"
    error = await org.viewer.refused(query)
    assert error["extensions"]["details"]["argument"] == "points"


async def test_a_fleet_in_numbers(org: Organisation, other_org: Organisation, database: Any) -> None:
    await other_org.device(labels=["theirs"])
    devices = [await org.device(labels=["all", f"shelf-{number % 2}"]) for number in range(4)]
    await devices[0].heartbeat(json={"firmware": "1.0", "batteryPct": 5})
    await devices[1].heartbeat(json={"firmware": "1.1", "batteryPct": 50})
    for _ in range(3):
        assert (await devices[2].upload(photo()[:-20], headers={"X-Firmware": "1.1"})).status_code == 422
    await org.operator.run(
        "mutation ($id: ID!) { updateDevice(id: $id, changes: {enabled: false}) { id } }", id=devices[1].id
    )
    told = (await org.viewer.run(_SUMMARY))["deviceSummary"]
    assert told == (await org.admin.run(_SUMMARY, client=org.id))["deviceSummary"]
    assert {name: told[name] for name in ("total", "enabled", "checkedInLastDay")} == {
        "total": 4,
        "enabled": 3,
        "checkedInLastDay": 3,
    }
    assert (told["lowBattery"], told["failingUploads"]) == (1, 1)
    counts = {
        kind: {one["name"]: one["count"] for one in told[kind]}
        for kind in ("presence", "status", "firmware", "labels")
    }
    assert counts == {
        "presence": {"ONLINE": 3, "NEW": 1},
        "status": {"INACTIVE": 2, "ACTIVE": 1, "ERROR": 1},
        "firmware": {"1.1": 2, "1.0": 1, None: 1},
        "labels": {"all": 4, "shelf-0": 2, "shelf-1": 2},
    }
    assert (await org.viewer.run(_SUMMARY, client=other_org.id))["deviceSummary"]["total"] == 0
