"""What `domain.images.formats` and `domain.images.processing` make of files that were sent to hurt them, or
that a bad radio link mangled; and, so that refusing everything would not pass, of unusual but honest ones.
Uploads through HTTP are tested elsewhere."""

import io
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from PIL import ExifTags, Image, ImageChops, ImageCms, ImageStat

from domain.images.formats import Completeness, NotAnImage, check_whole, inspect
from domain.images.processing import Processed, Rejected, hamming, process
from server.demo.shelf import Shelf

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
FORMATS = ("JPEG", "PNG", "WEBP")
QUADRANTS = ((220, 30, 30), (30, 200, 30), (30, 30, 220), (230, 220, 40))


def quadrants(width: int = 64, height: int = 48) -> Image.Image:
    """Red, green, blue and yellow from the top left in reading order: every orientation looks different."""
    small = Image.new("RGB", (2, 2))
    small.putdata(QUADRANTS)
    return small.resize((width, height), Image.Resampling.NEAREST)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    target = io.BytesIO()
    image.save(target, kind, **options)
    return target.getvalue()


def processed(data: bytes) -> Processed:
    return process(io.BytesIO(data))


def opened(webp: bytes) -> Image.Image:
    return Image.open(io.BytesIO(webp), formats=("WEBP",))


def rejection(data: bytes) -> str:
    with pytest.raises(Rejected) as caught:
        processed(data)
    return caught.value.code


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def with_chunk(png: bytes, added: bytes) -> bytes:
    return png[:33] + added + png[33:]  # 33: after the signature and IHDR


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def near(pixel: Any, expected: tuple[int, ...], tolerance: int = 30) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(pixel, expected, strict=True))


# Cut short.


