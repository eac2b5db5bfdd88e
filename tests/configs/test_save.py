"""Saving a config: what is kept, what is refused and where, and whose turn it is."""

import asyncio
import json
from typing import Any

import pytest

from tests.configs.operations import CONFIG, SAVE, VERSIONS, config, new_mac, save
from tests.support.api import Organisation
from tests.support.log import logged

WIFI = {"ssid": "pantry", "password": "s3cret"}


async def test_what_is_saved_is_read_again_in_its_order(org: Organisation) -> None:
    mac = new_mac()
    content = {"zeta": 1, "alpha": [1.5, True, None, "ü🛒"], "wifi": WIFI, "mid": {"b": 1, "a": 2}}
    saved = await save(org.operator, mac, content)
    assert (saved["mac"], saved["version"]) == (mac, 1)
    found = await config(org.operator, mac)
    assert json.dumps(found["content"]) == json.dumps(content)  # dict equality would not mind the order
    assert json.dumps(found["effective"]) == json.dumps(content)


@pytest.mark.parametrize("written", ["A4:CF:12:0B:9E:01", "a4cf.120b.9e01", "a4cf120b9e01", "A4-CF-12-0B-9E-01"])
async def test_a_mac_is_understood_in_four_ways_and_answered_in_one(org: Organisation, written: str) -> None:
    assert (await save(org.operator, written, {}))["mac"] == "a4-cf-12-0b-9e-01"
    assert (await config(org.operator, "a4-cf-12-0b-9e-01"))["version"] == 1


async def test_what_is_no_mac_is_told_what_would_be_one(org: Organisation) -> None:
    error = await org.operator.refused(SAVE, mac="kitchen", content={})
    assert "a4-cf-12-0b-9e-01" in error["message"]
    literal = await org.operator.refused('{ config(mac: "a4-cf-12") { id } }')
    assert "a4-cf-12-0b-9e-01" in literal["message"]


@pytest.mark.parametrize(
    ("content", "facts"),
    [
        ({"deviceName": "Fridge", "deviceEntityId": "camera.fridge", "enableOTA": True},
         ("Fridge", "camera.fridge", True)),
        ({"enableOTA": False}, (None, None, False)),
        ({}, (None, None, None)),
        ({"deviceName": 5, "deviceEntityId": ["x"], "enableOTA": "true"}, (None, None, None)),
        ({"deviceName": None, "deviceEntityId": {}, "enableOTA": 1}, (None, None, None)),
        ({"deviceName": "x" * 5000, "nested": {"enableOTA": True}}, ("x" * 200, None, None)),
    ],
)  # fmt: skip
async def test_facts_are_read_out_of_the_content(org: Organisation, content: Any, facts: Any) -> None:
    saved = await save(org.operator, new_mac(), content)
    assert (saved["deviceName"], saved["deviceEntityId"], saved["enableOTA"]) == facts


async def test_what_is_the_same_makes_no_version(org: Organisation) -> None:
    mac = new_mac()
    first = await save(org.operator, mac, {"a": 1, "b": True}, note="first")
    again = await save(org.operator, mac, {"a": 1, "b": True}, note="again")
    assert (again["version"], again["revision"]) == (1, first["revision"])
    # What Python takes for equal is not the same JSON.
    assert (await save(org.operator, mac, {"a": True, "b": True}))["version"] == 2
    assert (await save(org.operator, mac, {"a": 1.0, "b": 1}))["version"] == 3
    assert (await save(org.operator, mac, {"b": 1, "a": 1.0}))["version"] == 4


async def test_a_version_that_was_expected_and_is_not_there_is_a_conflict(org: Organisation) -> None:
    mac = new_mac()
    error = await org.operator.refused(SAVE, mac=mac, content={}, expected=3)
    assert error["extensions"]["code"] == "CONFLICT"
    assert error["extensions"]["details"]["actualVersion"] == 0
    assert (await save(org.operator, mac, {"a": 1}, expected=0))["version"] == 1
    error = await org.operator.refused(SAVE, mac=mac, content={"a": 2}, expected=0)
    assert error["extensions"]["code"] == "CONFLICT"
    assert error["extensions"]["details"] == {
        "argument": "expectedVersion",
        "expectedVersion": 0,
        "actualVersion": 1,
    }
    assert (await save(org.operator, mac, {"a": 2}, expected=1))["version"] == 2
    assert (await config(org.operator, mac))["content"] == {"a": 2}


