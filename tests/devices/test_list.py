"""The list of devices: its filters, and its orders walked page by page."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.devices.operations import DEREGISTER, DEVICES, REGISTER, UPDATE, device_now, keys
from tests.support.api import Api, Organisation

_NAMES = [
    "Shelf",
    "shelf",
    "SHELF",
    "Étagère",
    "étagère",
    "ΟΔΟΣ",
    "οδος",
    "İncir",
    "Straße",
    "zebra",
    "Apple",
    "b-2",
]
_FIELDS = ["KEY", "NAME", "CREATED_AT", "LAST_SEEN_AT"]


async def _nothing() -> None:
    pass


async def _walk(
    api: Api, between: Callable[[], Awaitable[object]] = _nothing, first: int = 3, **variables: Any
) -> list[str]:
    """The keys of every page, one page after the other."""
    found: list[str] = []
    after = None
    while True:
        page = (await api.run(DEVICES, first=first, after=after, **variables))["devices"]
        found += [node["key"] for node in page["nodes"]]
        assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
        if not page["pageInfo"]["hasNextPage"]:
            return found
        after = page["pageInfo"]["endCursor"]
        assert len(found) < 100
        await between()


async def _fleet(org: Organisation) -> list[str]:
    """Devices whose names tie, whose keys and names sort differently, and some of which were seen."""
    made = [await org.device(f"cam-{number * 5 % 12:02}", name=name) for number, name in enumerate(_NAMES)]
    for device in (made[7], made[2], made[9], made[4]):
        await device.heartbeat()
    return [device.key for device in made]


@pytest.mark.parametrize("field", _FIELDS)
async def test_every_order_walks_both_ways_without_a_repeat_or_a_gap(org: Organisation, field: str) -> None:
    fleet = await _fleet(org)
    whole = await keys(org.viewer, order=f"{field}_ASC", first=100)
    assert sorted(whole) == sorted(fleet)
    for first in (1, 3, 4, 12):
        assert await _walk(org.viewer, first=first, order=f"{field}_ASC") == whole
        assert await _walk(org.viewer, first=first, order=f"{field}_DESC") == whole[::-1]


async def test_every_order_sorts_by_what_it_says(org: Organisation) -> None:
    fleet = await _fleet(org)
    assert await keys(org.viewer, order="KEY_ASC", first=100) == sorted(fleet)
    assert await keys(org.viewer, order="CREATED_AT_ASC", first=100) == fleet
    seen = [fleet[number] for number in (7, 2, 9, 4)]
    assert (await keys(org.viewer, order="LAST_SEEN_AT_ASC", first=100))[-4:] == seen
    assert (await keys(org.viewer, order="LAST_SEEN_AT_DESC", first=100))[:4] == seen[::-1]
    by_name = [_NAMES[fleet.index(key)].lower() for key in await keys(org.viewer, order="NAME_ASC", first=100)]
    plain = [name for name in by_name if name.isascii()]
    assert plain == ["apple", "b-2", "shelf", "shelf", "shelf", "zebra"]


@pytest.mark.parametrize("order", [f"{field}_{way}" for field in _FIELDS for way in ("ASC", "DESC")])
async def test_what_was_there_is_met_once_while_devices_come_and_go(org: Organisation, order: str) -> None:
    fleet = await _fleet(org)
    numbers = iter(range(100))
    gone = await org.device("zz-goes", name="zz goes")

    async def change() -> None:
        number = next(numbers)
        for key, name in ((f"aa-{number}", f"Aa {number}"), (f"zy-{number}", f"Zy {number}")):
            await org.operator.run(REGISTER, device={"key": key, "name": name})
        if number == 0:
            await org.operator.run(DEREGISTER, id=gone.id)

    # So many each time that a walk in an order that meets the new ones still ends.
    walked = await _walk(org.viewer, between=change, first=5, order=order)
    assert len(walked) == len(set(walked))
    assert sorted(set(walked) & set(fleet)) == sorted(fleet)


async def test_cursors_of_edges_and_pages_are_the_same_and_lead_on(org: Organisation) -> None:
    for key in ("a", "b", "c"):
        await org.device(key)
    page = (await org.viewer.run(DEVICES))["devices"]
    cursors = [edge["cursor"] for edge in page["edges"]]
    assert [edge["node"] for edge in page["edges"]] == page["nodes"]
    assert page["pageInfo"] == {
        "hasNextPage": False,
        "hasPreviousPage": False,
        "startCursor": cursors[0],
        "endCursor": cursors[2],
    }
    assert await keys(org.viewer, after=cursors[0]) == ["b", "c"]
    end = (await org.viewer.run(DEVICES, after=cursors[2]))["devices"]
    assert (end["nodes"], end["pageInfo"]["endCursor"], end["totalCount"]) == ([], None, 3)


@pytest.mark.parametrize("first", [0, -1, 101])
async def test_a_page_has_1_to_100_devices(org: Organisation, first: int) -> None:
    error = await org.viewer.refused(DEVICES, first=first)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": "first", "given": first}


@pytest.mark.parametrize("cursor", ["", "x", "é", "bnVsbA", "WzEsMiwzXQ", "WyJLRVlfQVNDIiwieCIsIngiXQ", "=" * 50])
async def test_what_is_no_cursor_is_refused(org: Organisation, cursor: str) -> None:
    error = await org.viewer.refused(DEVICES, after=cursor)
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": "after"}


async def test_a_cursor_of_another_order_is_refused(org: Organisation) -> None:
    await org.device()
    cursor = (await org.viewer.run(DEVICES, order="NAME_ASC"))["devices"]["pageInfo"]["endCursor"]
    assert await org.viewer.code(DEVICES, order="NAME_DESC", after=cursor) == "BAD_USER_INPUT"


async def test_the_total_counts_the_whole_filtered_list(org: Organisation, other_org: Organisation) -> None:
    devices = [await org.device() for _ in range(5)]
    await other_org.device()
    await org.operator.run(UPDATE, id=devices[0].id, changes={"enabled": False})
    assert (await org.viewer.run(DEVICES, first=2))["devices"]["totalCount"] == 5
    assert (await org.viewer.run(DEVICES, first=2, filter={"enabled": True}))["devices"]["totalCount"] == 4
    await org.operator.run(DEREGISTER, id=devices[1].id)
    assert (await org.viewer.run(DEVICES, first=2))["devices"]["totalCount"] == 4


async def test_filters_by_key_and_by_whether_enabled(org: Organisation) -> None:
    devices = [await org.device(key) for key in ("a", "b", "c")]
    await org.operator.run(UPDATE, id=devices[1].id, changes={"enabled": False})
    assert await keys(org.viewer, filter={"keys": ["c", "a", "nobody"]}) == ["a", "c"]
    assert await keys(org.viewer, filter={"keys": []}) == []
    assert await keys(org.viewer, filter={"enabled": False}) == ["b"]
    assert await keys(org.viewer, filter={"enabled": True}) == ["a", "c"]
    assert await keys(org.viewer, filter={"keys": ["a", "b"], "enabled": True}) == ["a"]
    assert await keys(org.viewer, filter={"keys": None, "enabled": None}) == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("pantry", ["pantry-cam-001", "x1"]),
        ("PAN", ["pantry-cam-001", "x1"]),
        ("antry", []),
        ("pan 001", ["pantry-cam-001"]),
        ("cam-001", ["pantry-cam-001"]),
        ("pantry-cam-001", ["pantry-cam-001"]),
        ("00", ["pantry-cam-001"]),
        ("top sh", ["x1"]),
        ("fridge 2", ["x2"]),
        ("Fridge-2", ["x2"]),
        ("left", ["x2"]),
        ("kü", ["x2"]),
        ("pantry fridge", []),
        ("a' | 'b & !c:* <-> (", []),
        ("esp32_b", ["esp32_b.7"]),
        ("7", ["esp32_b.7"]),
    ],
)
async def test_search_finds_beginnings_of_words_in_keys_and_names(
    org: Organisation, words: str, found: list[str]
) -> None:
    await org.device("pantry-cam-001")
    await org.device("x1", name="Top shelf of the pantry")
    await org.device("x2", name="Fridge-2 (Küche/left)")
    await org.device("esp32_b.7", name="Spare")
    assert sorted(await keys(org.viewer, filter={"search": words})) == sorted(found)


@pytest.mark.parametrize("words", ["", "   ", "-- & |", "\0"])
async def test_a_search_for_no_word_is_refused(org: Organisation, words: str) -> None:
    error = await org.viewer.refused(DEVICES, filter={"search": words})
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert error["extensions"]["details"] == {"argument": "search"}


async def test_filters_by_when_devices_were_seen(org: Organisation) -> None:
    early, late, _ = [await org.device(key) for key in ("early", "late", "never")]
    await early.heartbeat()
    await late.heartbeat()
    moment = (await device_now(org.viewer, late.id))["lastSeenAt"]
    assert await keys(org.viewer, filter={"seenSince": moment}) == ["late"]
    assert await keys(org.viewer, filter={"notSeenSince": moment}) == ["early", "never"]
    long_ago = (datetime.now(UTC) - timedelta(days=1)).isoformat()
    assert await keys(org.viewer, filter={"seenSince": long_ago}) == ["early", "late"]
    assert await keys(org.viewer, filter={"notSeenSince": long_ago}) == ["never"]
    assert await keys(org.viewer, filter={"seenSince": long_ago, "notSeenSince": moment}) == ["early"]


async def test_a_client_sees_its_own_devices_only_and_an_admin_chooses(
    org: Organisation, other_org: Organisation
) -> None:
    await org.device("own")
    await other_org.device("others")
    assert await keys(org.viewer) == ["own"]
    assert await keys(org.viewer, filter={"clientId": org.id}) == ["own"]
    assert await keys(org.viewer, filter={"clientId": other_org.id}) == []
    assert await keys(org.admin, filter={"clientId": other_org.id}) == ["others"]
    everywhere = await keys(org.admin, order="CREATED_AT_DESC", first=2)
    assert everywhere == ["others", "own"]


async def test_a_list_is_for_those_who_may_read(org: Organisation) -> None:
    device = await org.device()
    assert await org.viewer.with_token(device.token).code(DEVICES) == "FORBIDDEN"
    assert await org.viewer.with_token(None).code(DEVICES) == "UNAUTHENTICATED"
