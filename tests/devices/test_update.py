"""Renaming, disabling and retiming devices."""

from typing import Any

import pytest

from tests.devices.operations import DEREGISTER, UPDATE, device_now
from tests.support.api import Organisation
from tests.support.log import logged
from tests.support.problems import problem


async def test_what_is_absent_stays(org: Organisation) -> None:
    device = await org.device(name="Left", wakeIntervalSeconds=600)
    renamed = (await org.operator.run(UPDATE, id=device.id, changes={"name": " Right "}))["updateDevice"]
    assert (renamed["name"], renamed["enabled"], renamed["wakeIntervalSeconds"]) == ("Right", True, 600)
    assert renamed["updatedAt"] > renamed["createdAt"]
    disabled = (await org.operator.run(UPDATE, id=device.id, changes={"enabled": False}))["updateDevice"]
    assert (disabled["name"], disabled["enabled"], disabled["wakeIntervalSeconds"]) == ("Right", False, 600)


async def test_the_event_tells_before_and_after_of_what_changed(org: Organisation) -> None:
    device = await org.device(name="Left")
    changes = {"name": "Right", "wakeIntervalSeconds": 60, "enabled": True}
    await org.operator.run(UPDATE, id=device.id, changes=changes)
    (event,) = await logged(org.viewer, types=["device.updated"], subjectIds=[device.id])
    assert event["data"] == {
        "before": {"name": "Left", "wakeIntervalSeconds": 3600},
        "after": {"name": "Right", "wakeIntervalSeconds": 60},
    }
    assert event["actorKind"] == "USER"


async def test_a_change_to_what_is_already_so_is_no_change(org: Organisation) -> None:
    device = await org.device(name="Left")
    before = await device_now(org.viewer, device.id)
    for changes in ({}, {"name": "Left", "enabled": True}):
        await org.operator.run(UPDATE, id=device.id, changes=changes)
    await org.operator.run(UPDATE, id=device.id, changes={"name": "Right"})
    events = await logged(org.viewer, types=["device.updated"], subjectIds=[device.id])
    assert [event["data"]["after"] for event in events] == [{"name": "Right"}]
    assert before["updatedAt"] == before["createdAt"]


@pytest.mark.parametrize("field", ["name", "enabled", "wakeIntervalSeconds"])
async def test_null_is_refused(org: Organisation, field: str) -> None:
    device = await org.device(name="Left")
    error = await org.operator.refused(UPDATE, id=device.id, changes={field: None})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": field}
    assert (await device_now(org.viewer, device.id))["name"] == "Left"


@pytest.mark.parametrize(
    "changes", [{"wakeIntervalSeconds": 9}, {"wakeIntervalSeconds": 2_592_001}, {"name": " "}, {"name": "x" * 201}]
)
async def test_a_change_out_of_range_changes_nothing(org: Organisation, changes: dict[str, Any]) -> None:
    device = await org.device(name="Left")
    error = await org.operator.refused(UPDATE, id=device.id, changes={"enabled": False, **changes})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": next(iter(changes))}
    assert (await device_now(org.viewer, device.id))["enabled"] is True


@pytest.mark.parametrize("seconds", [10, 2_592_000])
async def test_the_ends_of_the_wake_interval_are_told_to_the_device(org: Organisation, seconds: int) -> None:
    device = await org.device()
    await org.operator.run(UPDATE, id=device.id, changes={"wakeIntervalSeconds": seconds})
    assert (await device.heartbeat()).json()["next"]["wakeInSeconds"] == seconds


async def test_a_viewer_changes_nothing_and_another_clients_device_is_not_found(
    org: Organisation, other_org: Organisation
) -> None:
    device = await org.device(name="Left")
    assert await org.viewer.code(UPDATE, id=device.id, changes={"name": "Mine"}) == "FORBIDDEN"
    assert await other_org.operator.code(UPDATE, id=device.id, changes={"name": "Mine"}) == "NOT_FOUND"
    assert (await device_now(org.viewer, device.id))["name"] == "Left"
    await org.operator.run(DEREGISTER, id=device.id)
    assert await org.operator.code(UPDATE, id=device.id, changes={"name": "Mine"}) == "NOT_FOUND"


async def test_an_id_that_is_none_is_refused_as_such(org: Organisation) -> None:
    assert await org.operator.code(UPDATE, id="cam-1", changes={"name": "Mine"}) == "BAD_USER_INPUT"


async def test_a_disabled_device_is_refused_until_it_is_enabled(org: Organisation) -> None:
    device = await org.device()
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": False})
    problem(await device.heartbeat(), 403, "DEVICE_DISABLED")
    await org.operator.run(UPDATE, id=device.id, changes={"enabled": True})
    assert (await device.heartbeat()).status_code == 200
