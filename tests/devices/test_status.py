"""A device's status: what its reports make of it."""

from datetime import timedelta

import asyncpg
import pytest

from tests.devices.operations import UPDATE, device_now
from tests.support.api import Organisation
from tests.support.photos import photo
from tests.support.problems import problem


async def test_a_device_is_inactive_until_it_reports(org: Organisation) -> None:
    device = await org.device()
    assert (await device_now(org.viewer, device.id))["status"] == "INACTIVE"
    await device.heartbeat()
    assert (await device_now(org.viewer, device.id))["status"] == "ACTIVE"


async def test_a_disabled_device_is_inactive(org: Organisation) -> None:
    device = await org.device()
    await device.heartbeat()
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": False})
    assert (await device_now(org.viewer, device.id))["status"] == "INACTIVE"
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": True})
    assert (await device_now(org.viewer, device.id))["status"] == "ACTIVE"


@pytest.mark.parametrize(
    ("unseen", "status"),
    [(timedelta(days=6, hours=23), "ACTIVE"), (timedelta(days=7, minutes=1), "INACTIVE")],
)
async def test_a_device_is_inactive_after_7_days_unseen(
    org: Organisation, database_url: str, unseen: timedelta, status: str
) -> None:
    device = await org.device()
    await device.heartbeat()
    connection = await asyncpg.connect(database_url)
    await connection.execute(  # nobody waits for a week
        "UPDATE devices SET last_seen_at = now() - $2::interval WHERE id = $1::text::uuid", device.id, unseen
    )
    await connection.close()
    assert (await device_now(org.viewer, device.id))["status"] == status
    await device.heartbeat()
    assert (await device_now(org.viewer, device.id))["status"] == "ACTIVE"


async def test_three_failed_uploads_in_a_row_are_an_error_until_one_is_good(org: Organisation) -> None:
    device = await org.device()
    seen = []
    for _ in range(3):
        problem(await device.upload(photo()[:-100]), 422, "TRUNCATED")
        seen.append((await device_now(org.viewer, device.id))["status"])
    assert seen == ["ACTIVE", "ACTIVE", "ERROR"]
    await device.heartbeat()
    assert (await device_now(org.viewer, device.id))["status"] == "ERROR"  # it is awake, its camera is no better
    assert (await device.upload(photo())).status_code == 201
    now = await device_now(org.viewer, device.id)
    assert (now["status"], now["failedUploads"], now["totalCaptures"]) == ("ACTIVE", 3, 1)


async def test_failures_that_are_not_in_a_row_are_no_error(org: Organisation) -> None:
    device = await org.device()
    for image in (b"", b"", photo(), b"", b""):
        await device.upload(image)
    now = await device_now(org.viewer, device.id)
    assert (now["status"], now["failedUploads"], now["totalCaptures"]) == ("ACTIVE", 4, 1)
