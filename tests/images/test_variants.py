"""Sizes that are made when somebody first asks: previews, AVIF, and what a client sets of them."""

import asyncio
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.api import Api, Organisation
from tests.support.images import picture, settled
from tests.support.library import change, posted
from tests.support.log import eventually
from tests.support.photos import photo
from tests.support.problems import problem
from tests.support.sql import execute
from tests.support.stack import Stack

_SET = """mutation ($changes: ImageSettingsChanges!) { updateImageSettings(changes: $changes) {
  thumbnailSide previewSide unchangedDistance } }"""
_SETTINGS = "{ imageSettings { thumbnailSide previewSide unchangedDistance } }"
_DEFAULTS = {"thumbnailSide": 200, "previewSide": 1440, "unchangedDistance": 3}


async def _link(api: Api, image_id: str, variant: str, format: str = "WEBP") -> str:
    image = await settled(api, image_id, f"url(variant: {variant}, format: {format})")
    return str(image["url"])


async def _shown(api: Api, image_id: str, variant: str, format: str = "WEBP") -> Any:
    answer = await api.http.get(await _link(api, image_id, variant, format))
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == f"image/{format.lower()}"
    image = picture(answer.content)
    assert image.format == format
    assert not image.getexif()
    return image


def _made(stack: Stack, image_id: str) -> list[Path]:
    return sorted((stack.data_dir / "storage" / "blobs" / "variants").rglob(f"{image_id}/*"))


async def _attempts(stack: Stack, image_id: str) -> list[tuple[str, int]]:
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    rows = await connection.fetch("SELECT name, attempts FROM image_variants WHERE image_id::text = $1", image_id)
    await connection.close()
    return sorted((row["name"], row["attempts"]) for row in rows)


@pytest.mark.parametrize(
    ("size", "variant", "format", "expected"),
    [
        ((2000, 1000), "PREVIEW", "WEBP", (1440, 720)),
        ((1000, 2000), "PREVIEW", "AVIF", (720, 1440)),
        ((2000, 1000), "DISPLAY", "AVIF", (2000, 1000)),
        ((320, 240), "PREVIEW", "AVIF", (320, 240)),
        ((320, 240), "THUMBNAIL", "AVIF", (200, 200)),
    ],
)
async def test_a_variant_has_its_size_and_format(
    stack: Stack, org: Organisation, size: tuple[int, int], variant: str, format: str, expected: tuple[int, int]
) -> None:
    image_id = await posted(org.operator, photo(size=size))
    assert _made(stack, image_id) == []
    assert (await _shown(org.viewer, image_id, variant, format)).size == expected
    assert len(_made(stack, image_id)) == 1


async def test_a_preview_of_a_small_picture_is_its_display(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo())
    assert await _link(org.viewer, image_id, "PREVIEW") == await _link(org.viewer, image_id, "DISPLAY")


async def test_many_who_ask_at_once_have_it_made_once(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    answers = await asyncio.gather(*(org.viewer.http.get(link) for _ in range(12)))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await _attempts(stack, image_id) == [("preview-1440.webp", 1)]
    assert await _link(org.viewer, image_id, "PREVIEW") == link


async def test_one_whose_bytes_were_lost_is_made_again(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    first = await org.viewer.http.get(link)
    (file,) = _made(stack, image_id)
    file.unlink()
    again = await org.viewer.http.get(link)
    assert (again.status_code, again.content) == (200, first.content)


async def test_a_job_that_was_lost_is_sent_again(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    await execute(  # as a worker leaves it that died on the way
        stack.environment["QM_DATABASE_URL"],
        "INSERT INTO image_variants (image_id, name, status, attempts, lease_until) "
        f"VALUES ('{image_id}', 'preview-1440.webp', 'MAKING', 1, now() - interval '1 second')",
    )
    answer = await org.viewer.http.get(link)
    if answer.status_code == 503:  # the schedule looks every 5 s, and nobody is kept waiting for longer than 8
        answer = await org.viewer.http.get(link)
    assert answer.status_code == 200
    assert await _attempts(stack, image_id) == [("preview-1440.webp", 2)]


async def test_one_that_was_given_up_on_is_made_when_it_is_asked_for_later(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    await execute(  # as after an hour in which nothing could be stored: the fourth worker is not asked to try
        stack.environment["QM_DATABASE_URL"],
        "INSERT INTO image_variants (image_id, name, status, attempts, lease_until) "
        f"VALUES ('{image_id}', 'preview-1440.webp', 'MAKING', 3, now() - interval '1 second')",
    )

    async def given_up() -> bool:
        return (await org.viewer.http.get(link)).status_code == 404

    await eventually(given_up, within=30, what="the end of attempts")
    await execute(
        stack.environment["QM_DATABASE_URL"],
        f"UPDATE image_variants SET lease_until = now() - interval '1 second' WHERE image_id = '{image_id}'",
    )
    assert (await org.viewer.http.get(link)).status_code == 200
    assert await _attempts(stack, image_id) == [("preview-1440.webp", 1)]


async def test_nothing_is_made_of_a_deleted_image(stack: Stack, org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    await change(org.operator, "deleteImage", image_id)
    problem(await org.viewer.http.get(link), 404, "NOT_FOUND")
    assert await _attempts(stack, image_id) == []
    await change(org.operator, "restoreImage", image_id)
    assert (await org.viewer.http.get(link)).status_code == 200


async def test_no_other_size_can_be_asked_for(org: Organisation) -> None:
    image_id = await posted(org.operator, photo(size=(2000, 1500)))
    link = await _link(org.viewer, image_id, "PREVIEW")
    problem(await org.viewer.http.get(link.replace("1440", "1441")), 403, "LINK_EXPIRED")


async def test_a_client_sets_its_sizes(org: Organisation, other_org: Organisation) -> None:
    assert (await org.viewer.run(_SETTINGS))["imageSettings"] == _DEFAULTS
    before = await posted(org.operator, photo(size=(1000, 800)))
    assert (await _shown(org.viewer, before, "THUMBNAIL")).size == (200, 200)
    changes = {"thumbnailSide": 96, "previewSide": 640}
    expected = {**_DEFAULTS, **changes}
    assert (await org.operator.run(_SET, changes=changes))["updateImageSettings"] == expected
    after = await posted(org.operator, photo(size=(1000, 800)))
    assert (await _shown(org.viewer, after, "THUMBNAIL")).size == (96, 96)
    assert (await _shown(org.viewer, before, "THUMBNAIL")).size == (200, 200)
    for image_id in (before, after):
        assert (await _shown(org.viewer, image_id, "PREVIEW")).size == (640, 512)
    assert (await other_org.viewer.run(_SETTINGS))["imageSettings"] == _DEFAULTS
    assert (await org.operator.run(_SET, changes={"previewSide": None}))["updateImageSettings"] == {
        **_DEFAULTS,
        "thumbnailSide": 96,
    }


@pytest.mark.parametrize(
    "changes", [{"thumbnailSide": 31}, {"thumbnailSide": 513}, {"previewSide": 9999}, {"unchangedDistance": 17}]
)
async def test_sizes_out_of_range_are_refused(org: Organisation, changes: dict[str, int]) -> None:
    refused = await org.operator.refused(_SET, changes=changes)
    assert refused["extensions"]["details"]["argument"] == f"changes.{next(iter(changes))}"
    assert await org.viewer.code(_SET, changes={}) == "FORBIDDEN"
