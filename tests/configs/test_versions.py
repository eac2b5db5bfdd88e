"""Versions: listed, compared, brought back; and what becomes of a config that is deleted."""

import asyncio

import pytest
from jsonpatch import JsonPatch

from tests.configs.operations import (
    CONFIG,
    DELETE,
    RESTORE,
    ROLLBACK,
    SAVE,
    VERSIONS,
    config,
    new_mac,
    save,
    save_template,
)
from tests.support.api import Organisation
from tests.support.log import logged

DIFF = """query ($mac: MacAddress!, $old: Int!, $new: Int!) { configDiff(mac: $mac, from: $old, to: $new) {
  before { number } after { number } patch } }"""


async def test_versions_say_who_saved_what_and_why(org: Organisation) -> None:
    mac = new_mac()
    me = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    await save(org.operator, mac, {"n": 1}, note="  first\nlight ")
    await save(org.admin, mac, {"n": 2}, client=org.id)
    await save(org.operator, mac, {"n": 3}, note="")
    page = (await org.operator.run(VERSIONS, mac=mac, first=2))["config"]["versions"]
    assert page["totalCount"] == 3
    assert [(version["number"], version["content"]) for version in page["nodes"]] == [(3, {"n": 3}), (2, {"n": 2})]
    assert [version["note"] for version in page["nodes"]] == [None, None]
    rest = (await org.operator.run(VERSIONS, mac=mac, first=2, after=page["pageInfo"]["endCursor"]))["config"]
    (first,) = rest["versions"]["nodes"]
    assert (first["number"], first["note"], first["content"]) == (1, "first\nlight", {"n": 1})
    assert (first["authorKind"], first["authorId"], first["restores"]) == ("USER", me, None)
    assert page["nodes"][0]["authorId"] == me
    assert page["nodes"][1]["authorId"] != me


async def test_one_version_is_found_by_its_number(org: Organisation) -> None:
    mac = new_mac()
    await save(org.operator, mac, {"n": 1})
    await save(org.operator, mac, {"n": 2})
    document = (
        'query { config(mac: "%s") { one: versionAt(number: 1) { content } none: versionAt(number: 9) { id } } }'
    )
    found = (await org.operator.run(document % mac))["config"]
    assert found == {"one": {"content": {"n": 1}}, "none": None}


async def test_a_diff_makes_one_version_of_another(org: Organisation) -> None:
    mac = new_mac()
    contents = [
        {"a": 1, "flag": True, "list": [1, 2, 3], "gone": {"x": 1}},
        {"a": True, "flag": 1, "list": [1, 3, 4], "new/~key": {"y": None}},
    ]
    for content in contents:
        await save(org.operator, mac, content)
    for from_, to in ((1, 2), (2, 1), (2, 2)):
        diff = (await org.operator.run(DIFF, mac=mac, old=from_, new=to))["configDiff"]
        assert (diff["before"]["number"], diff["after"]["number"]) == (from_, to)
        assert JsonPatch(diff["patch"]).apply(contents[from_ - 1]) == contents[to - 1]
    assert diff["patch"] == []
    error = await org.operator.refused(DIFF, mac=mac, old=1, new=3)
    assert error["extensions"]["details"] == {"argument": "to", "version": 3}
    assert await org.operator.code(DIFF, mac=new_mac(), old=1, new=3) == "NOT_FOUND"


async def test_a_diff_of_the_largest_contents_holds_nobody_up(org: Organisation) -> None:
    mac = new_mac()
    await save(org.operator, mac, {"a": list(range(4000))})
    await save(org.operator, mac, {"a": list(range(4000, 0, -1))})
    diffing = asyncio.create_task(org.operator.run(DIFF, mac=mac, old=1, new=2))
    beside = [await org.operator.run("{ viewer { kind } }") for _ in range(5)]
    assert len(beside) == 5
    assert len((await diffing)["configDiff"]["patch"]) > 1000


