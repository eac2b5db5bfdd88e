"""Registering devices, and giving them new tokens."""

from typing import Any

import pytest

from tests.devices.operations import DEREGISTER, REGISTER, ROTATE, device_now
from tests.support.api import Organisation, TestDevice
from tests.support.log import logged
from tests.support.problems import problem


async def test_a_device_is_registered_with_defaults_and_its_token_is_shown_once(org: Organisation) -> None:
    made = (await org.operator.run(REGISTER, device={"key": "pantry-cam-001"}))["registerDevice"]
    device, token = made["device"], made["token"]
    assert token.startswith("qmd_")
    assert device == {
        "id": device["id"],
        "key": "pantry-cam-001",
        "name": "pantry-cam-001",
        "enabled": True,
        "wakeIntervalSeconds": 3600,
        "token": {"prefix": token[:10], "createdAt": device["token"]["createdAt"]},
        "client": {"id": org.id},
    }
    again = await org.operator.post("query ($id: ID!) { device(id: $id) { token { prefix } } }", id=device["id"])
    assert token not in again.text
    events = await logged(org.viewer, types=["device.registered"])
    (event,) = events
    assert (event["subjectId"], event["data"]["key"]) == (device["id"], "pantry-cam-001")
    told = ("key", "name", "wakeIntervalSeconds")
    nothing: dict[str, Any] = {"mac": None, "board": None, "labels": []}
    assert event["data"]["after"] == {**{name: device[name] for name in told}, **nothing}
    registered = TestDevice(org.operator.http, device["id"], "pantry-cam-001", token)
    assert (await registered.heartbeat()).status_code == 200


async def test_what_is_said_at_registration_is_kept(org: Organisation) -> None:
    said = {"key": "a.B:c_d-9", "name": "  Top shelf, left ", "wakeIntervalSeconds": 10}
    device = (await org.operator.run(REGISTER, device=said))["registerDevice"]["device"]
    assert (device["key"], device["name"], device["wakeIntervalSeconds"]) == ("a.B:c_d-9", "Top shelf, left", 10)


@pytest.mark.parametrize("key", ["", "-cam", "cam-", "a b", "a/b", "k" * 65, "käse", "cam\n", "a\0b", "../x"])
async def test_a_key_that_could_not_stand_in_a_path_is_refused(org: Organisation, key: str) -> None:
    error = await org.operator.refused(REGISTER, device={"key": key})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": "key"}


@pytest.mark.parametrize("key", ["k", "7", "k" * 64])
async def test_the_shortest_and_the_longest_key_are_taken(org: Organisation, key: str) -> None:
    made = await org.operator.run(REGISTER, device={"key": key})
    assert made["registerDevice"]["device"]["key"] == key


@pytest.mark.parametrize(
    "fields", [{"wakeIntervalSeconds": 9}, {"wakeIntervalSeconds": 2_592_001}, {"name": "a\nb"}]
)
async def test_a_device_out_of_all_reason_is_refused(org: Organisation, fields: dict[str, object]) -> None:
    error = await org.operator.refused(REGISTER, device={"key": "cam", **fields})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": next(iter(fields))}


async def test_a_key_is_taken_once_in_a_client_and_free_in_another(
    org: Organisation, other_org: Organisation
) -> None:
    first = await org.device("cam")
    error = await org.operator.refused(REGISTER, device={"key": "cam"})
    assert (error["extensions"]["code"], error["extensions"]["details"]) == ("KEY_TAKEN", {"argument": "key"})
    second = await other_org.device("cam")
    assert (await first.heartbeat()).status_code == (await second.heartbeat()).status_code == 200
    assert (await device_now(org.viewer, first.id))["key"] == "cam"


async def test_an_admin_names_the_client(org: Organisation) -> None:
    error = await org.admin.refused(REGISTER, device={"key": "cam"})
    assert (error["extensions"]["code"], error["extensions"]["details"]) == (
        "BAD_USER_INPUT",
        {"argument": "clientId"},
    )
    made = await org.admin.run(REGISTER, device={"key": "cam", "clientId": org.id})
    assert made["registerDevice"]["device"]["client"]["id"] == org.id
    nobodys = "01890000-0000-7000-8000-000000000000"
    assert await org.admin.code(REGISTER, device={"key": "cam", "clientId": nobodys}) == "NOT_FOUND"


async def test_an_operator_registers_for_its_own_client_only(org: Organisation, other_org: Organisation) -> None:
    stolen = {"key": "cam", "clientId": other_org.id}
    assert await org.operator.code(REGISTER, device=stolen) == "NOT_FOUND"
    own = await org.operator.run(REGISTER, device={"key": "cam", "clientId": org.id})
    assert own["registerDevice"]["device"]["client"]["id"] == org.id


async def test_a_viewer_and_a_device_register_nothing(org: Organisation) -> None:
    device = await org.device()
    for caller in (org.viewer, org.viewer.with_token(device.token)):
        assert await caller.code(REGISTER, device={"key": "cam"}) == "FORBIDDEN"
    assert await org.viewer.with_token(None).code(REGISTER, device={"key": "cam"}) == "UNAUTHENTICATED"


async def test_a_new_token_works_and_the_old_one_is_refused_at_once(org: Organisation) -> None:
    device = await org.device()
    assert (await device.heartbeat()).status_code == 200  # the server has just seen the old token work
    made = (await org.operator.run(ROTATE, id=device.id))["rotateDeviceToken"]
    assert made["token"] != device.token
    assert made["device"] == {"id": device.id, "token": {"prefix": made["token"][:10]}}
    problem(await device.heartbeat(), 401, "INVALID_TOKEN")
    assert (await TestDevice(device.http, device.id, device.key, made["token"]).heartbeat()).status_code == 200
    events = await logged(org.viewer, types=["device.token_rotated"], subjectIds=[device.id])
    assert made["token"] not in str(events)


async def test_only_those_who_may_write_rotate_tokens(org: Organisation, other_org: Organisation) -> None:
    device = await org.device()
    assert await org.viewer.code(ROTATE, id=device.id) == "FORBIDDEN"
    assert await other_org.operator.code(ROTATE, id=device.id) == "NOT_FOUND"
    await org.operator.run(DEREGISTER, id=device.id)
    assert await org.operator.code(ROTATE, id=device.id) == "NOT_FOUND"
