"""The images under devices: a page for each of many devices at once."""

from typing import Any

from tests.support.api import Organisation, TestDevice
from tests.support.images import settled
from tests.support.photos import photo
from tests.support.problems import problem

_IMAGES = """query (
  $filter: ImageFilter, $order: ImageOrder! = RECEIVED_AT_DESC, $first: Int! = 20, $after: String
) {
  devices(order: KEY_ASC, first: 4) { nodes { key
    images(filter: $filter, order: $order, first: $first, after: $after) {
      nodes { id } totalCount pageInfo { hasNextPage hasPreviousPage endCursor }
    }
  } }
}"""


async def _fleet(org: Organisation, *counts: int) -> dict[str, list[str]]:
    """Devices with so many images, and the ids of these, oldest first, by the devices' keys."""
    devices = [await org.device(f"cam-{number}") for number in range(len(counts))]
    sent: dict[str, list[str]] = {device.key: [] for device in devices}
    for turn in range(max(counts)):  # in turns, so that no device's images lie together
        for device, count in zip(devices, counts, strict=True):
            if turn < count:
                sent[device.key].append(await _send(device))
    return sent


async def _send(device: TestDevice, **headers: str) -> str:
    answer = await device.upload(photo(size=(32, 24)), headers={k.replace("_", "-"): v for k, v in headers.items()})
    assert answer.status_code == 201
    return str(answer.json()["imageId"])


async def _pages(org: Organisation, **variables: Any) -> dict[str, dict[str, Any]]:
    devices = (await org.viewer.run(_IMAGES, **variables))["devices"]["nodes"]
    return {device["key"]: device["images"] for device in devices}


def _ids(page: dict[str, Any]) -> list[str]:
    return [node["id"] for node in page["nodes"]]


async def test_each_device_gets_its_own_page(org: Organisation, other_org: Organisation) -> None:
    sent = await _fleet(org, 3, 0, 1, 2)
    await _fleet(other_org, 2)
    pages = await _pages(org)
    assert {key: _ids(page) for key, page in pages.items()} == {key: ids[::-1] for key, ids in sent.items()}
    assert [page["totalCount"] for page in pages.values()] == [3, 0, 1, 2]
    oldest = await _pages(org, order="RECEIVED_AT_ASC", first=1)
    assert {key: _ids(page) for key, page in oldest.items()} == {key: ids[:1] for key, ids in sent.items()}
    assert [page["pageInfo"]["hasNextPage"] for page in oldest.values()] == [True, False, False, True]
    assert [page["totalCount"] for page in oldest.values()] == [3, 0, 1, 2]


async def test_the_pages_of_one_device_are_walked_by_its_cursors(org: Organisation) -> None:
    sent = (await _fleet(org, 5, 2))["cam-0"]
    for order, expected in (("RECEIVED_AT_ASC", sent), ("CAPTURED_AT_DESC", sent[::-1])):
        walked: list[str] = []
        after = None
        while True:
            page = (await _pages(org, order=order, first=2, after=after))["cam-0"]
            walked += _ids(page)
            assert page["pageInfo"]["hasPreviousPage"] is (after is not None)
            assert page["totalCount"] == 5
            if not page["pageInfo"]["hasNextPage"]:
                break
            after = page["pageInfo"]["endCursor"]
        assert walked == expected


async def test_images_are_sorted_by_when_they_were_taken_too(org: Organisation) -> None:
    device = await org.device("cam-0")
    stamps = ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]  # not believed: the server's time counts
    sent = [await _send(device, X_Captured_At=stamp) for stamp in stamps]
    pages = await _pages(org, order="CAPTURED_AT_ASC")
    assert _ids(pages["cam-0"]) == sent


async def test_a_filter_holds_under_every_device_and_in_the_counts(org: Organisation) -> None:
    devices = [await org.device(f"cam-{number}") for number in range(2)]
    rejected = await devices[0].upload(b"\xff\xd8\xff\xd9")
    good = [await _send(device) for device in (devices[0], devices[0], devices[1])]
    for image_id in [rejected.json()["imageId"], *good]:
        await settled(org.viewer, image_id)
    pages = await _pages(org, filter={"statuses": ["REJECTED"]})
    assert _ids(pages["cam-0"]) == [rejected.json()["imageId"]]
    assert [page["totalCount"] for page in pages.values()] == [1, 0]
    pages = await _pages(org, filter={"statuses": ["READY", "REJECTED"]}, first=1)
    assert [(len(page["nodes"]), page["totalCount"]) for page in pages.values()] == [(1, 3), (1, 1)]
    pages = await _pages(org, filter={"deviceId": devices[1].id})
    assert [page["totalCount"] for page in pages.values()] == [0, 1]


async def test_two_filters_side_by_side_do_not_mix(org: Organisation) -> None:
    await _fleet(org, 2, 1)
    data = await org.viewer.run(
        "{ devices { nodes { all: images { totalCount } none: images(filter: {statuses: []}) { totalCount } "
        "one: images(first: 1) { nodes { id } } } } }"
    )
    nodes = data["devices"]["nodes"]
    assert [(node["all"]["totalCount"], node["none"]["totalCount"]) for node in nodes] == [(2, 0), (1, 0)]
    assert [len(node["one"]["nodes"]) for node in nodes] == [1, 1]


async def test_a_page_size_out_of_range_is_refused(org: Organisation) -> None:
    device = await org.device()
    problem(await device.upload(b""), 422, "NOT_AN_IMAGE")
    assert await org.viewer.code(_IMAGES, first=101) == "BAD_USER_INPUT"
    assert await org.viewer.code(_IMAGES, after="x") == "BAD_USER_INPUT"


async def test_a_device_that_is_met_twice_has_its_images_once(org: Organisation) -> None:
    sent = await _fleet(org, 2)
    document = (
        "{ images(first: 2) { nodes { device { images(first: 2) "
        "{ totalCount pageInfo { hasNextPage } nodes { id } } } } } }"
    )
    page = {
        "totalCount": 2,
        "pageInfo": {"hasNextPage": False},
        "nodes": [{"id": id} for id in sent["cam-0"][::-1]],
    }
    images = (await org.viewer.run(document))["images"]["nodes"]
    assert [image["device"]["images"] for image in images] == [page, page]
