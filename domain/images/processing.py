"""From the bytes of an upload to what is served and compared: the display image, the thumbnail, the
perceptual hash, the time it was taken and the place. Pure and synchronous; runs in worker processes only.
Whether a file is whole, and what its container holds, is in `formats.py`; rows and blobs are not here."""

import io
import math
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Literal

from PIL import Image, ImageCms, ImageOps

from domain.images import formats

Code = Literal["UNSUPPORTED_FORMAT", "TRUNCATED", "CORRUPT", "TOO_MANY_PIXELS", "TOO_LARGE"]

# Far above the upload limit: it guards a worker against a blob that did not come through the upload.
MAX_FILE_BYTES = 64_000_000
# What decoding alone may allocate, so that a worker stays under 400 MB, interpreter and file included.
MAX_DECODE_BYTES = 288_000_000
# Larger pictures are halved. Encoding takes 12 bytes a pixel in all: 50 megapixels would take 600 MB.
DISPLAY_MAX_PIXELS = 24_000_000
# The WebP format's own limit.
DISPLAY_MAX_SIDE = 16_383
THUMBNAIL_SIDE = 200

WEBP_QUALITY = 85
# Measured by bench/webp_method.py on 1600×1200 shelves at quality 85, CPU time and size of one image:
#   method 0: 38 ms, 272 kB;  2: 64 ms, 254 kB;  4, Pillow's default: 140 ms, 245 kB;  6: 332 ms, 240 kB.
# Method 2 takes 0.45 of the default's time for 4 % more bytes.
WEBP_METHOD = 2

# Measured on 1440×1080 shelves: speed 6, Pillow's default, takes 0.8 s, 9 takes 0.2 s for a third more bytes.
AVIF_QUALITY, AVIF_SPEED = 60, 9
# An encoder takes 25 bytes a pixel.
AVIF_MAX_SIDE = 2_560

_PILLOW_FORMATS = {"image/jpeg": "JPEG", "image/png": "PNG", "image/webp": "WEBP"}


@dataclass(frozen=True)
class Processed:
    """What one upload becomes. Width and height (px) are those of `display`, which is smaller than the upload
    where that had more than DISPLAY_MAX_PIXELS or DISPLAY_MAX_SIDE. The thumbnail is the centre square, not
    the whole picture made to fit: a grid of shelves has no ragged edges then. `private` (decimal degrees, m)
    is what served images are stripped of."""

    width: int
    height: int
    display: bytes  # WebP, upright, sRGB, opaque, without metadata
    thumbnail: bytes  # WebP, exactly 200×200, or what the caller said
    perceptual_hash: int  # 64-bit dHash, unsigned
    captured_at: datetime | None  # UTC
    private: dict[str, float | str]  # latitude and longitude, altitude; {} without GPS


@dataclass(frozen=True)
class Resized:
    """A variant of an upload: upright, sRGB, opaque, without metadata; width and height in px."""

    data: bytes
    width: int
    height: int


Reserve = Callable[[int], AbstractContextManager[object]]
"""Around work that takes about so many bytes of memory: it may wait until there are so many."""


