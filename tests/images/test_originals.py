"""The ORIGINAL variant: the picture as it came, without what its file told of the photographer. What is taken out
and what has to stay is tried here on whole files, and on damaged ones that decoders still show."""

import io
import random
import struct
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from PIL import ExifTags, Image, ImageCms, ImageOps
from PIL.PngImagePlugin import PngInfo

from domain.images.formats import NotAnImage
from domain.images.metadata import without_metadata
from tests.support.api import Organisation
from tests.support.images import image_of, link_to, originals, picture, settled, variant_of
from tests.support.log import eventually
from tests.support.photos import padded, photo
from tests.support.stack import Stack

_SECRET = b"Leakycam"
_PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
_XMP = b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>Leakycam</x:xmpmeta>"


def _exif(orientation: int = 1) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = _SECRET.decode()
    exif[ExifTags.Base.Orientation] = orientation
    exif.get_ifd(ExifTags.IFD.GPSInfo).update({1: "N", 2: (52.0, 31.0, 12.0), 3: "E", 4: (13.0, 24.0, 18.0)})
    return exif


def _telling(kind: str, orientation: int = 1, **more: Any) -> bytes:
    """A file with all that cameras and editors write beside the pixels, and a colour profile."""
    if kind == "PNG":
        text = PngInfo()
        text.add_text("Author", _SECRET.decode())
        text.add_itxt("Comment", _SECRET.decode(), zip=True)
        more = {"pnginfo": text, **more}
    else:
        more = {"xmp": _XMP, **more}
    if kind == "JPEG":
        more = {"comment": _SECRET, **more}
    return photo(7, format=kind, exif=_exif(orientation), icc_profile=_PROFILE, **more)


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _cleaned(data: bytes) -> bytes:
    clean = without_metadata(data)
    assert clean is not None
    return clean


def _pixels(data: bytes) -> tuple[str, tuple[int, int], bytes]:
    shown = picture(data)
    return shown.mode, shown.size, shown.tobytes()


async def _uploaded(org: Organisation, image: bytes) -> str:
    answer = await (await org.device()).upload(image)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["imageId"])


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_it_shows_exactly_the_same_pixels_and_tells_nothing_else(
    org: Organisation, kind: str, orientation: int
) -> None:
    image = _telling(kind, orientation)
    clean = await variant_of(org.viewer, await _uploaded(org, image), "ORIGINAL")
    assert _pixels(clean) == _pixels(image)
    came, shown = picture(image), picture(clean)
    assert shown.format == kind
    assert shown.info["icc_profile"] == came.info["icc_profile"] == _PROFILE
    assert dict(shown.getexif()) == ({ExifTags.Base.Orientation: 6} if orientation == 6 else {})
    assert ImageOps.exif_transpose(shown).tobytes() == ImageOps.exif_transpose(came).tobytes()
    assert not shown.getexif().get_ifd(ExifTags.IFD.GPSInfo)
    assert not {"comment", "xmp", "Author", "Comment"} & shown.info.keys()
    assert _SECRET in image
    assert _SECRET not in clean


async def test_the_file_itself_stays_in_the_store_and_has_no_link(stack: Stack, org: Organisation) -> None:
    image = padded(photo(), 50_000)
    image_id = await _uploaded(org, image)
    link = await link_to(org.viewer, image_id, "ORIGINAL")
    assert urlsplit(link).path.startswith("/media/clean/")
    kept = {path.parts[-5]: path.read_bytes() for path in originals(stack.data_dir, image)}
    assert kept["originals"] == image
    assert len(kept["clean"]) < len(image)
    facts = await image_of(org.viewer, image_id, "sizeBytes")
    assert facts["sizeBytes"] == len(image)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
async def test_a_file_that_tells_nothing_is_not_stored_twice(stack: Stack, org: Organisation, kind: str) -> None:
    image = photo(format=kind)
    link = await link_to(org.viewer, await _uploaded(org, image), "ORIGINAL")
    assert urlsplit(link).path.startswith("/media/originals/")
    assert (await org.viewer.http.get(link)).content == image
    assert {path.parts[-5] for path in originals(stack.data_dir, image)} == {"originals", "display", "thumbnails"}


async def test_there_is_none_before_the_picture_is_ready(org: Organisation) -> None:
    image_id = await _uploaded(org, photo(size=(4000, 3000)))  # takes a while

    async def ready() -> bool:
        now = await image_of(org.viewer, image_id, "status url(variant: ORIGINAL)")
        assert (now["url"] is not None) == (now["status"] == "READY")
        return bool(now["url"])

    await eventually(ready, what="the original of a large picture")


async def test_a_second_picture_behind_the_end_is_not_handed_out(org: Organisation) -> None:
    # As phones append depth maps and previews, which have their own EXIF.
    first, second = photo(), _telling("JPEG")
    image = first[:2] + _segment(0xE2, b"MPF\0" + bytes(60)) + first[2:] + second
    assert await variant_of(org.viewer, await _uploaded(org, image), "ORIGINAL") == first


async def test_padding_is_not_handed_out(org: Organisation) -> None:
    image = photo()
    assert await variant_of(org.viewer, await _uploaded(org, image + bytes(10_000)), "ORIGINAL") == image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
