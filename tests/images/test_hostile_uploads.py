"""A folder of hostile files through the whole system: each gets its right answer, the worker lives on, and it never
takes more than 400 MB, with two of the largest at once."""

import asyncio
import io
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import StackOf
from tests.images.test_processing_hostile import (
    bombs,
    declaring,
    encoded,
    exif_bomb,
    metadata_bomb,
    quadrants,
    with_segment,
)
from tests.support.api import Organisation
from tests.support.images import settled, variant_of
from tests.support.library import post_image
from tests.support.photos import photo
from tests.support.stack import Stack

_MOST = 400_000  # kB


@pytest.fixture(scope="module")
def stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_IMAGE_UPLOADS_PER_MINUTE="100000", QM_UPLOAD_MAX_BYTES="60000000") as stack:
        yield stack


def _peak(stack: Stack) -> int:
    """The most memory that the worker ever had, in kB."""
    status = Path(f"/proc/{stack.child('worker')}/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0])


def _png_16() -> bytes:
    return encoded(Image.frombytes("I;16", (8, 8), struct.pack("<64H", *range(0, 64 * 1000, 1000))), "PNG")


def _animated(kind: str) -> bytes:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
    return encoded(frames[0], kind, save_all=True, append_images=frames[1:], duration=50)


def _turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(quadrants(), "JPEG", quality=95, exif=exif)


def _gif_polyglot() -> bytes:
    return b"GIF89a" + photo(3)


def _zip_polyglot() -> bytes:
    return photo(4) + b"PK\x05\x06" + bytes(18)


def _script_polyglot() -> bytes:
    jpeg = photo(5)
    body = b"*/=1;alert(document.domain)/*<script>alert(1)</script>"
    return jpeg[:2] + struct.pack(">BBH", 0xFF, 0xFE, len(body) + 2) + body + jpeg[2:]


def _exif_jpeg() -> bytes:
    return with_segment(encoded(quadrants(), "JPEG"), 0xE1, b"Exif\0\0" + exif_bomb())


_TOO_MANY = "rejected TOO_MANY_PIXELS"
# What is sent, as what, and the answer: a code of the refusal, a code of the rejection, or the display's size.
_FILES: dict[str, tuple[Callable[[], bytes], str, str | tuple[int, int]]] = {
    "zero bytes": (lambda: b"", "image/jpeg", "NOT_AN_IMAGE"),
    "only NULs": (lambda: bytes(5_000), "image/jpeg", "NOT_AN_IMAGE"),
    "a JPEG cut short": (lambda: photo(1)[:-500], "image/jpeg", "TRUNCATED"),
    "a PNG cut short": (lambda: photo(1, format="PNG")[:-20], "image/png", "TRUNCATED"),
    "a WebP cut short": (lambda: photo(1, format="WEBP")[:-20], "image/webp", "TRUNCATED"),
    "a JPEG without its middle": (lambda: photo(1)[:600] + b"\xff\xd9", "image/jpeg", "rejected TRUNCATED"),
    "a PNG that says it is a JPEG": (lambda: photo(2, format="PNG"), "image/jpeg", (320, 240)),
    "a JPEG that says it is a WebP": (lambda: photo(2), "image/webp", (320, 240)),
    "a GIF with a JPEG inside": (_gif_polyglot, "image/jpeg", "NOT_AN_IMAGE"),
    "a JPEG with an archive behind": (_zip_polyglot, "image/jpeg", "TRUNCATED"),
    "a JPEG with a script inside": (_script_polyglot, "image/jpeg", (320, 240)),
    "a PNG of 60,000 × 60,000": (lambda: declaring("PNG", 60_000, 60_000), "image/png", _TOO_MANY),
    "a JPEG of 65,000 × 65,000": (
        lambda: declaring("JPEG", 65_000, 65_000),
        "image/jpeg",
        _TOO_MANY,
    ),
    "text that inflates to a gigabyte": (metadata_bomb, "image/png", (64, 48)),
    "EXIF whose entries overlap": (_exif_jpeg, "image/jpeg", (64, 48)),
    "1 × 100,000": (lambda: encoded(Image.new("RGB", (1, 100_000), "red"), "PNG"), "image/png", (1, 16_383)),
    "100,000 × 1": (lambda: encoded(Image.new("RGB", (100_000, 1), "red"), "PNG"), "image/png", (16_383, 1)),
    "CMYK": (lambda: encoded(quadrants().convert("CMYK"), "JPEG"), "image/jpeg", (64, 48)),
    "16 bits": (_png_16, "image/png", (8, 8)),
    "an animated PNG": (lambda: _animated("PNG"), "image/png", (40, 30)),
    "an animated WebP": (lambda: _animated("WEBP"), "image/webp", (40, 30)),
    **{
        f"orientation {turn}": (partial(_turned, turn), "image/jpeg", (64, 48) if turn < 5 else (48, 64))
        for turn in range(1, 9)
    },
}


async def _answer(org: Organisation, name: str) -> str | tuple[int, int]:
    make, content_type, _ = _FILES[name]
    response = await post_image(org.operator, make(), content_type=content_type)
    if response.status_code == 422:
        return str(response.json()["code"])
    assert response.status_code == 201, response.text
    image = await settled(org.viewer, response.json()["imageId"], "width height rejection { code }")
    if image["rejection"]:
        return f"rejected {image['rejection']['code']}"
    return image["width"], image["height"]


async def test_each_hostile_file_gets_its_answer_and_the_worker_lives_on(stack: Stack) -> None:
    async with stack.signed_in() as admin:
        org = await Organisation.made(admin)
        worker = stack.child("worker")
        answers = {name: await _answer(org, name) for name in _FILES}
        assert answers == {name: expected for name, (_, _, expected) in _FILES.items()}
        assert stack.child("worker") == worker
        assert _peak(stack) < _MOST


async def test_the_largest_files_at_once_stay_within_the_workers_memory(stack: Stack, tmp_path: Path) -> None:
    async with stack.signed_in() as admin:
        org = await Organisation.made(admin)
        worker, kinds = stack.child("worker"), {".jpg": "image/jpeg", ".png": "image/png", ".webp": "image/webp"}
        ids = []
        for path in bombs(tmp_path):
            data = path.read_bytes()
            kind = next((kinds[suffix] for suffix in kinds if path.suffix == suffix), "image/png")
            response = await post_image(org.operator, data, content_type=kind)
            assert response.status_code == 201, f"{path.name}: {response.text}"
            ids.append(response.json()["imageId"])
        settled_images = await asyncio.gather(*(settled(org.viewer, one) for one in ids))
        assert {image["status"] for image in settled_images} <= {"READY", "REJECTED"}
        ready = [image["id"] for image in settled_images if image["status"] == "READY"]
        assert len(ready) > 2
        # The largest are made smaller at once, too: from the original each time.
        links = [(await settled(org.viewer, one, "url(variant: PREVIEW, format: AVIF)"))["url"] for one in ready]
        statuses = [answer.status_code for answer in await asyncio.gather(*map(org.viewer.http.get, links))]
        assert set(statuses) <= {200, 503}
        assert stack.child("worker") == worker
        assert _peak(stack) < _MOST, f"{_peak(stack)} kB"


async def test_what_is_served_of_a_polyglot_is_the_picture_alone(stack: Stack) -> None:
    async with stack.signed_in() as admin:
        org = await Organisation.made(admin)
        answer = await post_image(org.operator, _script_polyglot())
        for variant in ("ORIGINAL", "DISPLAY", "THUMBNAIL"):
            served = await variant_of(org.viewer, answer.json()["imageId"], variant)
            assert b"script" not in served
            assert Image.open(io.BytesIO(served)).size
