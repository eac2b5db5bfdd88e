"""Unchanged scenes: which photos of a device show what the one before showed, and since when."""

import asyncio

from tests.support.api import Organisation, TestDevice
from tests.support.images import settled
from tests.support.library import change, found, posted
from tests.support.log import logged
from tests.support.photos import photo

_SET = "mutation ($changes: ImageSettingsChanges!) { updateImageSettings(changes: $changes) { unchangedDistance } }"


def _scene(number: int, quality: int) -> bytes:
    """A photo of a scene; another quality is another file of the same scene."""
    return photo(1_000 + number, quality=quality)


async def _taken(org: Organisation, device: TestDevice, *scenes: tuple[int, int]) -> list[str]:
    """The ids of photos that were taken one after the other, each looked at before the next."""
    ids = []
    for number, quality in scenes:
        ids.append((await device.upload(_scene(number, quality))).json()["imageId"])
        await settled(org.viewer, ids[-1])
    return ids


async def _begun(org: Organisation, ids: list[str]) -> list[int | None]:
    """For each photo the one at which its scene began, None where it is that one itself."""
    images = [await settled(org.viewer, one, "capturedAt unchangedSince") for one in ids]
    taken = [image["capturedAt"] for image in images]
    return [image["unchangedSince"] and taken.index(image["unchangedSince"]) for image in images]


async def test_a_run_names_its_beginning_and_a_change_ends_it(org: Organisation) -> None:
    ids = await _taken(org, await org.device(), (1, 90), (1, 80), (1, 70), (2, 90), (2, 80), (1, 60))
    assert await _begun(org, ids) == [None, 0, 0, None, 3, None]
    assert await found(org.viewer, unchanged=True) == [ids[4], ids[2], ids[1]]
    assert await found(org.viewer, unchanged=False) == [ids[5], ids[3], ids[0]]
    (ready,) = await logged(org.viewer, types=["image.ready"], subjectIds=[ids[2]])
    assert ready["data"]["unchangedSince"] is not None


async def test_scenes_are_a_devices_own(org: Organisation) -> None:
    first = await _taken(org, await org.device(), (3, 90))
    second = await _taken(org, await org.device(), (3, 90), (3, 80))
    people = [await posted(org.operator, _scene(3, quality)) for quality in (50, 40)]
    assert await _begun(org, first + second + people) == [None, None, 1, None, None]


async def test_how_alike_is_the_clients_to_say(org: Organisation) -> None:
    device = await org.device()
    await org.operator.run(_SET, changes={"unchangedDistance": 0})
    ids = await _taken(org, device, (4, 90), (5, 90))
    assert await _begun(org, ids) == [None, None]


async def test_a_deleted_photo_is_not_what_the_next_is_compared_with(org: Organisation) -> None:
    device = await org.device()
    first, second = await _taken(org, device, (6, 90), (7, 90))
    await change(org.operator, "deleteImage", second)
    (third,) = await _taken(org, device, (6, 80))
    assert await _begun(org, [first, third]) == [None, 0]


async def test_photos_that_are_ready_in_any_order_are_told_alike(org: Organisation) -> None:
    device = await org.device()
    scenes = [(8, 90), (8, 80), (9, 90), (9, 80), (9, 70), (8, 70), (8, 60), (8, 50)]
    ids = [(await device.upload(_scene(*scene))).json()["imageId"] for scene in scenes]
    await asyncio.gather(*(settled(org.viewer, one) for one in ids))
    assert await _begun(org, ids) == [None, 0, None, 2, 2, None, 5, 5]
