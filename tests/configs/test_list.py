"""Lists of configs: filters, orders, pages, search; and following their changes."""

from typing import Any

import pytest

from tests.configs.operations import DELETE, new_mac, save, save_template
from tests.support.api import Organisation
from tests.support.live import following
from tests.support.log import logged
from tests.support.stack import Stack

LIST = """query ($filter: ConfigFilter, $order: ConfigOrder! = MAC_ASC, $first: Int! = 20, $after: String) {
  configs(filter: $filter, order: $order, first: $first, after: $after) {
    totalCount pageInfo { hasNextPage endCursor } nodes { id mac deviceName deviceEntityId enableOTA } } }"""
FOLLOW = """subscription ($ids: [ID!]) {
  configUpdates(ids: $ids) { type cursor config { id version } event { type } } }"""


async def listed(org: Organisation, **variables: Any) -> list[str]:
    """The names of the configs of a list, and None for those without one."""
    page = (await org.viewer.run(LIST, **variables))["configs"]
    assert page["totalCount"] >= len(page["nodes"])
    return [node["deviceName"] for node in page["nodes"]]


@pytest.fixture
async def shelf(org: Organisation) -> Organisation:
    template = await save_template(org.operator, "base", {"enableOTA": True})
    assert template
    contents: list[tuple[str, Any, dict[str, Any]]] = [
        ("00-00-00-00-00-03", {"deviceName": "fridge", "deviceEntityId": "camera.top_shelf"}, {"extends": "base"}),
        ("00-00-00-00-00-01", {"deviceName": "Freezer", "enableOTA": False}, {}),
        ("00-00-00-00-00-02", {"deviceName": "attic"}, {}),
        ("00-00-00-00-00-04", {}, {}),
    ]
    for mac, content, arguments in contents:
        await save(org.operator, mac, content, **arguments)
    return org


@pytest.mark.parametrize(
    ("order", "names"),
    [
        ("MAC_ASC", ["Freezer", "attic", "fridge", None]),
        ("MAC_DESC", [None, "fridge", "attic", "Freezer"]),
        ("DEVICE_NAME_ASC", [None, "attic", "Freezer", "fridge"]),
        ("DEVICE_NAME_DESC", ["fridge", "Freezer", "attic", None]),
        ("UPDATED_AT_ASC", ["fridge", "Freezer", "attic", None]),
        ("UPDATED_AT_DESC", [None, "attic", "Freezer", "fridge"]),
    ],
)
async def test_every_order_is_the_same_in_one_page_and_in_many(
    shelf: Organisation, order: str, names: list[str | None]
) -> None:
    assert await listed(shelf, order=order) == names
    found: list[str | None] = []
    after = None
    for _ in names:
        page = (await shelf.viewer.run(LIST, order=order, first=1, after=after))["configs"]
        found += [node["deviceName"] for node in page["nodes"]]
        after = page["pageInfo"]["endCursor"]
    assert found == names
    assert page["pageInfo"]["hasNextPage"] is False


@pytest.mark.parametrize(
    ("filter", "names"),
    [
        ({"macs": ["00:00:00:00:00:02", "00-00-00-00-00-09"]}, ["attic"]),
        ({"macs": []}, []),
        ({"deviceName": "FREEZER"}, ["Freezer"]),
        ({"deviceName": "free"}, []),
        ({"enableOTA": True}, ["fridge"]),
        ({"enableOTA": False}, ["Freezer"]),
        ({"search": "fr"}, ["Freezer", "fridge"]),
        ({"search": "shelf"}, ["fridge"]),
        ({"search": "00-00-00-00-00-04"}, [None]),
        ({"deleted": True}, []),
        ({"deleted": False}, ["Freezer", "attic", "fridge", None]),
        ({"search": "fr", "enableOTA": True}, ["fridge"]),
    ],
)
async def test_filters(shelf: Organisation, filter: Any, names: list[str | None]) -> None:
    assert await listed(shelf, filter=filter) == names


async def test_by_template_and_deleted(shelf: Organisation) -> None:
    found = await shelf.viewer.run("{ configTemplates { totalCount nodes { id name } } }")
    (template,) = found["configTemplates"]["nodes"]
    assert await listed(shelf, filter={"templateId": template["id"]}) == ["fridge"]
    await shelf.operator.run(DELETE, mac="00-00-00-00-00-02")
    assert await listed(shelf) == ["Freezer", "fridge", None]
    assert await listed(shelf, filter={"deleted": True}) == ["attic"]


async def test_a_search_for_nothing_and_a_strange_cursor_are_refused(shelf: Organisation) -> None:
    assert await shelf.viewer.code(LIST, filter={"search": "?!"}) == "BAD_USER_INPUT"
    cursor = (await shelf.viewer.run(LIST, first=1))["configs"]["pageInfo"]["endCursor"]
    assert await shelf.viewer.code(LIST, order="DEVICE_NAME_ASC", after=cursor) == "BAD_USER_INPUT"
    assert await shelf.viewer.code(LIST, first=101) == "BAD_USER_INPUT"


@pytest.mark.parametrize("transport", ["ws", "sse"])
async def test_changes_are_followed_live(stack: Stack, org: Organisation, transport: str) -> None:
    mac = new_mac()
    config = await save(org.operator, mac, {"n": 1})
    await logged(org.viewer, subjectIds=[config["id"]])  # it is history, and not followed
    async with following(transport, stack.url, org.viewer, FOLLOW, ids=[config["id"]]) as next_update:
        await save(org.operator, new_mac(), {})
        await save(org.operator, mac, {"n": 2})
        update = (await next_update())["configUpdates"]
        assert (update["type"], update["config"]) == ("config.saved", {"id": config["id"], "version": 2})
        await org.operator.run(DELETE, mac=mac)
        assert (await next_update())["configUpdates"]["event"] == {"type": "config.deleted"}
