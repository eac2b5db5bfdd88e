"""What people do with images: feature, delete, restore, tag, count a use; one and many."""

from typing import Any

import pytest

from tests.support.api import Organisation
from tests.support.images import image_of, link_to, settled
from tests.support.library import BULK, change, found, posted
from tests.support.log import logged
from tests.support.photos import photo

_UNKNOWN = "00000000-0000-7000-8000-000000000000"


async def _told(org: Organisation, image_id: str, *types: str) -> list[dict[str, Any]]:
    """The data of an image's events of these types, once there is one of each."""
    events = await logged(org.viewer, len(types), types=list(types), subjectIds=[image_id])
    return [event["data"] for event in events]


async def test_featuring_is_told_once_and_undone(org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    for _ in range(2):
        assert (await change(org.operator, "featureImage", image_id))["featured"] is True
    undo = "mutation ($id: ID!) { featureImage(id: $id, featured: false) { featured } }"
    assert (await org.operator.run(undo, id=image_id))["featureImage"] == {"featured": False}
    assert await _told(org, image_id, "image.featured", "image.unfeatured") == [
        {"before": {"featured": False}, "after": {"featured": True}},
        {"before": {"featured": True}, "after": {"featured": False}},
    ]


async def test_a_deleted_image_is_there_by_its_id_without_a_link(org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    link = await link_to(org.viewer, image_id, "DISPLAY")
    deleted = await change(org.operator, "deleteImage", image_id)
    assert deleted["deletedAt"] is not None
    for variant in ("ORIGINAL", "DISPLAY", "PREVIEW", "THUMBNAIL"):
        assert (await image_of(org.viewer, image_id, f"url(variant: {variant})"))["url"] is None
    assert (await org.viewer.http.get(link)).status_code == 200  # those that were given end by themselves
    assert (await change(org.operator, "deleteImage", image_id))["deletedAt"] == deleted["deletedAt"]
    restored = await change(org.operator, "restoreImage", image_id)
    assert (restored["deletedAt"], restored["url"]) == (None, link)
    assert await _told(org, image_id, "image.deleted", "image.restored") == [
        {"before": {"deleted": False}, "after": {"deleted": True}},
        {"before": {"deleted": True}, "after": {"deleted": False}},
    ]


async def test_what_is_deleted_is_not_changed_otherwise(org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    await change(org.operator, "deleteImage", image_id)
    for operation in ("featureImage", "recordImageUse"):
        code = await org.operator.code(f"mutation ($id: ID!) {{ {operation}(id: $id) {{ id }} }}", id=image_id)
        assert code == "IMAGE_DELETED"


async def test_a_photo_that_is_deleted_while_it_is_processed_becomes_ready_all_the_same(org: Organisation) -> None:
    image_id = (await (await org.device()).upload(photo())).json()["imageId"]
    await change(org.operator, "deleteImage", image_id)
    assert (await settled(org.viewer, image_id))["status"] == "READY"


async def test_uses_are_counted(org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    assert (await image_of(org.viewer, image_id, "uses lastUsedAt")) == {"uses": 0, "lastUsedAt": None}
    counts = [(await change(org.operator, "recordImageUse", image_id))["uses"] for _ in range(3)]
    assert counts == [1, 2, 3]
    assert (await image_of(org.viewer, image_id, "lastUsedAt"))["lastUsedAt"] is not None
    assert (await _told(org, image_id, "image.used", "image.used", "image.used"))[-1] == {"uses": 3}


async def test_many_at_once_have_a_result_each(org: Organisation, other_org: Organisation) -> None:
    one, two, gone = [await posted(org.operator, photo()) for _ in range(3)]
    theirs = await posted(other_org.operator, photo())
    await change(org.operator, "deleteImage", gone)
    await change(org.operator, "featureImage", two)
    ids = [two, theirs, one, gone, _UNKNOWN, "x", one]
    done = (await org.operator.run(BULK % "featureImages(ids: $ids)", ids=ids))["featureImages"]
    told = [(r["id"], r["ok"], r["changed"], (r["error"] or {}).get("code")) for r in done["results"]]
    assert told == [
        (two, True, False, None),
        (theirs, False, False, "NOT_FOUND"),
        (one, True, True, None),
        (gone, False, False, "IMAGE_DELETED"),
        (_UNKNOWN, False, False, "NOT_FOUND"),
        ("x", False, False, "BAD_USER_INPUT"),
    ]
    assert (done["changed"], done["failed"]) == (1, 4)


async def test_many_are_deleted_and_restored(org: Organisation) -> None:
    ids = [await posted(org.operator, photo()) for _ in range(3)]
    assert (await org.operator.run(BULK % "deleteImages(ids: $ids)", ids=ids[:2]))["deleteImages"]["changed"] == 2
    assert await found(org.viewer) == ids[2:]
    restored = (await org.operator.run(BULK % "restoreImages(ids: $ids)", ids=ids))["restoreImages"]
    assert (restored["changed"], restored["failed"]) == (2, 0)
    assert await found(org.viewer) == ids[::-1]


async def test_tags_are_added_and_taken_away(org: Organisation) -> None:
    image_id = await posted(org.operator, photo(), tags=["a", "b"])
    tag = BULK % 'tagImages(ids: $ids, add: ["C ", "a"], remove: ["B"])'
    for changed in (1, 0):
        assert (await org.operator.run(tag, ids=[image_id]))["tagImages"]["changed"] == changed
    assert (await image_of(org.viewer, image_id, "tags"))["tags"] == ["a", "c"]
    assert await _told(org, image_id, "image.tagged") == [
        {"before": {"tags": ["a", "b"]}, "after": {"tags": ["a", "c"]}}
    ]


async def test_an_image_has_32_tags_at_most(org: Organisation) -> None:
    image_id = await posted(org.operator, photo(), tags=[f"t{n:02}" for n in range(32)])
    more = BULK % 'tagImages(ids: $ids, add: ["one more"])'
    (result,) = (await org.operator.run(more, ids=[image_id]))["tagImages"]["results"]
    assert (result["ok"], result["error"]["code"]) == (False, "BAD_USER_INPUT")
    swapped = BULK % 'tagImages(ids: $ids, add: ["one more"], remove: ["t00"])'
    assert (await org.operator.run(swapped, ids=[image_id]))["tagImages"]["changed"] == 1


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ("", "add"),
        ('add: ["x"], remove: ["X"]', "add"),
        ('add: [""]', "add"),
        (f'remove: ["{"x" * 65}"]', "remove"),
    ],
)
async def test_tags_that_say_nothing_or_contradict_themselves_are_refused(
    org: Organisation, arguments: str, argument: str
) -> None:
    refused = await org.operator.refused(BULK % f"tagImages(ids: $ids, {arguments})", ids=[])
    assert refused["extensions"]["details"]["argument"] == argument


async def test_too_many_at_once_are_refused(org: Organisation) -> None:
    ids = [f"{number:08}-0000-7000-8000-000000000000" for number in range(1001)]
    assert await org.operator.code(BULK % "deleteImages(ids: $ids)", ids=ids) == "TOO_MANY_IMAGES"


async def test_a_viewer_changes_nothing(org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    for operation in ("featureImage", "deleteImage", "restoreImage", "recordImageUse"):
        assert await org.viewer.code(f"mutation ($id: ID!) {{ {operation}(id: $id) {{ id }} }}", id=image_id) == (
            "FORBIDDEN"
        )
