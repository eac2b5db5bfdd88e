"""Steering rollouts: pausing, cancelling, one that follows another, and plans that are refused."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.devices.operations import DEREGISTER
from tests.firmware.operations import (
    CANCEL,
    CREATE,
    PAUSE,
    RESUME,
    begun,
    devices_of,
    let_offers_be_over,
    progress,
    reaches,
    rollout_now,
    update_of,
    uploaded,
    wake,
)
from tests.support.api import Organisation
from tests.support.log import logged

_SET_BOARD = "mutation ($id: ID!, $board: String) { updateDevice(id: $id, changes: {board: $board}) { board } }"


async def test_one_that_is_paused_offers_nothing_and_still_listens(org: Organisation, database_url: str) -> None:
    told, waiting = await org.device(), await org.device()
    rollout = await begun(org.operator, await uploaded(org.operator))
    await wake(told)
    paused = (await org.operator.run(PAUSE, id=rollout["id"]))["pauseRollout"]
    assert (paused["status"], paused["reason"]) == ("PAUSED", "An operator paused it.")
    await org.operator.run(PAUSE, id=rollout["id"])  # twice is once
    assert [await wake(told), await wake(waiting)] == [None, None]
    await let_offers_be_over(database_url, rollout["id"])
    await org.operator.run(RESUME, id=rollout["id"])  # the time of what was offered begins again
    assert await wake(waiting) is not None
    assert (await update_of(org.viewer, told))["state"] == "OFFERED"
    await org.operator.run(PAUSE, id=rollout["id"])
    assert await wake(told, runs="2.0.0") is None
    assert (await update_of(org.viewer, told))["state"] == "INSTALLED"
    await org.operator.run(RESUME, id=rollout["id"])
    await wake(waiting, runs="2.0.0")
    await reaches(org, rollout["id"], status="COMPLETED")


async def test_one_that_is_cancelled_is_over(org: Organisation) -> None:
    done, told, waiting = [await org.device() for _ in range(3)]
    rollout = await begun(org.operator, await uploaded(org.operator))
    await wake(done, runs="2.0.0")
    await wake(told)
    cancelled = (await org.operator.run(CANCEL, id=rollout["id"]))["cancelRollout"]
    assert cancelled["status"] == "CANCELLED"
    assert cancelled["progress"] == progress(installed=1, cancelled=2)
    assert [await wake(told), await wake(waiting)] == [None, None]
    for mutation in (PAUSE, RESUME, CANCEL):
        refusal = await org.operator.refused(mutation, id=rollout["id"])
        assert refusal["extensions"]["code"] == "ROLLOUT_OVER"
        assert await org.operator.code(mutation, id=str(uuid.uuid4())) == "NOT_FOUND"


async def test_the_newest_rollout_has_the_device(org: Organisation) -> None:
    shared, other = await org.device(), await org.device()
    old = await begun(org.operator, await uploaded(org.operator))
    await wake(shared)
    new = await begun(org.operator, await uploaded(org.operator, version="2.1.0"), deviceIds=[shared.id])
    offered = await wake(shared, update={"version": "2.0.0", "status": "DOWNLOADING"})
    assert offered is not None
    assert offered["version"] == "2.1.0"
    assert (await update_of(org.viewer, shared))["rollout"]["id"] == new["id"]
    assert (await rollout_now(org.viewer, old["id"]))["progress"] == progress(cancelled=1, pending=1)
    offered = await wake(other)
    assert offered is not None
    assert offered["version"] == "2.0.0"
    (event,) = await logged(org.viewer, types=["rollout.superseded"], subjectIds=[old["id"]])
    assert event["data"] == {"by": new["id"], "devices": 1}


async def test_a_device_that_leaves_does_not_keep_a_rollout_open(org: Organisation) -> None:
    stays, leaves = await org.device(), await org.device()
    rollout = await begun(org.operator, await uploaded(org.operator))
    await wake(stays, runs="2.0.0")
    await org.operator.run(DEREGISTER, id=leaves.id)
    done = await reaches(org, rollout["id"], status="COMPLETED")
    assert done["progress"] == progress(installed=1, cancelled=1)


async def test_rollouts_begin_while_their_devices_wake(org: Organisation) -> None:
    devices = [await org.device() for _ in range(8)]
    artifacts = [await uploaded(org.operator, version=f"3.{number}") for number in range(4)]
    rollouts = [begun(org.operator, artifact) for artifact in artifacts]
    wakes = [wake(device) for _ in range(4) for device in devices]
    made, _ = await asyncio.gather(asyncio.gather(*rollouts), asyncio.gather(*wakes))
    left = [await rollout_now(org.viewer, rollout["id"]) for rollout in made]
    has_them = [rollout for rollout in left if rollout["progress"]["cancelled"] == 0]
    assert len(has_them) == 1
    offered = [await wake(device) for device in devices]
    assert {one and one["version"] for one in offered} == {has_them[0]["firmware"]["version"]}


@pytest.mark.parametrize(
    ("plan", "code", "argument"),
    [
        ({}, "BAD_USER_INPUT", "deviceIds"),
        ({"all": True, "labels": ["x"]}, "BAD_USER_INPUT", "deviceIds"),
        ({"labels": []}, "BAD_USER_INPUT", "labels"),
        ({"labels": ["nobody"]}, "BAD_USER_INPUT", "labels"),
        ({"deviceIds": []}, "BAD_USER_INPUT", "deviceIds"),
        ({"deviceIds": [str(uuid.UUID(int=7))]}, "NOT_FOUND", "deviceIds"),
        ({"deviceIds": [str(uuid.UUID(int=7))] * 1001}, "BAD_USER_INPUT", "deviceIds"),
        ({"all": True, "failureShare": 1.1}, "BAD_USER_INPUT", "failureShare"),
        ({"all": True, "timeoutMinutes": 0}, "BAD_USER_INPUT", "timeoutMinutes"),
        ({"all": True, "retries": 11}, "BAD_USER_INPUT", "retries"),
        ({"all": True, "stages": [{"percent": 0}]}, "BAD_USER_INPUT", "stages.0.percent"),
        ({"all": True, "stages": [{"percent": 50}, {"percent": 50}]}, "BAD_USER_INPUT", "stages.1.percent"),
        ({"all": True, "stages": [{"percent": 101}]}, "BAD_USER_INPUT", "stages.0.percent"),
        ({"all": True, "stages": [{"percent": 5, "minutes": 0}]}, "BAD_USER_INPUT", "stages.0.minutes"),
        ({"all": True, "stages": [{"percent": n + 1} for n in range(21)]}, "BAD_USER_INPUT", "stages"),
    ],
)
async def test_a_plan_that_cannot_be_is_named_and_begins_nothing(
    org: Organisation, plan: dict[str, Any], code: str, argument: str
) -> None:
    device, firmware = await org.device(), await uploaded(org.operator)
    refusal = await org.operator.refused(CREATE, rollout={"firmwareId": firmware, **plan})
    assert refusal["extensions"]["code"] == code
    assert refusal["extensions"]["details"]["argument"] == argument
    assert await wake(device) is None
    assert (await org.viewer.run("{ rollouts { totalCount } }"))["rollouts"]["totalCount"] == 0


async def test_another_clients_devices_are_not_there(org: Organisation, other_org: Organisation) -> None:
    mine, theirs = await org.device(labels=["door"]), await other_org.device(labels=["door"])
    firmware = await uploaded(org.operator)
    plan = {"firmwareId": firmware, "deviceIds": [mine.id, theirs.id]}
    assert await org.operator.code(CREATE, rollout=plan) == "NOT_FOUND"
    assert await org.admin.code(CREATE, rollout=plan) == "NOT_FOUND"  # of the firmware's client, whoever asks
    for target in ({"labels": ["door"]}, {"all": True}):
        rollout = await begun(org.admin, firmware, **target)
        page = await devices_of(org.admin, rollout["id"])
        assert [node["device"]["id"] for node in page["nodes"]] == [mine.id]
    assert await wake(theirs) is None


async def test_a_viewer_sees_and_steers_nothing(org: Organisation) -> None:
    await org.device()
    firmware = await uploaded(org.operator)
    rollout = await begun(org.operator, firmware)
    assert await org.viewer.code(CREATE, rollout={"firmwareId": firmware, "all": True}) == "FORBIDDEN"
    for mutation in (PAUSE, RESUME, CANCEL):
        assert await org.viewer.code(mutation, id=rollout["id"]) == "FORBIDDEN"
    assert (await rollout_now(org.viewer, rollout["id"]))["status"] == "RUNNING"