@pytest.mark.parametrize("kind", FORMATS)
def test_no_cut_of_a_file_passes(kind: str) -> None:
    data = encoded(quadrants(200, 150), kind)
    for cut in {*range(40), *range(40, len(data), len(data) // 150 + 1), len(data) - 1}:
        assert rejection(data[:cut]) in ("TRUNCATED", "UNSUPPORTED_FORMAT"), cut


def test_nul_padding_is_tolerated_after_the_end_but_is_not_one() -> None:
    photo = encoded(quadrants(200, 150), "JPEG")
    assert processed(photo + bytes(1000)).width == 200
    assert rejection(photo[: len(photo) // 2] + bytes(3000)) == "TRUNCATED"


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        (lambda data: b"", "NOT_AN_IMAGE"),
        (lambda data: b"GIF89a" + data, "NOT_AN_IMAGE"),
        (lambda data: data[:8], "TRUNCATED"),
        (lambda data: data[:-4] + b"\0\0\0\0", "TRUNCATED"),
        (lambda data: data + b"<script>", "TRUNCATED"),
    ],
)
def test_the_completeness_check_names_what_is_wrong(damage: Callable[[bytes], bytes], code: str) -> None:
    data = damage(encoded(quadrants(), "PNG"))
    with pytest.raises(NotAnImage) as caught:
        check_whole(data[:64], data[-4096:], len(data))
    assert caught.value.code == code


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_completeness_in_pieces_agrees_with_the_whole(size: int) -> None:
    data = Shelf(1, width=400, height=300).photograph(at=NOON, battery_pct=90, signal=-60)
    check = Completeness()
    for start in range(0, len(data), size):
        check.feed(data[start : start + size])
    assert (check.finish(), check.size) == ("image/jpeg", len(data))


# Mangled.


@pytest.mark.parametrize("kind", FORMATS)
def test_flipped_bits_never_escape_as_anything_but_rejected(kind: str) -> None:
    rng = random.Random(2)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    whole = encoded(quadrants(), kind, exif=exif, icc_profile=srgb_profile())
    accepted = 0
    for _ in range(700):
        data = bytearray(whole)
        for _ in range(rng.choice((1, 2, 8, 40))):
            data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        try:
            result = processed(bytes(data))
        except Rejected:
            continue
        accepted += 1
        assert opened(result.display).size == (result.width, result.height)
    assert 0 < accepted < 700


@pytest.mark.parametrize("data", [b"", b"\0" * 100_000, b"GIF89a" + bytes(50), b"%PDF-1.7", b"II*\0" + bytes(99)])
def test_other_files_are_an_unsupported_format(data: bytes) -> None:
    assert rejection(data) == "UNSUPPORTED_FORMAT"


def test_polyglots_lose_their_other_half() -> None:
    script = b"<script>alert(1)</script>"
    honest = encoded(quadrants(), "JPEG")
    for data in (with_segment(honest, 0xFE, script), with_segment(honest, 0xE1, b"Exif\0\0" + script)):
        result = processed(data)
        assert script not in result.display + result.thumbnail
    assert rejection(honest + b"PK\3\4" + script) == "TRUNCATED"
    png = with_chunk(encoded(quadrants(), "PNG"), chunk(b"tEXt", b"Comment\0" + script))
    assert script not in processed(png).display


# Too much.


def declaring(kind: str, width: int, height: int) -> bytes:
    """A small file whose header claims another size."""
    data = bytearray(encoded(quadrants(), kind, **({"lossless": True} if kind == "WEBP" else {})))
    if kind == "PNG":
        data[8:33] = chunk(b"IHDR", struct.pack(">II", width, height) + data[24:29])
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0")
        struct.pack_into(">HH", data, at + 5, height, width)
    else:
        struct.pack_into("<I", data, 21, (width - 1) | (height - 1) << 14)
    return bytes(data)


@pytest.mark.parametrize(
    ("kind", "width", "height"),
    [
        ("PNG", 2**31 - 1, 2**31 - 1),
        ("JPEG", 65_500, 65_500),
        ("JPEG", 12_000, 10_000),
        ("WEBP", 16_383, 16_383),
        ("WEBP", 6_000, 5_000),
    ],
)
@pytest.mark.filterwarnings("error")
def test_declared_sizes_are_refused_before_decoding(kind: str, width: int, height: int) -> None:
    assert rejection(declaring(kind, width, height)) == "TOO_MANY_PIXELS"


def test_the_callers_pixel_limit_holds() -> None:
    with pytest.raises(Rejected, match="too many"):
        process(io.BytesIO(encoded(quadrants(100, 100), "PNG")), max_pixels=9_999)


def test_files_that_would_keep_a_decoder_busy_for_ever_are_refused() -> None:
    png = with_chunk(encoded(quadrants(), "PNG"), chunk(b"teST", b"") * 60_000)
    jpeg = encoded(quadrants(), "JPEG")
    segments = jpeg[:2] + b"\xff\xe1\0\x09Exif\0\0\0" * 60_000 + jpeg[2:]
    scans = jpeg[:-2] + jpeg[jpeg.index(b"\xff\xda") : -2] * 200 + jpeg[-2:]
    for data, message in ((png, "too many chunks"), (segments, "too many segments"), (scans, "64 scans")):
        with pytest.raises(Rejected, match=message):
            processed(data)


@pytest.mark.parametrize("size", [(1, 100_000), (100_000, 1), (3, 40_000)])
def test_slivers_are_scaled_into_what_webp_can_hold(size: tuple[int, int]) -> None:
    result = processed(encoded(Image.new("RGB", size, "red"), "PNG"))
    assert max(result.width, result.height) == 16_383
    assert opened(result.display).size == (result.width, result.height)
    assert opened(result.thumbnail).size == (200, 200)


def plain(width: int, height: int) -> Image.Image:
    return Image.new("RGB", (width, height), "navy")


def bombs(folder: Path) -> list[Path]:
    """The most memory each format can be made to take without passing a limit."""
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    files = {
        "rotated.jpg": encoded(plain(7_000, 7_000), "JPEG", exif=exif),
        "coefficients.jpg": encoded(plain(5_870, 4_900), "JPEG", progressive=True, subsampling=0),
        "unhalved.jpg": encoded(plain(4_890, 4_900), "JPEG", exif=exif),
        "alpha.png": encoded(Image.new("RGBA", (7_000, 7_000), (9, 99, 9, 90)), "PNG", compress_level=1),
        "canvas.webp": encoded(plain(4_000, 4_000), "WEBP", method=0),
        "metadata.png": metadata_bomb(),
        "metadata.jpg": with_segment(encoded(quadrants(), "JPEG"), 0xE1, b"Exif\0\0" + exif_bomb()),
    }
    return [folder / name for name, data in files.items() if (folder / name).write_bytes(data)]


def metadata_bomb() -> bytes:
    """Text that would inflate to a gigabyte, a profile of 100 MB, EXIF whose entries overlap."""
    text = zlib.compress(b"A" * 1_000_000, 9)
    texts = b"".join(chunk(b"zTXt", b"key%d\0\0" % number + text) for number in range(1_000))
    profile = chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(100_000_000)))
    return with_chunk(encoded(quadrants(), "PNG"), profile + texts + chunk(b"eXIf", exif_bomb()))