async def test_of_an_animation_the_first_frame_looks_the_same(org: Organisation, kind: str) -> None:
    frames = [Image.new("RGB", (64, 48), colour) for colour in ("red", "blue", "lime")]
    image = _encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, exif=_exif())
    clean = await variant_of(org.viewer, await _uploaded(org, image), "ORIGINAL")
    assert _pixels(clean) == _pixels(image)
    assert getattr(picture(clean), "n_frames", 1) == (3 if kind == "WEBP" else 1)
    assert _SECRET not in clean


async def test_segments_between_scans_without_end_are_rejected(org: Organisation) -> None:
    jpeg = photo()
    image = jpeg[:-2] + _segment(0xE5, b"") * 60_000 + jpeg[-2:]
    facts = await settled(org.viewer, await _uploaded(org, image))
    assert (facts["status"], facts["rejection"]["code"]) == ("REJECTED", "CORRUPT")


def _encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


# What a JPEG may hide, and where.

_COLOUR = Image.new("RGB", (64, 48), "teal")
_PLAIN = _encoded(_COLOUR, "JPEG")
_JFIF = _PLAIN[2:20]


def _after_start(body: bytes) -> bytes:
    return _PLAIN[:20] + body + _PLAIN[20:]


@pytest.mark.parametrize(
    ("image", "clean"),
    [
        (_after_start(_segment(0xE1, b"Exif\0\0II*\0" + _SECRET)), _PLAIN),
        (_after_start(_segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + _XMP)), _PLAIN),
        (_after_start(_segment(0xED, b"Photoshop 3.0\0" + _SECRET)), _PLAIN),
        (_after_start(_segment(0xE0, b"JFXX\0\x10" + _SECRET)), _PLAIN),
        (_after_start(_segment(0xE2, b"FPXR\0" + _SECRET)), _PLAIN),
        (_after_start(_segment(0xE9, _SECRET)), _PLAIN),
        (_after_start(_segment(0xF7, _SECRET)), _PLAIN),
        (_after_start(_SECRET), _PLAIN),
        (_PLAIN.replace(_JFIF, _segment(0xE0, _JFIF[4:16] + b"\x01\x01" + b"\xff\xfe\xfd")), _PLAIN),
        (_PLAIN[:-2] + _segment(0xFE, _SECRET) + _PLAIN[-2:], _PLAIN[:-2] + _segment(0xFE, b"") + _PLAIN[-2:]),
    ],
)
def test_whatever_a_jpeg_carries_is_taken_out_and_nothing_more(image: bytes, clean: bytes) -> None:
    assert _cleaned(image) == clean
    assert without_metadata(clean) is None


@pytest.mark.parametrize(
    "image",
    [
        _encoded(Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG"),  # told from others by its Adobe segment
        photo(1, progressive=True),
        photo(1, restart_marker_blocks=3),
        photo(1, format="WEBP", lossless=True),
        _encoded(Image.new("RGBA", (64, 48), (9, 8, 7, 6)), "WEBP"),
        _encoded(_COLOUR.quantize(4), "PNG", transparency=0),
        _encoded(Image.new("I;16", (64, 48), 30_000), "PNG"),
    ],
)
def test_what_decides_the_pixels_is_no_metadata(image: bytes) -> None:
    assert without_metadata(image) is None


def test_comments_between_the_scans_of_a_progressive_jpeg_are_emptied() -> None:
    image = photo(1, progressive=True)
    assert image.count(b"\xff\xda") > 5
    filled = image.replace(b"\xff\xda", _segment(0xFE, _SECRET) + _segment(0xE1, _SECRET) + b"\xff\xda")
    clean = _cleaned(filled)
    assert _SECRET not in clean
    assert _pixels(clean) == _pixels(image)


def test_a_webp_says_of_itself_what_is_left() -> None:
    clean = _cleaned(_telling("WEBP", 6))
    assert int.from_bytes(clean[4:8], "little") + 8 == len(clean)
    assert clean[20] & 0x0C == 0x08  # EXIF, no XMP
    assert _cleaned(_telling("WEBP"))[20] & 0x0C == 0


def _flipped(data: bytes, rng: random.Random) -> bytes:
    damaged = bytearray(data)
    for _ in range(rng.choice((1, 2, 8))):
        damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    return bytes(damaged)


def _shown(data: bytes) -> tuple[str, tuple[int, int], bytes] | None:
    try:
        return _pixels(data)
    except Exception:  # noqa: BLE001 - Pillow promises no list of them
        return None


_WHOLE: list[Callable[[], bytes]] = [
    lambda: _telling("JPEG", 6),
    lambda: _telling("JPEG", 6, progressive=True),
    lambda: _telling("JPEG", 6, restart_marker_blocks=2),
    lambda: _telling("WEBP", 6),  # and no PNG: its checksums let no damage pass
]


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow, on damaged EXIF
@pytest.mark.parametrize("number", range(len(_WHOLE)))
def test_a_damaged_picture_that_is_shown_is_shown_alike_and_cleaning_twice_changes_nothing(number: int) -> None:
    rng, whole, compared = random.Random(number), _WHOLE[number](), 0
    for _ in range(300):
        damaged = _flipped(whole, rng)
        try:
            clean = without_metadata(damaged) or damaged
        except NotAnImage:
            continue
        assert without_metadata(clean) is None
        shown = _shown(damaged)
        if shown is not None:
            compared += 1
            assert _shown(clean) == shown
    assert compared > 20