async def test_of_many_who_expect_the_same_version_one_has_it(org: Organisation) -> None:
    mac = new_mac()
    for expected in (0, 1):
        answers = await asyncio.gather(
            *(
                org.operator.post(SAVE, mac=mac, content={"by": f"{expected} {n}"}, expected=expected)
                for n in range(6)
            )
        )
        errors = [answer.json().get("errors") for answer in answers]
        assert sum(error is None for error in errors) == 1
        assert {error[0]["extensions"]["code"] for error in errors if error} == {"CONFLICT"}


async def test_many_who_expect_nothing_each_make_a_version(org: Organisation) -> None:
    mac = new_mac()
    await asyncio.gather(*(save(org.operator, mac, {"n": n}) for n in range(8)))
    found = (await org.operator.run(VERSIONS, mac=mac))["config"]["versions"]
    assert [version["number"] for version in found["nodes"]] == list(range(8, 0, -1))
    assert sorted(version["content"]["n"] for version in found["nodes"]) == list(range(8))
    assert found["nodes"][0]["content"] == (await config(org.operator, mac))["content"]


@pytest.mark.parametrize(
    ("content", "path", "right"),
    [
        ([], None, "JSON object"),
        ("text", None, "JSON object"),
        (5, None, "JSON object"),
        ({"a": {"b/c": "x\0y"}}, "/a/b~1c", "NUL"),
        ({"x\0y": 1}, "/x\0y", "NUL"),
        ({"a": "x" * 66_000}, None, "65536 bytes"),
        ({"a": list(range(5000))}, None, "4096 values"),
    ],
)
async def test_content_that_cannot_be_kept_is_refused_with_its_place(
    org: Organisation, content: Any, path: str | None, right: str
) -> None:
    mac = new_mac()
    error = await org.operator.refused(SAVE, mac=mac, content=content)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == "content"
    assert error["extensions"]["details"].get("path") == path
    assert right in error["message"]
    assert (await org.operator.run(CONFIG, mac=mac))["config"] is None


async def test_nesting_is_bounded(org: Organisation) -> None:
    deep: dict[str, Any] = {}
    for _ in range(21):
        deep = {"a": deep}
    error = await org.operator.refused(SAVE, mac=new_mac(), content=deep)
    assert "nested at most 20" in error["message"]
    assert (await save(org.operator, new_mac(), deep["a"]))["version"] == 1


@pytest.mark.parametrize("literal", ["1e999", "-1e999", "36893488147419103232"])
async def test_numbers_that_others_cannot_read_are_refused(org: Organisation, literal: str) -> None:
    document = f'mutation {{ saveConfig(mac: "{new_mac()}", content: {{a: {literal}}}) {{ id }} }}'
    error = await org.operator.refused(document)
    assert (error["extensions"]["code"], error["extensions"]["details"]["path"]) == ("BAD_USER_INPUT", "/a")


@pytest.mark.parametrize("number", [0, -1, 2**53, -(2**63), 2**63 - 1, 0.1, 1e300, 5e-324])
async def test_numbers_are_kept_to_the_last_digit(org: Organisation, number: float) -> None:
    mac = new_mac()
    await save(org.operator, mac, {"n": number})
    assert repr((await config(org.operator, mac))["content"]["n"]) == repr(number)


@pytest.mark.parametrize("note", ["x" * 501, "a\0b", "\x1b[31m"])
async def test_a_note_that_is_none_is_refused(org: Organisation, note: str) -> None:
    error = await org.operator.refused(SAVE, mac=new_mac(), content={}, note=note)
    assert (error["extensions"]["code"], error["extensions"]["details"]["argument"]) == ("BAD_USER_INPUT", "note")