class Rejected(Exception):
    """The file will never be an image, however often it is tried; its sender may read `message`."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message


def process(
    source: Path | BinaryIO,
    *,
    max_pixels: int = 50_000_000,
    thumbnail_side: int = THUMBNAIL_SIDE,
    reserve: Reserve = nullcontext,
) -> Processed:
    """Decode, check and convert one upload. Raises Rejected; and OSError only where `source` cannot be read,
    which is the store's fault, not the image's, and worth another attempt."""
    structure = _inspected(_read(source))
    _check_size(structure, max_pixels)
    with reserve(_memory(structure)), _only_rejected():
        image = _upright(_decoded(structure), structure.exif)
        small = _reduced(image, thumbnail_side)
        return Processed(
            width=image.width,
            height=image.height,
            display=_webp(image),
            thumbnail=_webp(ImageOps.fit(small, (thumbnail_side, thumbnail_side))),
            perceptual_hash=dhash(small),
            captured_at=_captured_at(structure.exif),
            private=_place(structure.exif),
        )


def resize(
    source: Path | BinaryIO,
    *,
    side: int | None,
    square: bool = False,
    avif: bool = False,
    max_pixels: int = 50_000_000,
    reserve: Reserve = nullcontext,
) -> Resized:
    """One variant of an upload, WebP or AVIF: no side above `side` px (None: as the display), never enlarged; or
    exactly a square of it, cut from the middle. Raises as `process`."""
    structure = _inspected(_read(source))
    _check_size(structure, max_pixels)
    if avif:
        side = min(side or AVIF_MAX_SIDE, AVIF_MAX_SIDE)
    with reserve(_memory(structure)), _only_rejected():
        image = _upright(_decoded(structure, side), structure.exif)
        if side is not None and square:
            image = ImageOps.fit(_reduced(image, side), (side, side))
        elif side is not None and side < max(image.size):
            image.thumbnail((side, side), reducing_gap=2.0)
        return Resized(_avif(image) if avif else _webp(image), image.width, image.height)


def hamming(a: int, b: int) -> int:
    """How many of the 64 bits of two perceptual hashes differ: 0 the same picture, above about 10 another."""
    return (a ^ b).bit_count()


def dhash(image: Image.Image) -> int:
    """Row by row over 9×8 grey pixels, highest bit first: is a pixel darker than its right neighbour?"""
    grey = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR).tobytes()
    bits = 0
    for row in range(0, 72, 9):
        for column in range(row, row + 8):
            bits = bits << 1 | (grey[column] < grey[column + 1])
    return bits


# Before decoding.


def _read(source: Path | BinaryIO) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    else:
        data = source.read(MAX_FILE_BYTES + 1)
    if len(data) > MAX_FILE_BYTES:
        raise Rejected("TOO_LARGE", f"the file has more than {MAX_FILE_BYTES // 1_000_000} MB")
    return data


def _inspected(data: bytes) -> formats.Structure:
    codes: dict[str, Code] = {"NOT_AN_IMAGE": "UNSUPPORTED_FORMAT", "TRUNCATED": "TRUNCATED"}
    try:
        return formats.inspect(data)
    except formats.NotAnImage as error:
        raise Rejected(codes.get(error.code, "CORRUPT"), error.message) from error


def _check_size(structure: formats.Structure, max_pixels: int) -> None:
    pixels = structure.width * structure.height
    if not pixels:
        raise Rejected("CORRUPT", "the image has no pixels")
    if pixels > max_pixels or pixels * _decoding_cost(structure) > MAX_DECODE_BYTES:
        raise Rejected("TOO_MANY_PIXELS", f"{structure.width}×{structure.height} pixels are too many")


def _memory(structure: formats.Structure) -> int:
    """About the most bytes that the work on a picture takes at once."""
    pixels = structure.width * structure.height
    encoding = 12 * min(pixels, DISPLAY_MAX_PIXELS)
    return max(pixels * _decoding_cost(structure), encoding) + 2 * len(structure.pixels)


def _decoding_cost(structure: formats.Structure) -> int:
    """Bytes per pixel that Pillow holds at once while it decodes, as measured. It lets through 16 megapixels
    of WebP, 28 of progressive JPEG, and the caller's limit of anything else."""
    if structure.content_type == "image/webp":
        return 18  # two canvases of the animation decoder, its output, the image
    if structure.progressive:
        return 10  # up to three planes of 16-bit coefficients, the image
    return 4


@contextmanager
def _only_rejected() -> Iterator[None]:
    """Pillow answers hostile bytes with a dozen kinds of exception (OSError, SyntaxError, ValueError,
    struct.error, zlib.error, MemoryError, …) and promises no list; the cause stays attached for the log."""
    try:
        yield
    except Rejected:
        raise
    except Exception as error:
        if "truncated" in str(error):
            raise Rejected("TRUNCATED", "the image data ends early") from error
        raise Rejected("CORRUPT", "the image cannot be decoded") from error


# Pixels.


