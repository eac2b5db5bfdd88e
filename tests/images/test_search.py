"""Finding images: by every filter of the list, alone and together."""

from typing import Any

import pytest

from tests.support.api import Organisation
from tests.support.images import settled
from tests.support.library import BULK, change, found, posted
from tests.support.photos import photo


async def _three(org: Organisation) -> list[str]:
    """An apple, a pear and a photo of which nothing is said."""
    apple = await posted(org.operator, photo(), prompt="A red apple on the table", tags=["fruit", "still-life"])
    pear = await posted(org.operator, photo(), prompt="Two green pears", tags=["fruit", "red bowl"])
    plain = await posted(org.operator, photo())
    return [apple, pear, plain]


@pytest.mark.parametrize(
    ("search", "expected"),
    [
        ("apple", [0]),
        ("APPLE table", [0]),
        ("apple pear", []),
        ("apple or pears", [1, 0]),
        ("fruit -apple", [1]),
        ('"green pears"', [1]),
        ('"pears green"', []),
        ("red", [1, 0]),
        ("still-life", [0]),
        ("life", [0]),
        ("red/apple", [0]),
        ("appl", []),
        ("it's & | ! ( apple", []),
    ],
)
async def test_words_of_prompts_and_tags(org: Organisation, search: str, expected: list[int]) -> None:
    ids = await _three(org)
    assert await found(org.viewer, search=search) == [ids[at] for at in expected]


async def test_a_search_stays_within_the_client(org: Organisation, other_org: Organisation) -> None:
    (apple, *_), (theirs, *_) = await _three(org), await _three(other_org)
    assert await found(org.viewer, search="apple") == [apple]
    assert await found(org.admin, search="apple", clientId=other_org.id) == [theirs]
    everywhere = await found(org.admin, search="apple table")
    assert everywhere.index(theirs) < everywhere.index(apple)
    assert await found(org.viewer, search=f"client:{org.id}") == []


@pytest.mark.parametrize("search", ["", "  ", "-", '""', "&|!", "\u0000", "x" * 501])
async def test_a_search_for_nothing_is_refused(org: Organisation, search: str) -> None:
    query = "query ($filter: ImageFilter) { images(filter: $filter) { totalCount } }"
    refused = await org.viewer.refused(query, filter={"search": search})
    assert refused["extensions"]["code"] == "BAD_USER_INPUT"
    assert refused["extensions"]["details"]["argument"] == "filter.search"


async def test_tags_are_whole_and_all_of_them_hold(org: Organisation) -> None:
    apple, pear, _ = await _three(org)
    assert await found(org.viewer, tags=["FRUIT"]) == [pear, apple]
    assert await found(org.viewer, tags=["fruit", "Red Bowl"]) == [pear]
    assert await found(org.viewer, tags=["red"]) == []
    assert await found(org.viewer, tags=["o'neill \\ 'x"]) == []
    assert await found(org.viewer, tags=["fruit"], search="apple") == [apple]


async def test_by_source_featured_and_time_together(org: Organisation) -> None:
    device = await org.device()
    taken = (await device.upload(photo())).json()["imageId"]
    old = await posted(org.operator, photo(), capturedAt="2020-01-02T00:00:00Z")
    new = await posted(org.operator, photo())
    await change(org.operator, "featureImage", old)
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"sources": ["DEVICE"]}, [taken]),
        ({"sources": ["UPLOAD"]}, [new, old]),
        ({"sources": ["UPLOAD", "DEVICE", "CAMERA"]}, [new, old, taken]),
        ({"sources": ["GENERATED", "IMPORTED"]}, []),
        ({"sources": []}, []),
        ({"featured": True}, [old]),
        ({"featured": False}, [new, taken]),
        ({"capturedUntil": "2021-01-01T00:00:00Z"}, [old]),
        ({"deviceId": device.id, "sources": ["UPLOAD"]}, []),
        ({"unchanged": False}, [new, old, taken]),
        ({"unchanged": True}, []),
    ]
    for filter, expected in cases:
        assert await found(org.viewer, **filter) == expected, filter


async def test_deleted_images_are_listed_when_asked_for(org: Organisation) -> None:
    device = await org.device()
    gone = (await device.upload(photo())).json()["imageId"]
    there = (await device.upload(photo())).json()["imageId"]
    await change(org.operator, "deleteImage", gone)
    for deleted, expected in (
        (None, [there]),
        ("EXCLUDED", [there]),
        ("INCLUDED", [there, gone]),
        ("ONLY", [gone]),
    ):
        assert await found(org.viewer, deleted=deleted) == expected
        query = """query ($id: ID!, $filter: ImageFilter) { device(id: $id) {
          images(filter: $filter) { nodes { id } totalCount } } }"""
        data = await org.viewer.run(query, id=device.id, filter={"deleted": deleted})
        page = data["device"]["images"]
        assert page == {"nodes": [{"id": one} for one in expected], "totalCount": len(expected)}


async def test_images_that_look_alike(org: Organisation, other_org: Organisation) -> None:
    image = photo(5, size=(640, 480))
    original = await posted(org.operator, image)
    smaller = await posted(org.operator, photo(5, size=(320, 240), quality=60))
    other = await posted(org.operator, photo(6))
    theirs = await posted(other_org.operator, image)
    for api, one in (
        (org.viewer, original),
        (org.viewer, smaller),
        (org.viewer, other),
        (other_org.viewer, theirs),
    ):
        await settled(api, one)
    assert await found(org.viewer, similarTo={"imageId": original}) == [smaller]
    assert await found(org.viewer, similarTo={"imageId": smaller, "distance": 16}) == [original]
    assert await found(org.viewer, similarTo={"imageId": other, "distance": 0}) == []
    assert await found(org.viewer, similarTo={"imageId": theirs}) == []
    assert await found(org.admin, similarTo={"imageId": theirs, "distance": 16}) == []
    query = "query ($filter: ImageFilter) { images(filter: $filter) { totalCount } }"
    refused = await org.viewer.refused(query, filter={"similarTo": {"imageId": original, "distance": 17}})
    assert refused["extensions"]["details"]["argument"] == "filter.similarTo.distance"


async def test_what_was_tagged_later_is_found_and_what_lost_its_tag_is_not(org: Organisation) -> None:
    apple, pear, plain = await _three(org)
    tag = BULK % 'tagImages(ids: $ids, add: ["shelf 3"], remove: ["fruit"])'
    await org.operator.run(tag, ids=[apple, plain])
    assert await found(org.viewer, tags=["shelf 3"]) == [plain, apple]
    assert await found(org.viewer, search="shelf") == [plain, apple]
    assert await found(org.viewer, tags=["fruit"]) == [pear]


async def test_pages_of_a_search_are_walked_by_their_cursors(org: Organisation) -> None:
    ids = [await posted(org.operator, photo(), prompt=f"apple {n}") for n in range(5)]
    query = """query ($after: String, $order: ImageOrder!) {
      images(filter: {search: "apple"}, order: $order, first: 2, after: $after) {
        nodes { id } pageInfo { hasNextPage endCursor } } }"""
    for order, expected in (("RECEIVED_AT_ASC", ids), ("CAPTURED_AT_DESC", ids[::-1])):
        walked, after = list[str](), None
        while True:
            page = (await org.viewer.run(query, after=after, order=order))["images"]
            walked += [node["id"] for node in page["nodes"]]
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        assert walked == expected
