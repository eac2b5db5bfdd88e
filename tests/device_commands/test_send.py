"""Sending commands: what is taken, what is refused and why, and who may."""

from typing import Any

import pytest

from tests.device_commands.operations import CANCEL, RESTART, SEND, command_now, commands_of, send, wake
from tests.devices.operations import DEREGISTER, device_now
from tests.support.api import Organisation
from tests.support.log import logged


async def test_a_command_is_queued_and_tells_who_sent_it(org: Organisation) -> None:
    device = await org.device()
    sent = await send(org.operator, device, expiresInSeconds=600)
    me = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    assert (sent["status"], sent["name"], sent["arguments"], sent["deliveries"]) == ("QUEUED", "restart", {}, 0)
    assert (sent["senderKind"], sent["senderId"], sent["device"]["id"]) == ("USER", me, device.id)
    assert (sent["deliveredAt"], sent["finishedAt"], sent["message"]) == (None, None, None)
    assert await command_now(org.viewer, sent["id"]) == sent
    (event,) = await logged(org.viewer, types=["device_command.queued"], subjectIds=[device.id])
    assert (event["actorId"], event["subjectKind"]) == (me, "DEVICE")
    assert event["data"] == {"commandId": sent["id"], "commandType": "RESTART", "name": "restart"}


async def test_an_interval_is_set_with_the_command(org: Organisation) -> None:
    device = await org.device(wakeIntervalSeconds=600)
    await send(org.operator, device, type="SET_WAKE_INTERVAL", arguments={"seconds": 90})
    assert (await device_now(org.viewer, device.id))["wakeIntervalSeconds"] == 90
    (event,) = await logged(org.viewer, types=["device.updated"], subjectIds=[device.id])
    assert event["data"] == {"before": {"wakeIntervalSeconds": 600}, "after": {"wakeIntervalSeconds": 90}}
    following = await wake(device)
    assert following["wakeInSeconds"] == 90
    assert [(one["type"], one["arguments"]) for one in following["commands"]] == [
        ("setWakeInterval", {"seconds": 90})
    ]


async def test_the_devices_row_is_the_one_truth_of_its_interval(org: Organisation) -> None:
    device = await org.device()
    await send(org.operator, device, type="SET_WAKE_INTERVAL", arguments={"seconds": 90})
    await send(org.operator, device, type="SET_WAKE_INTERVAL", arguments={"seconds": 60})
    following = await wake(device)
    assert following["wakeInSeconds"] == 60
    assert [one["arguments"] for one in following["commands"]] == [{"seconds": 60}] * 2


async def test_a_custom_command_carries_what_its_firmware_understands(org: Organisation) -> None:
    device = await org.device()
    arguments = {"leds": [1, 2.5, None, True], "text": 'ü🛒 "quoted"', "nested": {"a": {}}}
    sent = await send(org.operator, device, type="CUSTOM", name="blink.leds-2", arguments=arguments)
    assert sent["arguments"] == arguments
    (told,) = (await wake(device))["commands"]
    assert (told["id"], told["type"], told["arguments"]) == (sent["id"], "blink.leds-2", arguments)


