"""Rows that PostgreSQL writes as JSON are, to the byte, what the scalars make of their values."""

from typing import Any

import asyncpg
import orjson
import pytest

from tests.support.api import Organisation
from tests.support.stack import Stack

# What is read of a row decides who writes it: `status` is worked out here, of values that are then fetched.
_FIELDS = "id key name enabled wakeIntervalSeconds createdAt lastSeenAt batteryV rssi firmware totalCaptures"
_WRITTEN = f"query ($first: Int!) {{ devices(first: $first) {{ nodes {{ {_FIELDS} }} }} }}"
_WORKED_OUT = f"query ($first: Int!) {{ devices(first: $first) {{ nodes {{ {_FIELDS} status }} }} }}"

_TEXTS = ['quo"te \\ back', "\x01\x1f\x7f\t\n\r\f\b", "é 中 😀 \u2028", "</script>&'", ""]
_FLOATS = [0.1, 3.0, -0.0, 1e-4, 9.9e-5, 1e-7, 123456789.125, 999999999999999.0, 1e15, 1e16, 1e22, 5e-324, -2.5e300]
_MOMENTS = [
    "2026-01-01 00:00:00+00",
    "2026-01-01 00:00:00.000001+00",
    "2026-12-31 23:59:59.999999+00",
    "2026-06-01 12:00:00.5+02",
    "0001-01-01 00:00:00+00",
    "9999-12-31 23:59:59.999999+00",
]


_ONE = f"query ($id: ID!) {{ device(id: $id) {{ {_FIELDS} }} }}"
_ONE_WORKED_OUT = f"query ($id: ID!) {{ device(id: $id) {{ {_FIELDS} status }} }}"


async def _changed(stack: Stack, device_id: str, column: str, value: str) -> None:
    """Set a column to what is written in SQL."""
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    try:
        await connection.execute(f"UPDATE devices SET {column} = {value} WHERE id = '{device_id}'")
    finally:
        await connection.close()


async def _both(org: Organisation) -> tuple[Any, Any]:
    """The devices' part of both answers; statuses left out."""
    written = await org.viewer.post(_WRITTEN, first=100)
    worked_out = (await org.viewer.post(_WORKED_OUT, first=100)).json()
    for node in (worked_out["data"] or {"devices": {"nodes": []}})["devices"]["nodes"]:
        del node["status"]
    return written.content, worked_out


async def test_usual_and_unusual_values_are_written_as_the_scalars_write_them(
    stack: Stack, org: Organisation
) -> None:
    for text in _TEXTS:
        device = await org.device()
        quoted = text.replace("'", "''")
        await _changed(stack, device.id, "firmware", f"'{quoted}'")
    for number in _FLOATS:
        await _changed(stack, (await org.device()).id, "battery_v", f"{number!r}::float8")
    for moment in _MOMENTS:
        await _changed(stack, (await org.device()).id, "last_seen_at", f"'{moment}'")
    written, worked_out = await _both(org)
    meant = orjson.dumps(worked_out["data"]["devices"])
    start = written.index(b'{"nodes":')
    assert written[start : start + len(meant)] == meant
    assert len(worked_out["data"]["devices"]["nodes"]) == len(_TEXTS) + len(_FLOATS) + len(_MOMENTS)


@pytest.mark.parametrize(
    ("column", "value"),
    [("battery_v", "'NaN'"), ("battery_v", "'-Infinity'"), ("total_captures", "3000000000")],
)
async def test_what_cannot_be_written_is_an_error_where_it_stands(
    stack: Stack, org: Organisation, column: str, value: str
) -> None:
    devices = [await org.device(f"cam-{number}") for number in range(3)]
    await _changed(stack, devices[1].id, column, value)
    written, worked_out = await _both(org)
    answer = orjson.loads(written)
    (error,) = answer["errors"]
    (meant,) = worked_out["errors"]
    assert (error["message"], error["path"]) == (meant["message"], meant["path"])
    assert error["path"][:3] == ["devices", "nodes", 1]
    assert answer["data"] == worked_out["data"]


async def _one_both(org: Organisation, device_id: str) -> tuple[Any, Any]:
    """The device's part of both answers; the status left out."""
    written = await org.viewer.post(_ONE, id=device_id)
    worked_out = (await org.viewer.post(_ONE_WORKED_OUT, id=device_id)).json()
    del worked_out["data"]["device"]["status"]
    return written.content, worked_out


@pytest.mark.parametrize(
    ("column", "value"),
    [("firmware", f"'{_TEXTS[0]}'"), ("battery_v", "3.0"), ("last_seen_at", f"'{_MOMENTS[3]}'"), ("rssi", "NULL")],
)
async def test_one_row_is_written_as_a_list_of_it(stack: Stack, org: Organisation, column: str, value: str) -> None:
    device = await org.device()
    await _changed(stack, device.id, column, value)
    written, worked_out = await _one_both(org, device.id)
    assert orjson.dumps(worked_out["data"])[1:-1] in written


async def test_one_row_that_cannot_be_written_is_an_error_where_it_stands(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    await _changed(stack, device.id, "battery_v", "'NaN'")
    written, worked_out = await _one_both(org, device.id)
    answer = orjson.loads(written)
    assert [error["path"] for error in answer["errors"]] == [["device", "batteryV"]]
    assert answer["errors"][0]["message"] == worked_out["errors"][0]["message"]
    assert answer["data"] == worked_out["data"]