def exif_bomb() -> bytes:
    entries = b"".join(struct.pack("<HHII", tag, 2, 60_000, 8) for tag in range(5_000))
    return b"II*\0\x08\0\0\0" + struct.pack("<H", 5_000) + entries + bytes(100)


CHILD = """
import sys, pathlib
from domain.images.processing import process
for name in sys.argv[1:]:
    result = process(pathlib.Path(name))
    assert result.width * result.height <= 24_000_000
status = pathlib.Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak of resident memory from /proc")
def test_no_accepted_file_takes_a_worker_beyond_its_memory(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CHILD, *map(str, bombs(tmp_path))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 400_000  # kB


# Unusual, but honest.


@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_and_removed(orientation: int) -> None:
    # Top left, top right, bottom left, bottom right of the upright picture, by the EXIF standard.
    seen = ["0123", "1032", "3210", "2301", "0213", "2031", "3120", "1302"][orientation - 1]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    result = processed(encoded(quadrants(), "JPEG", exif=exif, quality=95))
    assert (result.width, result.height) == ((64, 48) if orientation < 5 else (48, 64))
    display = opened(result.display)
    corners = [(x, y) for y in (8, display.height - 9) for x in (8, display.width - 9)]
    for corner, which in zip(corners, seen, strict=True):
        assert near(display.getpixel(corner), QUADRANTS[int(which)]), (corner, which)
    assert not display.getexif()


SIXTEEN_BIT = Image.frombytes("I;16", (64, 48), struct.pack("<H", 0x8000) * (64 * 48))
GREY = Image.new("L", (64, 48), 128)
CLEAR = Image.new("L", (64, 48), 0)


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("CMYK", (64, 48), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
        (SIXTEEN_BIT, "PNG", (128, 128, 128)),
        (Image.new("1", (64, 48), 1), "PNG", (255, 255, 255)),
        (GREY, "PNG", (128, 128, 128)),
        (Image.new("RGB", (64, 48), "teal").quantize(4), "PNG", (0, 128, 128)),
        (Image.merge("LA", (GREY, CLEAR)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (64, 48), (255, 0, 0, 128)), "PNG", (255, 127, 127)),
        (Image.new("RGBA", (64, 48), (255, 0, 0, 0)), "WEBP", (255, 255, 255)),
    ],
)
def test_every_kind_of_pixel_becomes_opaque_rgb(image: Image.Image, kind: str, expected: Any) -> None:
    display = opened(processed(encoded(image, kind)).display)
    assert display.mode == "RGB"
    assert near(display.getpixel((30, 20)), expected, 6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_animation_shows_its_first_frame(kind: str) -> None:
    first, rest = Image.new("RGB", (64, 48), "red"), [Image.new("RGB", (64, 48), "blue")] * 3
    result = processed(encoded(first, kind, save_all=True, append_images=rest, duration=100))
    display = opened(result.display)
    assert near(display.getpixel((10, 10)), (255, 0, 0), 8)
    assert getattr(display, "n_frames", 1) == 1


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("profile", [b"nonsense" * 40, b"\0" * 128, srgb_profile()[:200], srgb_profile()])
def test_a_profile_is_used_or_ignored_but_never_fatal(kind: str, profile: bytes) -> None:
    display = opened(processed(encoded(quadrants(), kind, icc_profile=profile)).display)
    assert near(display.getpixel((8, 8)), QUADRANTS[0])
    assert "icc_profile" not in display.info


def test_a_wide_profile_is_converted() -> None:
    swapped = bytearray(srgb_profile().replace(b"s\0R\0G\0B", b"w\0i\0d\0e").replace(b"sRGB", b"wide"))
    red, blue = swapped.index(b"rXYZ"), swapped.index(b"bXYZ")
    swapped[red : red + 4], swapped[blue : blue + 4] = b"bXYZ", b"rXYZ"
    red_png = encoded(Image.new("RGB", (64, 48), "red"), "PNG", icc_profile=bytes(swapped))
    assert near(opened(processed(red_png).display).getpixel((5, 5)), (0, 0, 255), 12)


# When, where, how alike.


def exif_of(taken: str, offset: str = "", gps: dict[int, Any] | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Model] = "ESP32-CAM"  # Pillow leaves EXIF without any such tag out of a PNG
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.DateTimeOriginal] = taken
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.OffsetTimeOriginal] = offset
    exif.get_ifd(ExifTags.IFD.GPSInfo).update(gps or {})
    return exif


@pytest.mark.parametrize(
    ("taken", "offset", "expected"),
    [
        ("2026:11:20 10:30:00", "", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
        ("2026:11:20 10:30:00", "+05:30", datetime(2026, 11, 20, 5, 0, tzinfo=UTC)),
        ("2026:11:20 10:30:00", "rubbish", datetime(2026, 11, 20, 10, 30, tzinfo=UTC)),
        ("0000:00:00 00:00:00", "", None),
        ("1970:01:01 00:00:07", "", None),
        ("9999:12:31 23:59:59", "-12:00", None),
        ("2026:11:20 10:30:00; DROP", "", None),
    ],
)
def test_the_time_taken(taken: str, offset: str, expected: datetime | None) -> None:
    for kind in FORMATS:
        result = processed(encoded(quadrants(), kind, exif=exif_of(taken, offset)))
        assert result.captured_at == expected


@pytest.mark.parametrize(
    ("gps", "expected"),
    [
        (
            {1: "S", 2: (33.0, 51.0, 36.0), 3: "E", 4: (151.0, 12.0, 0.0), 5: b"\1", 6: 12.5},
            {"latitude": -33.86, "longitude": 151.2, "altitude": -12.5},
        ),
        ({1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)}, {}),
        ({1: "N", 2: (91.0, 0.0, 0.0), 3: "E", 4: (10.0, 0.0, 0.0)}, {}),
    ],
)
def test_the_place_is_told_apart_and_never_served(gps: dict[int, Any], expected: dict[str, float]) -> None:
    result = processed(encoded(quadrants(), "JPEG", exif=exif_of("2026:11:20 10:30:00", gps=gps)))
    assert result.private == expected
    assert b"EXIF" not in result.display + result.thumbnail


def test_a_shelf_photograph_from_camera_to_hash() -> None:
    shelf, at = Shelf(5), datetime(2026, 11, 20, 9, 0, tzinfo=timezone(timedelta(hours=2)))
    photo = shelf.photograph(at=at, battery_pct=80, signal=-55)
    result = processed(photo)
    assert (result.width, result.height, result.captured_at) == (1600, 1200, at)
    original = Image.open(io.BytesIO(photo))
    assert max(ImageStat.Stat(ImageChops.difference(original, opened(result.display))).mean) < 4
    again = processed(encoded(original.resize((800, 600)), "JPEG", quality=40))
    other = processed(Shelf(6).photograph(at=at, battery_pct=80, signal=-55))
    assert hamming(result.perceptual_hash, again.perceptual_hash) <= 4
    assert hamming(result.perceptual_hash, other.perceptual_hash) > 10


def test_a_missing_file_is_not_the_images_fault(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        process(tmp_path / "gone.jpg")


def test_what_reaches_the_decoder_is_only_what_decides_pixels() -> None:
    png = with_chunk(encoded(quadrants(), "PNG"), chunk(b"acTL", b"\0" * 8) + chunk(b"tIME", b"\0" * 7))
    jpeg = with_segment(encoded(quadrants(), "JPEG", exif=exif_of("2026:11:20 10:30:00")), 0xED, b"Photoshop")
    assert inspect(png).pixels == encoded(quadrants(), "PNG")
    assert inspect(jpeg).pixels == encoded(quadrants(), "JPEG")
