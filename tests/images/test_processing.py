"""What becomes of an uploaded photo, as its device and its viewers see it. Hostile files are in
`test_processing_hostile.py`."""

import io
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import orjson
import pytest
from PIL import ExifTags, Image, ImageStat

from tests.support.api import Organisation
from tests.support.images import image_of, picture, settled, variant_of
from tests.support.log import logged, whole_log
from tests.support.photos import photo

_SERVED = ["DISPLAY", "THUMBNAIL"]


def _halves(size: tuple[int, int] = (400, 300)) -> Image.Image:
    """Red on the left, blue on the right."""
    image = Image.new("RGB", size, "red")
    image.paste("blue", (size[0] // 2, 0, *size))
    return image


def _encoded(image: Image.Image, kind: str = "JPEG", **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def _exif(*, orientation: int = 1, taken: datetime | None = None, offset: str | None = None) -> Image.Exif:
    """What a camera with a GPS receiver writes, in Berlin."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Leakycam"
    exif[ExifTags.Base.Orientation] = orientation
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps.update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0), 5: b"\0", 6: 34.0})
    if taken:
        own = exif.get_ifd(ExifTags.IFD.Exif)
        own[ExifTags.Base.DateTimeOriginal] = f"{taken:%Y:%m:%d %H:%M:%S}"
        if offset:
            own[ExifTags.Base.OffsetTimeOriginal] = offset
    return exif


async def _upload(org: Organisation, image: bytes, **headers: str) -> str:
    device = await org.device()
    answer = await device.upload(image, headers={name.replace("_", "-"): value for name, value in headers.items()})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["imageId"])


async def _ready(org: Organisation, image: bytes, **headers: str) -> dict[str, Any]:
    """The image once it is READY."""
    facts = await settled(org.viewer, await _upload(org, image, **headers))
    assert facts["status"] == "READY", facts
    return facts


async def _rejected(org: Organisation, image: bytes) -> dict[str, Any]:
    facts = await settled(org.viewer, await _upload(org, image))
    assert facts["status"] == "REJECTED", facts
    return facts


async def test_orientation_is_applied_to_all_that_is_shown(org: Organisation) -> None:
    # Stored lying on its side: turned clockwise by 90° the left half is on top.
    facts = await _ready(org, _encoded(_halves(), exif=_exif(orientation=6)))
    assert (facts["width"], facts["height"]) == (300, 400)
    for variant in _SERVED:
        shown = picture(await variant_of(org.viewer, facts["id"], variant))
        top = ImageStat.Stat(shown.crop((0, 0, shown.width, shown.height // 3))).mean
        bottom = ImageStat.Stat(shown.crop((0, 2 * shown.height // 3, shown.width, shown.height))).mean
        assert (top[0] > 200, top[2] < 50, bottom[0] < 50, bottom[2] > 200) == (True,) * 4, variant


async def test_the_display_is_whole_and_the_thumbnail_a_square(org: Organisation) -> None:
    facts = await _ready(org, _encoded(_halves((640, 360))))
    display = picture(await variant_of(org.viewer, facts["id"], "DISPLAY"))
    thumbnail = picture(await variant_of(org.viewer, facts["id"], "THUMBNAIL"))
    assert (display.format, display.size) == ("WEBP", (facts["width"], facts["height"])) == ("WEBP", (640, 360))
    assert (thumbnail.format, thumbnail.size) == ("WEBP", (200, 200))


async def test_a_thumbnail_of_a_tiny_picture_is_as_large_as_any(org: Organisation) -> None:
    facts = await _ready(org, _encoded(_halves((7, 5)), "PNG"))
    assert (facts["width"], facts["height"]) == (7, 5)
    assert picture(await variant_of(org.viewer, facts["id"], "THUMBNAIL")).size == (200, 200)


async def test_metadata_is_stripped_from_what_is_shown(org: Organisation) -> None:
    facts = await _ready(org, _encoded(_halves(), exif=_exif(), comment=b"taken by Leakycam"))
    for variant in _SERVED:
        shown = await variant_of(org.viewer, facts["id"], variant)
        assert not picture(shown).getexif()
        assert not {"exif", "xmp", "icc_profile"} & picture(shown).info.keys()
        assert b"Leakycam" not in shown
        assert b"EXIF" not in shown


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_the_original_does_not_tell_where_it_was_taken(org: Organisation, kind: str) -> None:
    facts = await _ready(org, _encoded(_halves(), kind, exif=_exif()))
    shown = picture(await variant_of(org.viewer, facts["id"], "ORIGINAL"))
    assert not shown.getexif().get_ifd(ExifTags.IFD.GPSInfo)


async def test_the_place_is_kept_privately_and_told_in_no_field_and_no_event(
    org: Organisation, database_url: str
) -> None:
    facts = await _ready(org, _encoded(_halves(), exif=_exif()))
    connection = await asyncpg.connect(database_url)
    kept = await connection.fetchval("SELECT private::text FROM images WHERE id = $1::text::uuid", facts["id"])
    await connection.close()
    assert orjson.loads(kept) == {"latitude": 52.52, "longitude": 13.405, "altitude": 34.0}
    names = '{ __type(name: "Image") { fields { name type { kind ofType { kind } } args { name } } } }'
    fields = (await org.admin.run(names))["__type"]["fields"]
    leaves = [
        field["name"]
        for field in fields
        if "OBJECT" not in (field["type"]["kind"], (field["type"]["ofType"] or {}).get("kind"))
    ]
    assert {"id", "status", "url", "sha256"} <= set(leaves)
    told = await image_of(org.admin, facts["id"], " ".join(leaves) + " device { id name key }")
    ready = await logged(org.admin, types=["image.ready"], subjectIds=[facts["id"]])
    for text in (str(told), str(ready)):
        assert not [secret for secret in ("52.5", "13.4", "latitude", "Leakycam") if secret in text]


async def test_the_time_in_exif_counts_when_the_device_said_none(org: Organisation) -> None:
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=5)
    facts = await _ready(org, _encoded(_halves(), exif=_exif(taken=taken)))
    assert datetime.fromisoformat(facts["capturedAt"]) == taken
    assert datetime.fromisoformat(facts["deviceCapturedAt"]) == taken


async def test_the_offset_in_exif_is_minded(org: Organisation) -> None:
    taken = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=8)
    local = _exif(taken=taken + timedelta(hours=2), offset="+02:00")
    facts = await _ready(org, _encoded(_halves(), exif=local))
    assert datetime.fromisoformat(facts["capturedAt"]) == taken


async def test_what_the_device_said_goes_before_exif(org: Organisation) -> None:
    said = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=1)
    exif = _exif(taken=said - timedelta(days=3))
    facts = await _ready(org, _encoded(_halves(), exif=exif), X_Captured_At=said.isoformat())
    assert datetime.fromisoformat(facts["capturedAt"]) == datetime.fromisoformat(facts["deviceCapturedAt"]) == said


async def test_a_time_in_exif_that_cannot_be_true_is_kept_but_not_believed(org: Organisation) -> None:
    before = datetime.now(UTC)
    facts = await _ready(org, _encoded(_halves(), exif=_exif(taken=datetime(2009, 1, 2, 3, 4, 5, tzinfo=UTC))))
    assert datetime.fromisoformat(facts["deviceCapturedAt"]) == datetime(2009, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert before <= datetime.fromisoformat(facts["capturedAt"]) <= datetime.now(UTC)


async def _hash_of(org: Organisation, image: bytes) -> int:
    text = (await _ready(org, image))["perceptualHash"]
    assert len(text) == 16
    return int(text, 16)


async def test_hashes_of_photos_that_look_alike_are_near_and_of_others_far(org: Organisation) -> None:
    scene = picture(photo(7, size=(640, 480)))
    noise = random.Random(3)
    noisy = scene.point(lambda value: min(255, value + 6))
    for _ in range(400):
        noisy.putpixel((noise.randrange(640), noise.randrange(480)), (0, 0, 0))
    one = await _hash_of(org, _encoded(scene, quality=95))
    alike = [
        await _hash_of(org, _encoded(scene, quality=40)),
        await _hash_of(org, _encoded(scene.resize((320, 240)), "PNG")),
        await _hash_of(org, _encoded(noisy, quality=80)),
    ]
    other = await _hash_of(org, photo(8, size=(640, 480)))
    assert [distance for hash in alike if (distance := (one ^ hash).bit_count()) > 4] == []
    assert (one ^ other).bit_count() > 10


_CMYK = Image.new("CMYK", (64, 48), (0, 255, 255, 0))
_SIXTEEN_BIT = Image.frombytes("I;16", (64, 48), b"\0\x80" * (64 * 48))


@pytest.mark.parametrize(
    ("image", "colour"),
    [
        (_encoded(_CMYK), (255, 0, 0)),
        (_encoded(_SIXTEEN_BIT, "PNG"), (128, 128, 128)),
        (_encoded(Image.new("L", (64, 48), 77), "PNG"), (77, 77, 77)),
        (_encoded(Image.new("RGBA", (64, 48), (0, 0, 0, 0)), "PNG"), (255, 255, 255)),
        (_encoded(Image.new("RGB", (64, 48), "lime"), "WEBP", lossless=True), (0, 255, 0)),
        (_encoded(Image.new("RGB", (64, 48), "lime"), progressive=True), (0, 255, 0)),
    ],
)
async def test_every_kind_of_picture_is_shown_in_its_colours(
    org: Organisation, image: bytes, colour: tuple[int, int, int]
) -> None:
    facts = await _ready(org, image)
    shown = picture(await variant_of(org.viewer, facts["id"], "DISPLAY"))
    assert (shown.mode, shown.size) == ("RGB", (64, 48))
    mean = ImageStat.Stat(shown).mean
    assert max(abs(a - b) for a, b in zip(mean, colour, strict=True)) < 6


def _damaged(kind: str) -> bytes:
    """A picture whose head and tail are whole, and whose middle is noise."""
    data = photo(3, format=kind, size=(640, 480))
    third = len(data) // 3
    return data[:third] + random.Random(1).randbytes(third) + data[2 * third :]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_damage_in_the_middle_is_accepted_and_then_rejected_with_a_reason(
    org: Organisation, kind: str
) -> None:
    facts = await _rejected(org, _damaged(kind))
    assert facts["rejection"]["code"] == "CORRUPT"
    assert facts["rejection"]["message"]
    assert facts["processedAt"] >= facts["receivedAt"]
    assert (facts["width"], facts["height"], facts["perceptualHash"]) == (None, None, None)
    variants = "original: url(variant: ORIGINAL) display: url thumbnail: url(variant: THUMBNAIL)"
    links = await image_of(org.viewer, facts["id"], variants)
    assert (links["original"], links["display"], links["thumbnail"]) == (None, None, None)


async def test_a_picture_of_too_many_pixels_is_rejected(org: Organisation) -> None:
    small_file = _encoded(Image.new("1", (10_000, 5_001)), "PNG")
    assert len(small_file) < 100_000
    facts = await _rejected(org, small_file)
    assert facts["rejection"]["code"] == "TOO_MANY_PIXELS"
    assert "10000×5001" in facts["rejection"]["message"]


async def test_the_event_of_a_rejection_says_why(org: Organisation) -> None:
    facts = await _rejected(org, _damaged("PNG"))
    (event,) = await logged(org.viewer, types=["image.rejected"], subjectIds=[facts["id"]])
    assert event["data"].items() >= facts["rejection"].items()
    assert event["data"]["deviceId"]
    assert event["actorKind"] == "SYSTEM"
    assert await whole_log(org.viewer, types=["image.ready"]) == []


async def test_a_rejected_photo_does_not_hold_up_the_next(org: Organisation) -> None:
    device = await org.device()
    answers = [await device.upload(image) for image in (_damaged("PNG"), photo())]
    found = [await settled(org.viewer, answer.json()["imageId"]) for answer in answers]
    assert [facts["status"] for facts in found] == ["REJECTED", "READY"]
    now = await org.viewer.run("query ($id: ID!) { device(id: $id) { totalCaptures status } }", id=device.id)
    assert now["device"] == {"totalCaptures": 2, "status": "ACTIVE"}
