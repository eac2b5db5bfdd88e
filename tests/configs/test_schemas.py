"""The schema of a client's configs: which are taken, what it refuses, and where."""

import time
from typing import Any

import pytest

from tests.configs.operations import (
    CONFIG,
    DELETE,
    RESTORE,
    ROLLBACK,
    SAVE,
    SCHEMA,
    config,
    new_mac,
    save,
    save_template,
)
from tests.support.api import Organisation
from tests.support.log import logged

READ = "{ configSchema { schema updatedAt } }"
REMOVE = "mutation { removeConfigSchema { id } }"
WIFI = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "required": ["wifi"],
    "properties": {"wifi": {"$ref": "#/$defs/network"}, "a/b": {"type": "array", "items": {"type": "integer"}}},
    "$defs": {"network": {"type": "object", "required": ["ssid"], "properties": {"ssid": {"minLength": 1}}}},
}
BOMB = {
    "$ref": "#/$defs/d0",
    "$defs": {
        **{f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(40)},
        "d40": {"type": "object"},
    },
}


async def test_new_versions_have_to_satisfy_the_schema_and_are_told_where_they_do_not(org: Organisation) -> None:
    report = (await org.operator.run(SCHEMA, schema=WIFI))["setConfigSchema"]
    assert report == {"applied": True, "checked": 0, "failed": 0, "failures": []}
    mac = new_mac()
    error = await org.operator.refused(SAVE, mac=mac, content={"wifi": {"ssid": ""}, "a/b": [1, "x"]})
    assert error["extensions"]["code"] == "SCHEMA_VIOLATION"
    told = {violation["path"]: violation for violation in error["extensions"]["details"]["violations"]}
    assert told.keys() == {"/wifi/ssid", "/a~1b/1"}
    assert told["/a~1b/1"]["schemaPath"] == "/properties/a~1b/items/type"
    assert '"x" is not of type "integer"' in told["/a~1b/1"]["message"]
    assert await org.operator.code(SAVE, mac=mac, content={}) == "SCHEMA_VIOLATION"
    assert (await org.operator.run(CONFIG, mac=mac))["config"] is None
    assert (await save(org.operator, mac, {"wifi": {"ssid": "x"}}))["version"] == 1


async def test_it_is_the_effective_content_that_has_to_satisfy_it(org: Organisation) -> None:
    await save_template(org.operator, "base", {"wifi": {"ssid": "pantry"}})
    await org.operator.run(SCHEMA, schema=WIFI)
    mac = new_mac()
    assert (await save(org.operator, mac, {}, extends="base"))["version"] == 1
    assert await org.operator.code(SAVE, mac=mac, content={"wifi": None}) == "SCHEMA_VIOLATION"
    assert await org.operator.code(SAVE, mac=mac, content={}, extends=None) == "SCHEMA_VIOLATION"


async def test_a_dry_run_says_who_does_not_satisfy_it_and_changes_nothing(org: Organisation) -> None:
    good, bad = (
        await save(org.operator, new_mac(), {"wifi": {"ssid": "x"}}),
        await save(org.operator, new_mac(), {}),
    )
    gone = await save(org.operator, new_mac(), {})
    await org.operator.run(DELETE, mac=gone["mac"])
    expected = {"path": "", "message": '"wifi" is a required property', "schemaPath": "/required"}
    report = (await org.operator.run(SCHEMA, schema=WIFI, dryRun=True))["setConfigSchema"]
    assert (report["applied"], report["checked"], report["failed"]) == (False, 2, 1)
    assert report["failures"] == [{"id": bad["id"], "mac": bad["mac"], "violations": [expected]}]
    assert (await org.viewer.run(READ))["configSchema"] is None
    assert (await org.operator.run(SCHEMA, schema=WIFI))["setConfigSchema"]["failed"] == 1
    found = (await org.viewer.run(READ))["configSchema"]
    assert found["schema"] == WIFI
    # Those that are there stay; their next versions have to satisfy it.
    assert (await config(org.operator, bad["mac"]))["content"] == {}
    assert await org.operator.code(SAVE, mac=bad["mac"], content={"x": 1}) == "SCHEMA_VIOLATION"
    assert (await save(org.operator, good["mac"], {"wifi": {"ssid": "y"}}))["version"] == 2
    assert await org.operator.code(RESTORE, mac=gone["mac"]) == "SCHEMA_VIOLATION"
    assert (await logged(org.viewer, types=["config_schema.set"]))[0]["data"] == {"failing": 1}


