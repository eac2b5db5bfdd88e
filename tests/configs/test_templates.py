"""Templates: one save reaches every config that extends it, at any distance, and each exactly when it differs."""

import asyncio
import json
from typing import Any

import pytest

from tests.configs.operations import (
    DELETE,
    RESTORE,
    SAVE,
    SCHEMA,
    TEMPLATE,
    config,
    fetched,
    new_mac,
    save,
    save_template,
)
from tests.support.api import Organisation
from tests.support.log import logged

DELETE_TEMPLATE = "mutation ($id: ID!) { deleteConfigTemplate(id: $id) { id } }"
FIND = "query ($name: String, $id: ID) { configTemplate(name: $name, id: $id) { id name version deletedAt } }"


@pytest.mark.parametrize(
    ("base", "own", "effective"),
    # The examples of RFC 7396, appendix A, as far as their target and patch are objects.
    [
        ({"a": "b"}, {"a": "c"}, {"a": "c"}),
        ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
        ({"a": "b"}, {"a": None}, {}),
        ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
        ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
        ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
        ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
        ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
        ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
        ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
    ],
)
async def test_a_configs_own_content_is_merged_over_its_template(
    org: Organisation, base: Any, own: Any, effective: Any
) -> None:
    await save_template(org.operator, "base", base)
    saved = await save(org.operator, new_mac(), own, extends="BASE")  # names are found in any case
    assert json.dumps(saved["effective"]) == json.dumps(effective)
    assert saved["content"] == own
    assert saved["extends"] == {"name": "base"}


async def test_nulls_of_a_config_without_a_template_are_its_own(org: Organisation) -> None:
    saved = await save(org.operator, new_mac(), {"a": None, "b": {"c": None}})
    assert saved["effective"] == {"a": None, "b": {"c": None}}


async def test_one_save_of_a_template_changes_the_whole_fleet(org: Organisation) -> None:
    await save_template(org.operator, "fleet", {"interval": 60, "enableOTA": False})
    macs = [new_mac() for _ in range(5)]
    own: list[dict[str, Any]] = [{"deviceName": f"cam {n}"} for n in range(3)] + [{"interval": 5}, {}]
    before = [
        await save(org.operator, mac, content, extends="fleet") for mac, content in zip(macs, own, strict=True)
    ]
    alone = await save(org.operator, new_mac(), {"interval": 60})
    template = await save_template(org.operator, "fleet", {"interval": 30, "enableOTA": False}, note="slower")
    assert (template["version"], template["versions"]["totalCount"]) == (2, 2)
    after = [await config(org.operator, mac) for mac in macs]
    for then, now, content in zip(before, after, own, strict=True):
        assert now["effective"] == {"interval": 30, "enableOTA": False, **content}
        assert (now["version"], now["content"]) == (then["version"], then["content"])
        changed = then["effective"] != now["effective"]
        assert (now["revision"] > then["revision"]) == changed == ("interval" not in content)
    assert (await config(org.operator, alone["mac"]))["revision"] == alone["revision"]
    events = await logged(org.viewer, 2, subjectIds=[template["id"]])
    assert events[1]["type"] == "config_template.saved"
    assert events[1]["data"] == {"name": "fleet", "before": 1, "after": 2, "revisedConfigs": 4}
    await save_template(org.operator, "fleet", {"interval": 30, "enableOTA": True})
    document = "{ configs(filter: {enableOTA: true}) { totalCount } }"
    assert (await org.viewer.run(document))["configs"]["totalCount"] == 5


async def test_a_template_reaches_through_other_templates(org: Organisation) -> None:
    await save_template(org.operator, "all", {"a": 1, "b": 1, "c": 1})
    await save_template(org.operator, "site", {"b": 2, "c": 2}, extends="all")
    room = await save_template(org.operator, "room", {"c": 3}, extends="site")
    assert room["effective"] == {"a": 1, "b": 2, "c": 3}
    mac = new_mac()
    before = await save(org.operator, mac, {"d": 4}, extends="room")
    await save_template(org.operator, "all", {"a": 9, "b": 9, "c": 9})
    after = await config(org.operator, mac)
    assert after["effective"] == {"a": 9, "b": 2, "c": 3, "d": 4}
    assert after["revision"] > before["revision"]
    await save_template(org.operator, "site", {"b": 5}, extends=None)  # cuts the chain
    assert (await config(org.operator, mac))["effective"] == {"b": 5, "c": 3, "d": 4}
    await save_template(org.operator, "site", {"b": 6})  # absent: it extends nothing, as before
    assert (await config(org.operator, mac))["effective"] == {"b": 6, "c": 3, "d": 4}