async def test_a_mac_belongs_to_each_client_of_its_own(org: Organisation, other_org: Organisation) -> None:
    mac = new_mac()
    await save(org.operator, mac, {"whose": "mine"})
    assert (await other_org.operator.run(CONFIG, mac=mac))["config"] is None
    assert (await save(other_org.operator, mac, {"whose": "theirs"}, expected=0))["version"] == 1
    assert (await config(org.operator, mac))["content"] == {"whose": "mine"}
    assert await org.admin.code(CONFIG, mac=mac) == "BAD_USER_INPUT"  # two have it: name the client
    found = (await org.admin.run(CONFIG, mac=mac, client=other_org.id))["config"]
    assert found["content"] == {"whose": "theirs"}
    assert await org.admin.code(SAVE, mac=mac, content={}) == "BAD_USER_INPUT"
    assert (await save(org.admin, mac, {"by": "admin"}, client=org.id))["version"] == 2
    assert await org.operator.code(SAVE, mac=mac, content={}, client=other_org.id) == "NOT_FOUND"


async def test_a_viewer_sees_that_there_is_a_config_and_not_what_stands_in_it(org: Organisation) -> None:
    mac = new_mac()
    await save(org.operator, mac, {"deviceName": "Fridge", "wifi": WIFI}, note="secret, too")
    shown = await org.viewer.run(
        "query ($mac: MacAddress!) { config(mac: $mac) { mac version deviceName } }", mac=mac
    )
    assert shown["config"] == {"mac": mac, "version": 1, "deviceName": "Fridge"}
    for field in ("content", "effective", "versionAt(number: 1) { number content }"):
        document = f'{{ config(mac: "{mac}") {{ mac {field} }} }}'
        answer = (await org.viewer.post(document)).json()
        assert answer["errors"][0]["extensions"]["code"] == "FORBIDDEN"
        assert answer["data"]["config"]["mac"] == mac  # the rest is there
        assert "s3cret" not in json.dumps(answer)
    assert await org.viewer.code(SAVE, mac=mac, content={}) == "FORBIDDEN"
    assert await org.viewer.code(f'{{ configDiff(mac: "{mac}", from: 1, to: 1) {{ patch }} }}') == "FORBIDDEN"


async def test_events_tell_of_versions_and_never_of_content(org: Organisation) -> None:
    mac = new_mac()
    first = await save(org.operator, mac, {"wifi": WIFI})
    second = await save(org.operator, mac, {"wifi": {**WIFI, "x": 1}}, note="why")
    events = await logged(org.viewer, 2, subjectIds=[first["id"]])
    assert [(event["type"], event["subjectKind"]) for event in events] == [("config.saved", "CONFIG")] * 2
    assert events[0]["data"] == {"mac": mac, "before": None, "after": 1, "revision": first["revision"]}
    assert events[1]["data"] == {
        "mac": mac, "before": 1, "after": 2, "revision": second["revision"], "note": "why",
    }  # fmt: skip
    assert "s3cret" not in json.dumps(events)


async def test_a_repeat_under_the_same_idempotency_key_saves_once(org: Organisation) -> None:
    mac = new_mac()
    headers = {"Idempotency-Key": new_mac()}
    answers = [
        await org.operator.post(SAVE, headers=headers, mac=mac, content={"a": 1}, expected=0) for _ in range(2)
    ]
    assert answers[0].json()["data"] == answers[1].json()["data"]
    assert (await config(org.operator, mac))["version"] == 1


async def test_content_may_be_written_as_a_literal_with_variables_in_it(org: Organisation) -> None:
    mac = new_mac()
    document = """mutation ($mac: MacAddress!, $n: Int!) {
      saveConfig(mac: $mac, content: {b: {n: $n}, a: [1, ON]}) { id } }"""
    await org.operator.run(document, mac=mac, n=5)
    assert json.dumps((await config(org.operator, mac))["content"]) == '{"b": {"n": 5}, "a": [1, "ON"]}'