async def test_a_rollback_is_a_new_version_with_the_old_content(org: Organisation) -> None:
    mac = new_mac()
    for n in (1, 2):
        saved = await save(org.operator, mac, {"n": n})
    assert await org.operator.code(ROLLBACK, mac=mac, to=1, expected=1) == "CONFLICT"
    back = (await org.operator.run(ROLLBACK, mac=mac, to=1, expected=2, note="it failed"))["rollbackConfig"]
    assert (back["version"], back["content"]) == (3, {"n": 1})
    assert back["revision"] > saved["revision"]
    newest = (await org.operator.run(VERSIONS, mac=mac, first=1))["config"]["versions"]["nodes"][0]
    assert (newest["number"], newest["restores"], newest["note"]) == (3, 1, "it failed")
    events = await logged(org.viewer, 3, subjectIds=[back["id"]])
    assert events[-1]["data"]["restores"] == 1
    same = (await org.operator.run(ROLLBACK, mac=mac, to=3))["rollbackConfig"]
    assert same["version"] == 3
    assert await org.operator.code(ROLLBACK, mac=mac, to=4) == "NOT_FOUND"
    assert await org.operator.code(ROLLBACK, mac=new_mac(), to=1) == "NOT_FOUND"


async def test_a_rollback_brings_the_template_back_too_unless_that_is_gone(org: Organisation) -> None:
    mac = new_mac()
    template = await save_template(org.operator, "base", {"ota": True})
    await save(org.operator, mac, {"n": 1}, extends="base")
    assert (await save(org.operator, mac, {"n": 1}, extends=None))["effective"] == {"n": 1}
    back = (await org.operator.run(ROLLBACK, mac=mac, to=1))["rollbackConfig"]
    assert (back["extends"], back["effective"]) == ({"name": "base"}, {"ota": True, "n": 1})
    await save(org.operator, mac, {"n": 2}, extends=None)
    await org.operator.run("mutation ($id: ID!) { deleteConfigTemplate(id: $id) { id } }", id=template["id"])
    assert await org.operator.code(ROLLBACK, mac=mac, to=1) == "TEMPLATE_DELETED"


async def test_a_deleted_config_is_gone_until_it_is_restored(org: Organisation) -> None:
    mac = new_mac()
    saved = await save(org.operator, mac, {"n": 1})
    assert await org.operator.code(DELETE, mac=mac, expected=7) == "CONFLICT"
    assert (await org.operator.run(DELETE, mac=mac, expected=1))["deleteConfig"]["id"] == saved["id"]
    assert (await org.operator.run(CONFIG, mac=mac))["config"] is None
    for document in (DELETE, ROLLBACK):
        assert await org.operator.code(document, mac=mac, to=1) == "NOT_FOUND"
    node = await org.viewer.run(
        "query ($id: ID!) { node(id: $id) { ... on Config { deletedAt } } }", id=saved["id"]
    )
    assert node["node"]["deletedAt"]
    restored = (await org.operator.run(RESTORE, mac=mac))["restoreConfig"]
    assert (restored["version"], restored["revision"], restored["deletedAt"]) == (1, saved["revision"], None)
    assert await org.operator.code(RESTORE, mac=mac) == "NOT_DELETED"
    assert await org.operator.code(RESTORE, mac=new_mac()) == "NOT_FOUND"
    events = await logged(org.viewer, 3, subjectIds=[saved["id"]])
    assert [event["type"] for event in events] == ["config.saved", "config.deleted", "config.restored"]
    assert (events[1]["data"]["before"], events[1]["data"]["after"]) == (1, None)


async def test_saving_over_a_deleted_config_goes_on_counting(org: Organisation) -> None:
    mac = new_mac()
    saved = await save(org.operator, mac, {"n": 1})
    await org.operator.run(DELETE, mac=mac)
    assert await org.operator.code(SAVE, mac=mac, content={"n": 1}, expected=1) == "CONFLICT"
    again = await save(org.operator, mac, {"n": 1}, expected=0)
    assert (again["id"], again["version"]) == (saved["id"], 2)
    assert (await config(org.operator, mac))["deletedAt"] is None


@pytest.mark.parametrize("operation", [DELETE, RESTORE])
async def test_a_viewer_changes_nothing(org: Organisation, operation: str) -> None:
    mac = new_mac()
    await save(org.operator, mac, {})
    assert await org.viewer.code(operation, mac=mac) == "FORBIDDEN"
