"""One command for many devices: each has its own result, and what fails for one leaves the others alone."""

import uuid
from typing import Any

from tests.device_commands.operations import RESTART, SEND_MANY, commands_of, send, wake
from tests.devices.operations import DEREGISTER, device_now
from tests.support.api import Api, Organisation
from tests.support.log import logged


async def send_many(api: Api, **variables: Any) -> dict[str, Any]:
    sent: dict[str, Any] = (await api.run(SEND_MANY, **{"command": RESTART, **variables}))["sendDeviceCommands"]
    return sent


async def test_each_device_has_a_result_of_its_own(org: Organisation, other_org: Organisation) -> None:
    good, full, gone = [await org.device() for _ in range(3)]
    theirs, nobodys = await other_org.device(), str(uuid.uuid4())
    for _ in range(20):
        await send(org.operator, full)
    await org.operator.run(DEREGISTER, id=gone.id)
    ids = [full.id, good.id, gone.id, theirs.id, nobodys, good.id]
    sent = await send_many(org.operator, ids=ids)
    assert [one["deviceId"] for one in sent["results"]] == ids[:5]  # each once
    assert [one["code"] for one in sent["results"]] == ["QUEUE_FULL", None, "NOT_FOUND", "NOT_FOUND", "NOT_FOUND"]
    assert [one["command"] is None for one in sent["results"]] == [True, False, True, True, True]
    assert sent["queued"] == 1
    assert sent["results"][1]["command"]["device"]["id"] == good.id
    assert [one["type"] for one in (await wake(good))["commands"]] == ["restart"]
    assert (await commands_of(other_org.viewer, theirs))["totalCount"] == 0
    await logged(org.viewer, types=["device_command.queued"], subjectIds=[good.id])


async def test_labels_name_registered_devices_of_one_client(org: Organisation, other_org: Organisation) -> None:
    one, both, none, gone = (
        await org.device(labels=["cold", "door"]),
        await org.device(labels=["cold", "door", "fridge"]),
        await org.device(labels=["door"]),
        await org.device(labels=["cold", "door"]),
    )
    theirs = await other_org.device(labels=["door"])
    await org.operator.run(DEREGISTER, id=gone.id)
    command = {"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": 120}}
    sent = await send_many(org.operator, labels=["door", "cold"], command=command)
    assert {result["deviceId"] for result in sent["results"]} == {one.id, both.id}
    now = [(await device_now(org.viewer, device.id))["wakeIntervalSeconds"] for device in (one, both, none)]
    assert now == [120, 120, 3600]
    assert (await send_many(org.admin, labels=["door"], client=other_org.id))["results"][0]["deviceId"] == theirs.id
    assert (await send_many(org.operator, labels=["nothing has it"]))["results"] == []


async def test_what_is_asked_must_be_clear(org: Organisation) -> None:
    device = await org.device(labels=["door"])
    asked: list[tuple[dict[str, Any], str | None]] = [
        ({}, "deviceIds"),
        ({"ids": [device.id], "labels": ["door"]}, "deviceIds"),
        ({"ids": [device.id] * 1001}, "deviceIds"),
        ({"labels": []}, "labels"),
        ({"ids": ["x"]}, None),
        ({"ids": [device.id], "command": {"type": "CUSTOM"}}, "name"),
    ]
    for variables, argument in asked:
        refusal = await org.operator.refused(SEND_MANY, **{"command": RESTART, **variables})
        assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
        assert refusal["extensions"]["details"].get("argument") == argument
    refusal = await org.admin.refused(SEND_MANY, command=RESTART, labels=["door"])  # of which client?
    assert refusal["extensions"]["details"]["argument"] == "clientId"
    assert (await commands_of(org.viewer, device))["totalCount"] == 0