async def test_circles_and_long_chains_are_refused(org: Organisation) -> None:
    names = [f"t{n}" for n in range(5)]
    for above, name in zip([None, *names], names, strict=False):
        await save_template(org.operator, name, {name: 1}, extends=above)
    assert await org.operator.code(TEMPLATE, name="t5", content={}, extends="t4") == "TOO_DEEP"
    for extends in ("t4", "t0"):
        assert await org.operator.code(TEMPLATE, name="t0", content={}, extends=extends) == "CYCLE"
    await save_template(org.operator, "top", {})
    assert await org.operator.code(TEMPLATE, name="t0", content={}, extends="top") == "TOO_DEEP"
    assert (await save(org.operator, new_mac(), {}, extends="t4"))["effective"] == dict.fromkeys(names, 1)


async def test_two_who_would_close_a_circle_together_do_not(org: Organisation) -> None:
    for name in ("left", "right"):
        await save_template(org.operator, name, {})
    answers = await asyncio.gather(
        org.operator.post(TEMPLATE, name="left", content={"x": 1}, extends="right"),
        org.operator.post(TEMPLATE, name="right", content={"x": 1}, extends="left"),
    )
    errors = [error for answer in answers for error in answer.json().get("errors", [])]
    assert [error["extensions"]["code"] for error in errors] == ["CYCLE"]


async def test_a_config_that_comes_to_a_template_while_it_changes_gets_the_new_content(org: Organisation) -> None:
    await save_template(org.operator, "busy", {"n": 0})
    macs = [new_mac() for _ in range(12)]
    await asyncio.gather(
        *(save(org.operator, mac, {"own": 1}, extends="busy") for mac in macs[:6]),
        *(save_template(org.operator, "busy", {"n": n}) for n in range(1, 6)),
        *(save(org.operator, mac, {"own": 1}, extends="busy") for mac in macs[6:]),
    )
    found = await org.operator.run('{ configTemplate(name: "busy") { effective } }')
    final = found["configTemplate"]["effective"]
    for mac in macs:
        assert (await config(org.operator, mac))["effective"] == {**final, "own": 1}


async def test_a_template_in_use_is_not_deleted(org: Organisation) -> None:
    template = await save_template(org.operator, "base", {"a": 1})
    below = await save_template(org.operator, "below", {}, extends="base")
    mac = new_mac()
    await save(org.operator, mac, {}, extends="base")
    error = await org.operator.refused(DELETE_TEMPLATE, id=template["id"])
    assert (error["extensions"]["code"], error["extensions"]["details"]) == (
        "IN_USE",
        {"configs": 1, "templates": 1},
    )
    await org.operator.run(DELETE, mac=mac)
    await org.operator.run(DELETE_TEMPLATE, id=below["id"])
    await org.operator.run(DELETE_TEMPLATE, id=template["id"])
    assert (await org.viewer.run(FIND, name="base"))["configTemplate"] is None
    assert (await org.viewer.run(FIND, id=template["id"]))["configTemplate"]["deletedAt"]
    assert await org.operator.code(DELETE_TEMPLATE, id=template["id"]) == "NOT_FOUND"
    assert await org.operator.code(RESTORE, mac=mac) == "TEMPLATE_DELETED"
    again = await save_template(org.operator, "base", {}, expected=0)
    assert again["id"] != template["id"]


