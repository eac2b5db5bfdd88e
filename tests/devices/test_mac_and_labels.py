"""The MAC address that leads to a device's config, and the labels that put devices into groups."""

from typing import Any

import pytest

from tests.devices.operations import UPDATE
from tests.support.api import Organisation

_FACTS = "query ($id: ID!) { device(id: $id) { mac labels } }"
_REGISTER = """mutation ($device: NewDevice!) { registerDevice(device: $device) { device { id mac labels } } }"""
MAC = "a4-cf-12-0b-9e-01"


async def facts(org: Organisation, device_id: str) -> tuple[str | None, list[str]]:
    device = (await org.viewer.run(_FACTS, id=device_id))["device"]
    return device["mac"], device["labels"]


@pytest.mark.parametrize("written", [MAC, MAC.upper(), "A4:CF:12:0B:9E:01", "a4cf.120b.9e01", "a4cf120b9e01"])
async def test_a_mac_is_understood_in_four_ways_and_kept_in_one(org: Organisation, written: str) -> None:
    device = await org.device(mac=written)
    assert await facts(org, device.id) == (MAC, [])


@pytest.mark.parametrize("written", ["", "a4-cf-12-0b-9e", "a4-cf-12-0b-9e-0g", "a4-cf-12:0b-9e-01", f"{MAC}\n", 7])
async def test_what_is_no_mac_is_refused(org: Organisation, written: Any) -> None:
    error = await org.operator.refused(_REGISTER, device={"key": "cam-x", "mac": written})
    assert "six pairs of hexadecimal digits" in error["message"]


async def test_a_key_that_is_a_mac_is_the_mac(org: Organisation) -> None:
    device = await org.device("A4:CF:12:0B:9E:01")
    assert await facts(org, device.id) == (MAC, [])
    other = await org.device("A4:CF:12:0B:9E:02", mac="00-00-00-00-00-07")
    assert await facts(org, other.id) == ("00-00-00-00-00-07", [])


async def test_a_mac_is_of_one_device_of_a_client(org: Organisation, other_org: Organisation) -> None:
    first, second = await org.device(mac=MAC), await org.device()
    for mutation, variables in (
        (_REGISTER, {"device": {"key": "cam-x", "mac": MAC.upper()}}),
        (UPDATE, {"id": second.id, "changes": {"mac": MAC}}),
    ):
        error = await org.operator.refused(mutation, **variables)
        assert error["extensions"]["code"] == "MAC_TAKEN"
    await other_org.device(mac=MAC)
    await org.operator.run(UPDATE, id=first.id, changes={"mac": None})
    await org.operator.run(UPDATE, id=second.id, changes={"mac": MAC})
    assert [(await facts(org, one.id))[0] for one in (first, second)] == [None, MAC]


async def test_labels_are_a_set(org: Organisation) -> None:
    device = await org.device(labels=["pantry", "attic", "pantry"])
    assert await facts(org, device.id) == (None, ["attic", "pantry"])
    await org.operator.run(UPDATE, id=device.id, changes={"labels": ["site:cellar/left"]})
    assert await facts(org, device.id) == (None, ["site:cellar/left"])
    await org.operator.run(UPDATE, id=device.id, changes={"labels": []})
    assert await facts(org, device.id) == (None, [])


@pytest.mark.parametrize("labels", [[""], [" a"], ["a\0"], ["x" * 65], ["-a"], [f"l{i}" for i in range(51)]])
async def test_labels_out_of_form_are_refused(org: Organisation, labels: list[str]) -> None:
    device = await org.device(labels=["kept"])
    error = await org.operator.refused(UPDATE, id=device.id, changes={"labels": labels})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == "labels"
    assert await facts(org, device.id) == (None, ["kept"])