@pytest.mark.parametrize(
    ("command", "argument"),
    [
        ({"type": "RESTART", "name": "restart"}, "name"),
        ({"type": "RESTART", "arguments": {"when": "now"}}, "arguments"),
        ({"type": "CAPTURE_NOW", "arguments": [1]}, "arguments"),
        ({"type": "SET_WAKE_INTERVAL"}, "arguments"),
        ({"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": "60"}}, "arguments"),
        ({"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": True}}, "arguments"),
        ({"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": 60, "unit": "s"}}, "arguments"),
        ({"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": 9}}, "arguments.seconds"),
        ({"type": "SET_WAKE_INTERVAL", "arguments": {"seconds": 2**70}}, "arguments"),
        ({"type": "CUSTOM"}, "name"),
        ({"type": "CUSTOM", "name": ""}, "name"),
        ({"type": "CUSTOM", "name": "two words"}, "name"),
        ({"type": "CUSTOM", "name": "x" * 64}, "name"),
        ({"type": "CUSTOM", "name": "restart"}, "name"),
        ({"type": "CUSTOM", "name": "x", "arguments": "y"}, "arguments"),
        ({"type": "CUSTOM", "name": "x", "arguments": {"y": "z" * 4090}}, "arguments"),
        ({"type": "CUSTOM", "name": "x", "arguments": {"y": "\x00"}}, "arguments"),
        ({"type": "RESTART", "expiresInSeconds": 9}, "expiresInSeconds"),
        ({"type": "RESTART", "expiresInSeconds": 30 * 86_400 + 1}, "expiresInSeconds"),
    ],
)
async def test_what_cannot_be_is_named_and_queues_nothing(
    org: Organisation, command: dict[str, Any], argument: str
) -> None:
    device = await org.device(wakeIntervalSeconds=600)
    refusal = await org.operator.refused(SEND, device=device.id, command=command)
    assert refusal["extensions"]["code"] == "BAD_USER_INPUT"
    assert refusal["extensions"]["details"]["argument"] == argument
    assert (await commands_of(org.viewer, device))["totalCount"] == 0
    assert (await device_now(org.viewer, device.id))["wakeIntervalSeconds"] == 600


@pytest.mark.parametrize("number", ["1e999", str(2**64)])
async def test_a_number_that_json_does_not_hold_is_not_told_as_another(org: Organisation, number: str) -> None:
    device = await org.device()
    document = f"""mutation {{ sendDeviceCommand(deviceId: "{device.id}",
      command: {{type: CUSTOM, name: "x", arguments: {{y: {number}}}}}) {{ id }} }}"""
    assert (await org.operator.refused(document))["extensions"]["details"]["argument"] == "arguments"


async def test_twenty_wait_for_a_device_and_no_more(org: Organisation) -> None:
    device = await org.device()
    sent = [await send(org.operator, device) for _ in range(20)]
    refusal = await org.operator.refused(SEND, device=device.id, command=RESTART)
    assert refusal["extensions"]["code"] == "QUEUE_FULL"
    assert "20" in refusal["message"]
    await org.operator.run(CANCEL, id=sent[3]["id"])
    await send(org.operator, device)
    assert len((await wake(device))["commands"]) == 20
    assert (await commands_of(org.viewer, device))["totalCount"] == 21


async def test_a_device_that_is_gone_takes_none(org: Organisation) -> None:
    device = await org.device()
    await org.operator.run(DEREGISTER, id=device.id)
    assert await org.operator.code(SEND, device=device.id, command=RESTART) == "NOT_FOUND"


async def test_a_viewer_reads_and_does_not_send(org: Organisation) -> None:
    device = await org.device()
    sent = await send(org.operator, device)
    assert await org.viewer.code(SEND, device=device.id, command=RESTART) == "FORBIDDEN"
    assert await org.viewer.code(CANCEL, id=sent["id"]) == "FORBIDDEN"
    assert (await command_now(org.viewer, sent["id"]))["status"] == "QUEUED"
    assert (await commands_of(org.viewer, device))["totalCount"] == 1


async def test_the_list_is_paged_and_filtered(org: Organisation) -> None:
    device, other = await org.device(), await org.device()
    ids = [(await send(org.operator, device, type=kind))["id"] for kind in ("RESTART", "CAPTURE_NOW") * 3]
    await send(org.operator, other)
    await org.operator.run(CANCEL, id=ids[0])
    page = await commands_of(org.viewer, device, first=4)
    assert [node["id"] for node in page["nodes"]] == ids[:1:-1]
    assert (page["totalCount"], page["pageInfo"]["hasNextPage"]) == (6, True)
    rest = await commands_of(org.viewer, device, first=4, after=page["pageInfo"]["endCursor"])
    assert [node["id"] for node in rest["nodes"]] == [ids[1], ids[0]]
    open_restarts = {"statuses": ["QUEUED", "DELIVERED"], "types": ["RESTART"]}
    found = await commands_of(org.viewer, device, filter=open_restarts)
    assert [node["id"] for node in found["nodes"]] == [ids[4], ids[2]]
    assert found["totalCount"] == 2