def _decoded(structure: formats.Structure, wanted: int | None = None) -> Image.Image:
    """The stored picture as opaque sRGB in mode RGB, small enough to serve; perhaps smaller than it is stored, if
    no side above `wanted` is."""
    image = Image.open(io.BytesIO(structure.pixels), formats=(_PILLOW_FORMATS[structure.content_type],))
    if image.size != (structure.width, structure.height):
        raise Rejected("CORRUPT", "the image declares two sizes")
    icc = structure.icc or image.info.get("icc_profile") or b""
    if structure.width * structure.height > DISPLAY_MAX_PIXELS:
        # JPEG only, and free: the decoder leaves out the finer half of the frequencies.
        image.draft(None, (structure.width // 2, structure.height // 2))
    elif wanted is not None:
        image.draft(None, (wanted, wanted))
    image.load()
    picture = _halved(image) if image.width * image.height > DISPLAY_MAX_PIXELS else _opaque(image)
    picture = _srgb(picture, icc)
    longest = max(picture.size)
    if longest <= DISPLAY_MAX_SIDE:
        return picture
    width, height = (max(1, side * DISPLAY_MAX_SIDE // longest) for side in picture.size)
    return picture.resize((width, height), reducing_gap=3.0)


def _opaque(image: Image.Image) -> Image.Image:
    """L, RGB or CMYK without transparency. What was transparent becomes white: cameras have no alpha, and so
    the thumbnail, the hash and every model see the same pixels whatever is behind them."""
    if image.mode == "I;16":
        # Pillow's own conversion clips at 255 instead of scaling.
        return image.point(lambda value: value * (1 / 256)).convert("L")
    if image.mode in ("RGB", "L", "CMYK") and "transparency" not in image.info:
        return image
    if image.mode == "1" and "transparency" not in image.info:
        return image.convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    if image.mode != "RGBA":
        image = image.convert("RGBA")
    white = Image.new("RGB", image.size, "white")
    white.paste(image, mask=image)
    return white


def _halved(image: Image.Image) -> Image.Image:
    """Half the width and height, in strips: a second image of the full size would not fit into a worker."""
    factor = (min(2, image.width), min(2, image.height))
    strip_rows = 256
    halves = None
    for top in range(0, image.height, strip_rows):
        bottom = min(top + strip_rows, image.height)
        strip = _opaque(image.crop((0, top, image.width, bottom))).reduce(factor)
        if halves is None:
            size = tuple(-(-side // by) for side, by in zip(image.size, factor, strict=True))
            halves = Image.new(strip.mode, (size[0], size[1]))
        halves.paste(strip, (0, top // factor[1]))
    assert halves is not None
    return halves


_PROFILE_SPACES = {"RGB": "RGB", "L": "GRAY", "CMYK": "CMYK"}


def _srgb(image: Image.Image, icc: bytes) -> Image.Image:
    """Mode RGB in sRGB. A profile that is broken or meant for other pixels is ignored, as browsers do."""
    if 0 < len(icc) <= formats.MAX_ICC_BYTES:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            space = profile.profile.xcolor_space.strip()
            if space == _PROFILE_SPACES[image.mode] and "sRGB" not in ImageCms.getProfileDescription(profile):
                return _through(profile, image)
        except (ImageCms.PyCMSError, OSError, ValueError, TypeError, AttributeError):
            pass
    return image if image.mode == "RGB" else image.convert("RGB")


def _through(profile: ImageCms.ImageCmsProfile, image: Image.Image) -> Image.Image:
    transform = ImageCms.ImageCmsTransform(
        profile, ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")), image.mode, "RGB"
    )
    if image.mode == "RGB":
        transform.apply_in_place(image)
        return image
    return transform.apply(image)


_TRANSPOSES = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, exif: bytes) -> Image.Image:
    tags, _ = formats.read_exif(exif)
    match tags.get(formats.EXIF_ORIENTATION):
        case (orientation,) if orientation in _TRANSPOSES:
            return image.transpose(_TRANSPOSES[int(orientation)])
    return image


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """At least twice the thumbnail's size: thumbnail and hash then cost one pass over the picture."""
    return image.reduce(max(1, min(image.size) // (2 * side)))


def _avif(image: Image.Image) -> bytes:
    target = io.BytesIO()
    # One thread: a worker has as many of its own as it may use.
    image.save(target, "AVIF", quality=AVIF_QUALITY, speed=AVIF_SPEED, max_threads=1, exif=b"", icc_profile=None)
    return target.getvalue()


def _webp(image: Image.Image) -> bytes:
    target = io.BytesIO()
    # Said explicitly, because Pillow would otherwise be free to carry metadata over from `image.info`.
    image.save(target, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD, exif=b"", icc_profile=b"", xmp=b"")
    return target.getvalue()


# When and where.

_TAKEN = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", re.ASCII)
_OFFSET = re.compile(r"[+-]\d\d:\d\d|Z", re.ASCII)
# Earlier than any camera of ours: a clock that was never set counts from 1970 or 1980.
_EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)


def _captured_at(exif: bytes) -> datetime | None:
    """DateTimeOriginal in UTC; a camera that states no offset is taken to run on UTC. None for nonsense."""
    tags, _ = formats.read_exif(exif)
    found = _TAKEN.fullmatch(str(tags.get(formats.EXIF_TAKEN, "")))
    if not found:
        return None
    offset = str(tags.get(formats.EXIF_TAKEN_OFFSET, ""))
    year, month, day, hour, minute, second = found.groups()
    zone = offset if _OFFSET.fullmatch(offset) else "Z"
    try:
        taken = datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}{zone}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None
    return taken if taken >= _EARLIEST else None


def _place(exif: bytes) -> dict[str, float | str]:
    _, gps = formats.read_exif(exif)
    latitude = _degrees(gps.get(2), gps.get(1), "NS", 90)
    longitude = _degrees(gps.get(4), gps.get(3), "EW", 180)
    place: dict[str, float | str] = {}
    # 0, 0 lies in the Gulf of Guinea and is what receivers without a fix write.
    if latitude is not None and longitude is not None and (latitude or longitude):
        place = {"latitude": latitude, "longitude": longitude}
    match gps.get(6):
        case (float(altitude),) if altitude <= 20_000:
            below_sea_level = gps.get(5) in ((1,), (3,))
            place["altitude"] = -altitude if below_sea_level else altitude
    return place


def _degrees(value: formats.ExifValue | None, reference: object, letters: str, limit: int) -> float | None:
    match value, reference:
        case (float(whole), float(minutes), float(seconds)), str(letter) if letter and letter in letters:
            degrees = whole + minutes / 60 + seconds / 3600
        case _:
            return None
    if not math.isfinite(degrees) or degrees > limit or minutes >= 60 or seconds >= 60:
        return None
    return round(-degrees if letter == letters[1] else degrees, 7)
