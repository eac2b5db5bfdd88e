"""The life of a command: queued, told at each wake until the device confirms it, or over."""

import asyncio
import uuid
from typing import Any

import pytest

from tests.device_commands.operations import CANCEL, command_now, commands_of, send, wake
from tests.support.api import Organisation, TestDevice
from tests.support.live import Socket
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack


def result(command: dict[str, Any], status: str = "DONE", **more: Any) -> dict[str, Any]:
    return {"id": command["id"], "status": status, **more}


def ids(following: dict[str, Any]) -> list[str]:
    return [told["id"] for told in following["commands"]]


async def changes(org: Organisation, device: TestDevice, *types: str) -> list[dict[str, Any]]:
    """The events of the device's commands, once these have come, in their order."""
    wanted = [f"device_command.{one}" for one in types]
    events = await logged(org.viewer, len(types), types=list(set(wanted)), subjectIds=[device.id])
    assert [event["type"] for event in events] == wanted
    return events


async def test_it_is_told_until_it_is_done(org: Organisation) -> None:
    device = await org.device()
    sent = await send(org.operator, device, type="CAPTURE_NOW")
    told = (await wake(device))["commands"]
    assert [(one["id"], one["type"], one["arguments"]) for one in told] == [(sent["id"], "captureNow", {})]
    assert told[0]["expiresAt"] == sent["expiresAt"][:19] + "Z"
    first = await command_now(org.viewer, sent["id"])
    assert (first["status"], first["deliveries"], first["finishedAt"]) == ("DELIVERED", 1, None)
    assert ids(await wake(device)) == [sent["id"]]  # the answer may have been lost: it is told again
    again = await command_now(org.viewer, sent["id"])
    assert (again["deliveries"], again["deliveredAt"]) == (2, first["deliveredAt"])
    assert (await wake(device, commands=[result(sent)]))["commands"] == []
    done = await command_now(org.viewer, sent["id"])
    assert (done["status"], done["message"], done["deliveries"]) == ("DONE", None, 2)
    assert done["finishedAt"] > done["deliveredAt"]
    assert (await wake(device))["commands"] == []
    events = await changes(org, device, "queued", "delivered", "done")
    assert {(event["actorKind"], event["actorId"]) for event in events[1:]} == {("DEVICE", device.id)}


async def test_what_failed_says_why(org: Organisation) -> None:
    device = await org.device()
    sent = await send(org.operator, device)
    await wake(device)
    await wake(device, commands=[result(sent, "FAILED", message="no\nroom")])
    failed = await command_now(org.viewer, sent["id"])
    assert (failed["status"], failed["message"]) == ("FAILED", "no room")
    *_, event = await changes(org, device, "queued", "delivered", "failed")
    assert event["data"] == {
        "commandId": sent["id"],
        "commandType": "RESTART",
        "name": "restart",
        "message": "no room",
    }


async def test_several_are_told_in_the_order_in_which_they_were_sent(org: Organisation) -> None:
    device = await org.device()
    sent = [await send(org.operator, device) for _ in range(4)]
    assert ids(await wake(device)) == [one["id"] for one in sent]
    left = await wake(device, commands=[result(sent[1]), result(sent[2], "FAILED")])
    assert ids(left) == [sent[0]["id"], sent[3]["id"]]


async def test_a_photo_brings_results_and_takes_commands(org: Organisation) -> None:
    device = await org.device()
    sent = await send(org.operator, device, type="CAPTURE_NOW")
    answer = await device.upload(photo())
    assert ids(answer.json()["next"]) == [sent["id"]]
    await wake(device, commands=[result(sent)])
    assert (await device.upload(photo(2))).json()["next"]["commands"] == []


async def test_results_that_mean_nothing_change_nothing(org: Organisation, other_org: Organisation) -> None:
    device, neighbour, stranger = await org.device(), await org.device(), await other_org.device()
    mine, queued = await send(org.operator, device), await send(org.operator, neighbour)
    theirs = await send(other_org.operator, stranger)
    for one in (device, stranger):
        await wake(one)
    nobodys = {"id": str(uuid.uuid4())}
    await wake(device, commands=[result(one) for one in (nobodys, queued, theirs)])
    await wake(neighbour, commands=[result(mine), result(queued)])  # its own was never told to it
    assert (await command_now(org.viewer, mine["id"]))["status"] == "DELIVERED"
    assert (await command_now(org.viewer, queued["id"]))["status"] == "DELIVERED"
    assert (await command_now(other_org.viewer, theirs["id"]))["status"] == "DELIVERED"
    await wake(device, commands=[result(mine), result(mine, "FAILED")])
    await wake(device, commands=[result(mine, "FAILED", message="too late")])
    first_word = await command_now(org.viewer, mine["id"])
    assert (first_word["status"], first_word["message"]) == ("DONE", None)