async def test_a_rollback_has_to_satisfy_it_too(org: Organisation) -> None:
    mac = new_mac()
    await save(org.operator, mac, {})
    await save(org.operator, mac, {"wifi": {"ssid": "x"}})
    await org.operator.run(SCHEMA, schema=WIFI)
    assert await org.operator.code(ROLLBACK, mac=mac, to=1) == "SCHEMA_VIOLATION"


async def test_a_schema_is_removed(org: Organisation, other_org: Organisation) -> None:
    assert await org.operator.code(REMOVE) == "NOT_FOUND"
    await org.operator.run(SCHEMA, schema=WIFI)
    assert await other_org.operator.code(REMOVE) == "NOT_FOUND"
    assert (await save(other_org.operator, new_mac(), {}))["version"] == 1  # it binds its own client alone
    assert (await other_org.viewer.run(READ))["configSchema"] is None
    assert (await org.operator.run(REMOVE))["removeConfigSchema"]["id"] == org.id
    assert (await save(org.operator, new_mac(), {}))["version"] == 1


@pytest.mark.parametrize(
    ("schema", "path", "right"),
    [
        ([], None, "JSON object"),
        ({"type": "nosuch"}, "/type", "nosuch"),
        ({"properties": {"a": {"minLength": -1}}}, "/properties/a/minLength", "-1"),
        ({"$schema": "http://json-schema.org/draft-07/schema#"}, None, "2020-12"),
        ({"$ref": "https://example.com/schema.json"}, "/$ref", "in this schema"),
        ({"$ref": "file:///etc/passwd"}, "/$ref", "in this schema"),
        ({"items": {"$ref": "#/$defs/gone"}}, "/items/$ref", "nothing where"),
        ({"properties": {"a": {"$ref": "#"}}}, "/properties/a/$ref", "circle"),
        ({"$dynamicRef": "#x"}, "", "$dynamicRef"),
        ({"properties": {"a": {"$id": "http://x/"}}}, "/properties/a", "$id"),
        ({"properties": {"a": {"pattern": "("}}}, "/properties/a/pattern", "regex"),
        ({"pattern": "(?=a)a"}, "/pattern", "lookaround"),
        ({"pattern": "((((a{99}){99}){99}){99}){99}"}, "/pattern", "moderate size"),
        ({"anyOf": [{"pattern": f"a{n}"} for n in range(51)]}, "/anyOf/50", "50 patterns"),
        (BOMB, "", "fan out"),
        ({"const": "x" * 70_000}, None, "65536 bytes"),
    ],
)
async def test_a_schema_that_cannot_be_used_is_refused_with_its_place(
    org: Organisation, schema: Any, path: str | None, right: str
) -> None:
    started = time.monotonic()
    error = await org.operator.refused(SCHEMA, schema=schema)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"]["argument"] == "schema"
    assert error["extensions"]["details"].get("path") == path
    assert right in error["message"]
    assert time.monotonic() - started < 2
    assert (await org.viewer.run(READ))["configSchema"] is None


async def test_a_pattern_that_would_hang_others_does_not_hang_this(org: Organisation) -> None:
    await org.operator.run(SCHEMA, schema={"properties": {"a": {"pattern": "^(a+)+$"}}})
    started = time.monotonic()
    content = {"a": "a" * 50_000 + "b"}
    assert await org.operator.code(SAVE, mac=new_mac(), content=content) == "SCHEMA_VIOLATION"
    assert time.monotonic() - started < 2  # Python's `re` would take longer than the universe has been there


async def test_what_is_told_is_bounded(org: Organisation) -> None:
    await org.operator.run(SCHEMA, schema={"additionalProperties": {"type": "string", "maxLength": 1}})
    content = {f"k{n}": "x" * 3000 if n == 0 else n for n in range(500)}
    error = await org.operator.refused(SAVE, mac=new_mac(), content=content)
    told = error["extensions"]["details"]["violations"]
    assert len(told) == 20
    assert max(len(violation["message"]) for violation in told) <= 300


async def test_formats_are_held_to(org: Organisation) -> None:
    await org.operator.run(SCHEMA, schema={"properties": {"ip": {"format": "ipv4"}}})
    assert await org.operator.code(SAVE, mac=new_mac(), content={"ip": "300.1.1.1"}) == "SCHEMA_VIOLATION"
    assert (await save(org.operator, new_mac(), {"ip": "10.0.0.1"}))["version"] == 1


async def test_a_viewer_sets_no_schema(org: Organisation) -> None:
    for document in (SCHEMA, REMOVE):
        assert await org.viewer.code(document, schema={}) == "FORBIDDEN"