async def test_a_restored_config_has_its_template_as_that_is_now(org: Organisation) -> None:
    await save_template(org.operator, "base", {"n": 1})
    mac = new_mac()
    before = await save(org.operator, mac, {}, extends="base")
    await org.operator.run(DELETE, mac=mac)
    await save_template(org.operator, "base", {"n": 2})
    restored = (await org.operator.run(RESTORE, mac=mac))["restoreConfig"]
    assert restored["effective"] == {"n": 2}
    assert restored["revision"] > before["revision"]


async def test_templates_have_versions_and_expectations_as_configs_do(org: Organisation) -> None:
    await save_template(org.operator, "base", {"n": 1}, expected=0)
    assert await org.operator.code(TEMPLATE, name="base", content={}, expected=0) == "CONFLICT"
    assert (await save_template(org.operator, "Base", {"n": 1}))["version"] == 1  # the same already
    assert (await save_template(org.operator, "base", {"n": 2}, expected=1))["version"] == 2
    assert await org.operator.code(TEMPLATE, name="base", content=[]) == "BAD_USER_INPUT"
    assert await org.operator.code(TEMPLATE, name=" ", content={}) == "BAD_USER_INPUT"
    assert await org.operator.code(TEMPLATE, name="other", content={}, extends="nobody") == "NOT_FOUND"
    assert await org.operator.code(SAVE, mac=new_mac(), content={}, extends="nobody") == "NOT_FOUND"
    assert await org.viewer.code(TEMPLATE, name="other", content={}) == "FORBIDDEN"


async def test_a_template_that_would_break_the_schema_of_one_config_changes_none(org: Organisation) -> None:
    await save_template(org.operator, "base", {"n": 1})
    macs = sorted(new_mac() for _ in range(3))
    for mac in macs:
        await save(org.operator, mac, {"own": mac}, extends="base")
    await save(org.operator, macs[2], {"n": 5}, extends="base")
    await org.operator.run(SCHEMA, schema={"properties": {"n": {"type": "integer"}}})
    before = [await config(org.operator, mac) for mac in macs]
    error = await org.operator.refused(TEMPLATE, name="base", content={"n": "many"})
    assert error["extensions"]["code"] == "SCHEMA_VIOLATION"
    told = error["extensions"]["details"]["violations"]
    assert {violation["mac"] for violation in told} == set(macs[:2])  # the third has its own
    assert {(violation["path"], violation["schemaPath"]) for violation in told} == {("/n", "/properties/n/type")}
    assert [await config(org.operator, mac) for mac in macs] == before
    assert (await org.viewer.run(FIND, name="base"))["configTemplate"]["version"] == 1
    assert (await save_template(org.operator, "base", {"n": 2}))["version"] == 2


async def test_what_is_too_large_together_is_refused_with_the_config(org: Organisation) -> None:
    await save_template(org.operator, "base", {})
    mac = new_mac()
    await save(org.operator, mac, {"own": "x" * 40_000}, extends="base")
    error = await org.operator.refused(TEMPLATE, name="base", content={"base": "x" * 40_000})
    assert error["message"].startswith(mac)
    assert "65536 bytes" in error["message"]


async def test_a_template_of_a_thousand_configs_is_saved_in_time(org: Organisation, database_url: str) -> None:
    template = await save_template(org.operator, "fleet", {"n": 1})
    await fetched(
        database_url,
        "INSERT INTO configs (id, client_id, mac, template_id, version, revision, content, effective) "
        "SELECT gen_random_uuid(), $1::text::uuid,"
        " regexp_replace(lpad(to_hex(n), 12, '0'), '(..)(?!$)', '\\1-', 'g'), $2::text::uuid, 1,"
        " nextval('config_revisions'), json_build_object('name', n), json_build_object('n', 1, 'name', n)"
        " FROM generate_series(1, 1234) AS n",
        org.id,
        template["id"],
    )
    await save_template(org.operator, "fleet", {"n": 2})
    rows = await fetched(
        database_url,
        "SELECT count(*), count(DISTINCT revision) AS revisions, count(*) FILTER (WHERE effective ->> 'n' = '2' "
        "AND effective ->> 'name' = content ->> 'name') AS right FROM configs WHERE template_id = $1::text::uuid",
        template["id"],
    )
    assert [tuple(row) for row in rows] == [(1234, 1234, 1234)]