async def test_one_that_is_cancelled_is_not_told_any_more(org: Organisation) -> None:
    device = await org.device()
    queued, told = await send(org.operator, device), await send(org.operator, device)
    cancelled = (await org.operator.run(CANCEL, id=queued["id"]))["cancelDeviceCommand"]
    assert (cancelled["status"], cancelled["deliveredAt"]) == ("CANCELLED", None)
    assert ids(await wake(device)) == [told["id"]]
    await org.operator.run(CANCEL, id=told["id"])
    assert (await wake(device, commands=[result(told)]))["commands"] == []
    assert (await command_now(org.viewer, told["id"]))["status"] == "CANCELLED"
    refusal = await org.operator.refused(CANCEL, id=told["id"])
    assert refusal["extensions"]["code"] == "COMMAND_OVER"
    assert refusal["extensions"]["details"]["status"] == "CANCELLED"
    assert await org.operator.code(CANCEL, id=str(uuid.uuid4())) == "NOT_FOUND"
    await changes(org, device, "queued", "queued", "cancelled", "delivered", "cancelled")


async def let_it_be_over(database_url: str, command: dict[str, Any]) -> None:
    await execute(
        database_url,
        f"UPDATE device_commands SET expires_at = now() - interval '1 second' WHERE id = '{command['id']}'",
    )


async def test_one_whose_time_is_over_is_expired_at_once_and_told_later(
    org: Organisation, database_url: str
) -> None:
    device = await org.device()
    sent, later = await send(org.operator, device), await send(org.operator, device)
    await let_it_be_over(database_url, sent)
    expired = await command_now(org.viewer, sent["id"])
    assert expired["status"] == "EXPIRED"
    assert expired["finishedAt"] == expired["expiresAt"]
    found = await commands_of(org.viewer, device, filter={"statuses": ["EXPIRED"]})
    assert [node["id"] for node in found["nodes"]] == [sent["id"]]
    found = await commands_of(org.viewer, device, filter={"statuses": ["QUEUED"]})
    assert [node["id"] for node in found["nodes"]] == [later["id"]]
    assert await org.operator.code(CANCEL, id=sent["id"]) == "COMMAND_OVER"
    assert ids(await wake(device, commands=[result(sent)])) == [later["id"]]
    (event,) = await logged(org.viewer, types=["device_command.expired"], subjectIds=[device.id], within=30)
    assert (event["data"]["commandId"], event["data"]["delivered"]) == (sent["id"], False)
    assert event["actorKind"] == "SYSTEM"
    assert (await command_now(org.viewer, sent["id"]))["status"] == "EXPIRED"


@pytest.mark.parametrize("written_down", [False, True])
async def test_a_device_that_slept_past_the_end_is_believed_that_it_did_it(
    org: Organisation, database_url: str, written_down: bool
) -> None:
    device = await org.device()
    sent = await send(org.operator, device)
    assert ids(await wake(device)) == [sent["id"]]
    await let_it_be_over(database_url, sent)
    if written_down:
        await logged(org.viewer, types=["device_command.expired"], subjectIds=[device.id], within=30)
    assert (await command_now(org.viewer, sent["id"]))["status"] == "EXPIRED"
    assert (await wake(device, commands=[result(sent)]))["commands"] == []
    assert (await command_now(org.viewer, sent["id"]))["status"] == "DONE"


async def test_of_many_that_wake_at_once_each_is_told_its_own(org: Organisation) -> None:
    devices = [await org.device() for _ in range(12)]
    sent = {device.id: await send(org.operator, device) for device in devices[::2]}
    answers = await asyncio.gather(*(wake(device) for device in devices))
    expected = [[sent[device.id]["id"]] if device.id in sent else [] for device in devices]
    assert [ids(answer) for answer in answers] == expected
    results = {device.id: [result(sent[device.id])] for device in devices if device.id in sent}
    await asyncio.gather(*(wake(device, commands=results.get(device.id, [])) for device in devices))
    for command in sent.values():
        assert (await command_now(org.viewer, command["id"]))["status"] == "DONE"


async def test_what_has_expired_makes_room(org: Organisation, database_url: str) -> None:
    device = await org.device()
    sent = [await send(org.operator, device) for _ in range(20)]
    await let_it_be_over(database_url, sent[0])
    await send(org.operator, device)
    assert len((await wake(device))["commands"]) == 20


async def test_subscribers_see_the_devices_commands_change(stack: Stack, org: Organisation) -> None:
    device = await org.device()
    document = """subscription ($id: ID!) { deviceUpdates(ids: [$id]) {
      type device { commands(filter: {statuses: [QUEUED, CANCELLED]}) { nodes { id } } }
    } }"""
    await logged(org.viewer, types=["device.registered"])  # which would be the first update else
    async with Socket.opened(stack.url, org.viewer.token) as socket:
        live = await socket.subscribe(document, id=device.id)
        sent = await send(org.operator, device)
        for happened in ("queued", "cancelled"):
            update = (await live.next())["deviceUpdates"]
            if update["type"] == "device.registered":  # was on its way when the subscription began
                update = (await live.next())["deviceUpdates"]
            assert update["type"] == f"device_command.{happened}"
            assert update["device"]["commands"]["nodes"] == [{"id": sent["id"]}]
            if happened == "queued":
                await org.operator.run(CANCEL, id=sent["id"])
