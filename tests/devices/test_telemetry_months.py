"""The months of telemetry: made ahead, made afterwards for what came too early, and dropped whole.

What runs by the clock runs also when a relay begins to lead: a test that waits for it ends the relay.
"""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import pytest

from tests.faults.fleet import kill_child
from tests.support.api import Organisation
from tests.support.log import eventually, logged
from tests.support.stack import Stack

_HOME = "SELECT tableoid::regclass::text FROM device_telemetry WHERE device_id = $1 AND reported_at = $2"


@pytest.fixture
async def database(database_url: str) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


def month(ahead: int) -> datetime:
    """The first moment of a month, so many after this one."""
    now = datetime.now(UTC)
    years, number = divmod(now.month - 1 + ahead, 12)
    return datetime(now.year + years, number + 1, 1, tzinfo=UTC)


def partition(of: datetime) -> str:
    return f"device_telemetry_{of:%Y_%m}"


@pytest.mark.parametrize("ahead", [3, 7, -30])
async def test_reports_of_a_month_without_a_partition_move_into_it(
    org: Organisation, stack: Stack, database: Any, ahead: int
) -> None:
    """A server that stood still for months gets reports before its relay has made a place for them."""
    device, day = await org.device(), month(ahead) + timedelta(days=10)
    await eventually(lambda: _exists(database, partition(month(3))), what="the partitions ahead")
    await database.execute(f"DROP TABLE IF EXISTS {partition(day)}")
    await database.execute(
        "INSERT INTO device_telemetry (device_id, client_id, reported_at, battery_pct) VALUES ($1, $2, $3, 50)",
        device.id,
        org.id,
        day,
    )
    assert await database.fetchval(_HOME, device.id, day) == "device_telemetry_default"
    await kill_child(stack, "relay")

    async def moved() -> bool:
        return not await _is(database.fetchval(_HOME, device.id, day), "device_telemetry_default")

    await eventually(moved, what="the month of early reports")
    assert await database.fetchval(_HOME, device.id, day) == partition(day)
    await device.heartbeat()
    assert await logged(org.viewer, types=["device.checked_in"]), "the relay leads"


async def _exists(database: Any, table: str) -> bool:
    return await database.fetchval("SELECT to_regclass($1) IS NOT NULL", table) is True


async def _is(question: Any, answer: object) -> bool:
    return bool(await question == answer)
