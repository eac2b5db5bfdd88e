"""One device, by its id or by its key, with all that it says of itself."""

from typing import Any

import pytest

from tests.devices.operations import DEVICE, device_now
from tests.support.api import Organisation
from tests.support.photos import photo

_NOBODY = "01890000-0000-7000-8000-000000000000"


async def test_id_and_key_lead_to_the_same_device(org: Organisation) -> None:
    device = await org.device("cam")
    await org.device("cam-2")
    by_id = await device_now(org.viewer, device.id)
    by_key = (await org.viewer.run(DEVICE, key="cam"))["device"]
    assert by_id == by_key
    assert by_id["id"] == device.id
    node = await org.viewer.run("query ($id: ID!) { node(id: $id) { id ... on Device { key } } }", id=device.id)
    assert node["node"] == {"id": device.id, "key": "cam"}


async def test_a_new_device_has_reported_nothing_yet(org: Organisation) -> None:
    device = await device_now(org.viewer, (await org.device("cam", name="Top")).id)
    unknown = ("lastSeenAt", "deregisteredAt", "batteryV", "batteryPct", "rssi", "firmware")
    assert {device[name] for name in unknown} == {None}
    assert (device["totalCaptures"], device["failedUploads"], device["status"]) == (0, 0, "INACTIVE")
    assert (device["key"], device["name"], device["enabled"]) == ("cam", "Top", True)
    assert device["createdAt"] == device["updatedAt"]


async def test_a_device_that_reported_says_what_it_last_said(org: Organisation) -> None:
    device = await org.device()
    said = {"X-Battery-V": "3.71", "X-Battery-Pct": "48.5", "X-RSSI": "-67", "X-Firmware": "1.4.2"}
    await device.upload(photo(), headers=said)
    await device.upload(b"no image")
    await device.heartbeat(headers={"X-RSSI": "-70"})
    now = await device_now(org.viewer, device.id)
    assert (now["batteryV"], now["batteryPct"], now["rssi"], now["firmware"]) == (3.71, 48.5, -70, "1.4.2")
    assert (now["totalCaptures"], now["failedUploads"], now["status"]) == (1, 1, "ACTIVE")
    assert now["lastSeenAt"] > now["createdAt"]
    assert now["updatedAt"] == now["createdAt"]  # reports are no changes by its operator


async def test_what_the_caller_may_not_see_is_not_there(org: Organisation, other_org: Organisation) -> None:
    device = await other_org.device("cam")
    questions: list[dict[str, Any]] = [
        {"id": device.id},
        {"id": _NOBODY},
        {"key": "cam"},
        {"key": "cam", "client": other_org.id},
    ]
    for given in questions:
        assert (await org.viewer.run(DEVICE, **given))["device"] is None


async def test_a_key_that_several_clients_use_needs_the_client_from_an_admin(
    org: Organisation, other_org: Organisation
) -> None:
    own = await org.device()
    others = await other_org.device(own.key)
    error = await org.admin.refused(DEVICE, key=own.key)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": "clientId"}
    for client, device in ((org, own), (other_org, others)):
        assert (await org.admin.run(DEVICE, key=own.key, client=client.id))["device"]["id"] == device.id
        assert (await client.viewer.run(DEVICE, key=own.key))["device"]["id"] == device.id


async def test_an_admin_needs_no_client_for_a_key_that_one_client_uses(org: Organisation) -> None:
    device = await org.device()
    assert (await org.admin.run(DEVICE, key=device.key))["device"]["id"] == device.id
    assert (await org.admin.run(DEVICE, key=device.key, client=_NOBODY))["device"] is None


async def test_exactly_one_of_id_and_key_is_given(org: Organisation) -> None:
    device = await org.device()
    assert await org.viewer.code(DEVICE) == "BAD_USER_INPUT"
    assert await org.viewer.code(DEVICE, id=device.id, key=device.key) == "BAD_USER_INPUT"
    assert await org.viewer.code(DEVICE, id=None, key=None) == "BAD_USER_INPUT"


@pytest.mark.parametrize("given", [{"id": "cam"}, {"id": "\0"}, {"key": "a\0b"}, {"key": "cam", "client": "x"}])
async def test_what_cannot_be_an_id_or_a_key_is_no_defect(org: Organisation, given: dict[str, Any]) -> None:
    assert await org.viewer.code(DEVICE, **given) == "BAD_USER_INPUT"
