"""The same photo again: by its bytes, by its key, and at the same moment."""

import asyncio
from collections import Counter

import pytest

from tests.devices.operations import device_now
from tests.support.api import Organisation
from tests.support.images import originals, settled, unfinished
from tests.support.log import logged
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.stack import Stack, wait_until

_COUNT = "query ($device: ID!) { images(filter: {deviceId: $device}) { totalCount } }"


async def _count(org: Organisation, device_id: str) -> int:
    return int((await org.viewer.run(_COUNT, device=device_id))["images"]["totalCount"])


def _kept(stack: Stack, image: bytes) -> int:
    """How many originals there are of these bytes."""
    return sum("originals" in path.parts for path in originals(stack.data_dir, image))


async def test_the_same_bytes_again_are_answered_with_the_first_ones_id(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    first = await device.upload(image)
    again = await device.upload(image, headers={"X-RSSI": "-33"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    assert _kept(stack, image) == await _count(org, device.id) == 1
    now = await device_now(org.viewer, device.id)
    assert (now["totalCaptures"], now["rssi"]) == (1, -33)
    await settled(org.viewer, first.json()["imageId"])
    events = await logged(org.viewer, 4, subjectIds=[device.id, first.json()["imageId"]])
    assert Counter(event["type"] for event in events)["image.received"] == 1


async def test_the_same_bytes_from_another_device_are_another_image(org: Organisation, stack: Stack) -> None:
    image = photo()
    answers = [await (await org.device()).upload(image) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert _kept(stack, image) == 2


async def test_a_key_again_with_the_same_bytes_is_a_repeat(stack: Stack, org: Organisation) -> None:
    device, image, key = await org.device(), photo(), {"Idempotency-Key": "wake-1"}
    first, again = await device.upload(image, headers=key), await device.upload(image, headers=key)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    assert _kept(stack, image) == 1


async def test_a_key_again_with_other_bytes_is_a_conflict(stack: Stack, org: Organisation) -> None:
    device, other, key = await org.device(), photo(), {"Idempotency-Key": "wake-1"}
    await device.upload(photo(), headers=key)
    problem(await device.upload(other, headers=key), 409, "IDEMPOTENCY_KEY_REUSED")
    assert (_kept(stack, other), await _count(org, device.id)) == (0, 1)
    assert (await device_now(org.viewer, device.id))["failedUploads"] == 0


async def test_a_key_stays_used_even_for_bytes_that_came_without_one(org: Organisation) -> None:
    device, early, key = await org.device(), photo(), {"Idempotency-Key": "wake-1"}
    await device.upload(early)
    await device.upload(photo(), headers=key)
    problem(await device.upload(early, headers=key), 409, "IDEMPOTENCY_KEY_REUSED")


async def test_the_same_bytes_under_another_key_are_a_new_image(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    answers = [await device.upload(image, headers={"Idempotency-Key": f"wake-{n}"}) for n in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert answers[0].json()["imageId"] != answers[1].json()["imageId"]
    assert _kept(stack, image) == await _count(org, device.id) == 2


async def test_the_same_bytes_once_with_and_once_without_a_key_are_a_repeat(org: Organisation) -> None:
    key = {"Idempotency-Key": "wake-1"}
    for first_headers, then_headers in ((key, {}), ({}, key)):
        device, image = await org.device(), photo()
        first = await device.upload(image, headers=first_headers)
        again = await device.upload(image, headers=then_headers)
        assert again.json() == {**first.json(), "duplicate": True}


async def test_a_key_is_a_devices_own(org: Organisation) -> None:
    key = {"Idempotency-Key": "wake-1"}
    answers = [await (await org.device()).upload(photo(), headers=key) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [201, 201]


@pytest.mark.parametrize("key", ["", "k" * 256, "a\tb"])
async def test_an_unusable_key_is_refused(stack: Stack, org: Organisation, key: str) -> None:
    device, image = await org.device(), photo()
    problem(await device.upload(image, headers={"Idempotency-Key": key}), 422, "BAD_IDEMPOTENCY_KEY")
    assert _kept(stack, image) == 0


@pytest.mark.parametrize("headers", [{}, {"Idempotency-Key": "wake-1"}])
async def test_equal_uploads_at_the_same_moment_make_one_image(
    stack: Stack, org: Organisation, headers: dict[str, str]
) -> None:
    device, image = await org.device(), photo()
    answers = await asyncio.gather(*(device.upload(image, headers=headers) for _ in range(8)))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 200: 7}
    assert len({answer.json()["imageId"] for answer in answers}) == 1
    assert _kept(stack, image) == await _count(org, device.id) == 1
    assert (await device_now(org.viewer, device.id))["totalCaptures"] == 1


async def test_different_bytes_under_one_key_at_the_same_moment_make_one_image(
    stack: Stack, org: Organisation
) -> None:
    device, key = await org.device(), {"Idempotency-Key": "wake-1"}
    images = [photo() for _ in range(6)]
    answers = await asyncio.gather(*(device.upload(image, headers=key) for image in images))
    assert Counter(answer.status_code for answer in answers) == {201: 1, 409: 5}
    assert sum(_kept(stack, image) for image in images) == 1


async def test_a_repeat_leaves_nothing_on_its_way_into_the_store(stack: Stack, org: Organisation) -> None:
    device, image = await org.device(), photo()
    first = await device.upload(image)
    await settled(org.viewer, first.json()["imageId"])
    for _ in range(3):
        await device.upload(image)
    assert _kept(stack, image) == 1
    # Files of a health check may pass through: what matters is that none stays.
    lingering = unfinished(stack.data_dir)
    wait_until(lambda: not lingering & unfinished(stack.data_dir), what="an empty folder of incoming blobs")
