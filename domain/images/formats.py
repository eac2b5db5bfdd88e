"""What the bytes of a JPEG, PNG or WebP say without being decoded: whether the file is whole, how large the
picture is, which of its parts describe pixels and which describe the photographer. Standard library only, so
the API process can afford it on every upload. Pixels, and all that needs Pillow, are in `processing.py`; the
file without what describes the photographer is made in `metadata.py`."""

import math
import re
import struct
import zlib
from collections.abc import Callable, Iterator, Set
from dataclasses import dataclass, field

CONTENT_TYPES = {"image/jpeg": "jpg", "image/png": "png", "image/webp": "webp"}

HEAD_BYTES = 64
TAIL_BYTES = 64

# More parts than any camera or editor writes. Each costs an interpreter's loop here and an object in a
# decoder, so a file made of nothing but tiny parts would otherwise hold a worker for minutes.
MAX_PARTS = 50_000
# A progressive JPEG has about ten scans. Each visits every block of the picture in C, where no time limit
# reaches it: thousands of empty scans in one small file are a known way to stop a decoder.
MAX_SCANS = 64

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
PNG_END = b"\0\0\0\0IEND" + struct.pack(">I", zlib.crc32(b"IEND"))
_WEBP_KINDS = (b"VP8 ", b"VP8L", b"VP8X")


class NotAnImage(Exception):
    """The bytes are no whole image. `code` is NOT_AN_IMAGE, TRUNCATED or, from `inspect`, CORRUPT."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


# Whole or not: head, tail and length only.


def sniff(head: bytes) -> str:
    """The content type the first 16 bytes show. Raises NotAnImage NOT_AN_IMAGE."""
    if head.startswith(b"\xff\xd8\xff"):
        return "image/jpeg"
    if head.startswith(PNG_MAGIC):
        return "image/png"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP" and head[12:16] in _WEBP_KINDS:
        return "image/webp"
    if not head:
        raise NotAnImage("NOT_AN_IMAGE", "the file is empty")
    raise NotAnImage("NOT_AN_IMAGE", "the file is not a JPEG, PNG or WebP image")


def check_whole(head: bytes, tail: bytes, size: int) -> str:
    """The content type of a file of `size` bytes that starts with `head` (HEAD_BYTES or the whole file) and
    ends with `tail` (TAIL_BYTES or the whole file; of the NULs at the end of a file one is enough). Raises
    NotAnImage: NOT_AN_IMAGE or TRUNCATED.

    This finds an upload that was cut short, not damage in the middle: only decoding finds that.
    """
    kind = sniff(head)
    if kind == "image/jpeg":
        _check_jpeg_end(tail)
    elif kind == "image/png":
        _check_png_end(tail)
    else:
        _check_riff_size(head, size)
    return kind


def _check_jpeg_end(tail: bytes) -> None:
    # Some ESP32 cameras send their frame buffer whole, so the photo is followed by NUL padding.
    if not tail.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise NotAnImage("TRUNCATED", "the JPEG has no end-of-image marker")


def _check_png_end(tail: bytes) -> None:
    if not tail.endswith(PNG_END):
        raise NotAnImage("TRUNCATED", "the PNG does not end in its IEND chunk")


def _check_riff_size(head: bytes, size: int) -> None:
    declared = int.from_bytes(head[4:8], "little") + 8
    # RIFF pads to an even length and does not count the padding.
    if size not in (declared, declared + (declared & 1)):
        raise NotAnImage("TRUNCATED", f"the WebP declares {declared} bytes and has {size}")


class Completeness:
    """`check_whole` for bytes that arrive in pieces: keeps the head and the tail, never the whole file. The tail
    is what precedes the NULs at the end, however many these are."""

    def __init__(self) -> None:
        self.size = 0
        self._head = b""
        self._tail = b""
        self._nuls = 0  # after the tail

    def feed(self, chunk: bytes) -> None:
        if len(self._head) < HEAD_BYTES:
            self._head += chunk[: HEAD_BYTES - len(self._head)]
        self.size += len(chunk)
        content = chunk.rstrip(b"\0")
        if content:
            between = bytes(min(self._nuls, TAIL_BYTES))
            self._tail = (self._tail + between + content[-TAIL_BYTES:])[-TAIL_BYTES:]
            self._nuls = 0
        self._nuls += len(chunk) - len(content)

    def finish(self) -> str:
        """The content type of everything fed. Raises NotAnImage."""
        return check_whole(self._head, self._tail + bytes(min(self._nuls, 1)), self.size)


# The structure of a whole file: what a decoder has to see, and what it must not.


@dataclass(frozen=True)
class Structure:
    content_type: str
    width: int  # px, as stored: before orientation
    height: int
    pixels: bytes  # the file reduced to what decides the pixels: hostile metadata never reaches a decoder
    exif: bytes = b""  # the TIFF block, without the "Exif" prefix
    icc: bytes = b""  # PNG only: the other formats' profiles are found by the decoder, uncompressed
    progressive: bool = False  # JPEG only; such a decoder holds all coefficients in memory


def inspect(data: bytes) -> Structure:
    """The structure of a whole file held in memory. Raises NotAnImage with all three codes."""
    whole = Completeness()
    whole.feed(data)
    kind = whole.finish()
    try:
        return _INSPECTORS[kind](data)
    except (struct.error, IndexError) as error:
        raise NotAnImage("CORRUPT", "the image's structure is damaged") from error


_SOF = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
# JFIF and Adobe segments say how colours are stored; APP2 carries the ICC profile. The rest is not of pixels.
_KEPT_APPS = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}


@dataclass
class _JpegHeader:
    kept: list[bytes] = field(default_factory=lambda: [b"\xff\xd8"])
    width: int = 0
    height: int = 0
    exif: bytes = b""
    progressive: bool = False

    def add(self, marker: int, segment: bytes, body: bytes) -> None:
        if marker in _SOF:
            if self.width:
                raise NotAnImage("CORRUPT", "the JPEG has two frame headers")
            self.height, self.width = struct.unpack_from(">HH", body, 1)
            self.progressive = marker in _PROGRESSIVE
        if marker == 0xE1 and body.startswith(b"Exif\0\0") and not self.exif:
            self.exif = body[6:]
        if 0xE0 <= marker <= 0xEF:
            prefix = _KEPT_APPS.get(marker)
            if prefix is None or not body.startswith(prefix):
                return
        if marker != 0xFE:  # comments
            self.kept.append(segment)


# The markers that begin a segment, and the end. Not those without a body: restarts within a scan, stuffed zeros.
_MARKER = re.compile(rb"\xff[\xc0-\xcf\xd9-\xfe]")


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment, scan headers and the end of the image among them. Between two of
    them lies the data of a scan; or stray and fill bytes, which are tolerated as every decoder does."""
    position = 2
    for _ in range(MAX_PARTS):
        found = _MARKER.search(data, position)
        if found is None:
            return
        marker, start = data[found.start() + 1], found.start()
        if marker == 0xD9:
            yield marker, start, start + 2
            return
        position = start + 2 + max(2, int.from_bytes(data[start + 2 : start + 4]))
        yield marker, start, position
    raise NotAnImage("CORRUPT", "the JPEG has too many segments")


def _inspect_jpeg(data: bytes) -> Structure:
    header = _JpegHeader()
    for marker, start, end in jpeg_segments(data):
        if marker == 0xD9:
            break
        if marker == 0xDA:
            return _jpeg_structure(header, data, start)
        header.add(marker, data[start:end], data[start + 4 : end])
    raise NotAnImage("CORRUPT", "the JPEG has no picture")


def _jpeg_structure(header: _JpegHeader, data: bytes, scans_at: int) -> Structure:
    if data.count(b"\xff\xda", scans_at) > MAX_SCANS:
        raise NotAnImage("CORRUPT", f"the JPEG has more than {MAX_SCANS} scans")
    pixels = b"".join((*header.kept, data[scans_at:]))
    return Structure("image/jpeg", header.width, header.height, pixels, header.exif, progressive=header.progressive)


# Not kept: text (may inflate a thousandfold), animation (what remains is its still picture), private chunks,
# and the colour profile, which is inflated here with a limit instead.
_PNG_KEPT = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT"})
MAX_ICC_BYTES = 2_000_000


def png_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk before IEND; length, name and checksum lie within start and end."""
    position = 8
    for _ in range(MAX_PARTS):
        (length,) = struct.unpack_from(">I", data, position)
        name = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data) or (position == 8) != (name == b"IHDR"):
            raise NotAnImage("CORRUPT", "the PNG's chunks are damaged")
        if name == b"IEND":
            return
        yield name, position, end
        position = end
    raise NotAnImage("CORRUPT", "the PNG has too many chunks")


def _inspect_png(data: bytes) -> Structure:
    width, height = struct.unpack_from(">II", data, 16)
    kept, others = [PNG_MAGIC], dict[bytes, bytes]()
    for name, start, end in png_chunks(data):
        if name in _PNG_KEPT:
            kept.append(data[start:end])
        elif name in (b"eXIf", b"iCCP"):
            others.setdefault(name, data[start + 8 : end - 4])
    pixels = b"".join((*kept, PNG_END))
    exif, icc = others.get(b"eXIf", b""), _inflated_icc(others.get(b"iCCP", b""))
    return Structure("image/png", width, height, pixels, exif, icc)


def _inflated_icc(chunk: bytes) -> bytes:
    """The profile in an iCCP chunk (name, NUL, method 0, zlib stream); b"" where damaged or too large."""
    _, _, packed = chunk.partition(b"\0")
    if packed[:1] != b"\0":
        return b""
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(packed[1:], MAX_ICC_BYTES)
    except zlib.error:
        return b""
    return profile if inflate.eof else b""


def webp_chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(name, start, end) of each chunk; its name and length are before them, a byte of padding may be after."""
    position = 12
    for _ in range(MAX_PARTS):
        if position + 8 > len(data):
            return
        name, length = struct.unpack_from("<4sI", data, position)
        yield name, position + 8, position + 8 + length
        position += 8 + length + (length & 1)
    raise NotAnImage("CORRUPT", "the WebP has too many chunks")


def _inspect_webp(data: bytes) -> Structure:
    width, height = _webp_size(data)
    exif = b""
    # A simple file (VP8, VP8L) is one chunk; only the extended form carries metadata.
    for name, start, end in webp_chunks(data):
        if name == b"EXIF" and not exif:
            exif = data[start:end].removeprefix(b"Exif\0\0")
    return Structure("image/webp", width, height, data, exif)


def _webp_size(data: bytes) -> tuple[int, int]:
    kind = data[12:16]
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = struct.unpack_from("<HH", data, 26)
    return width & 0x3FFF, height & 0x3FFF


_INSPECTORS: dict[str, Callable[[bytes], Structure]] = {
    "image/jpeg": _inspect_jpeg,
    "image/png": _inspect_png,
    "image/webp": _inspect_webp,
}


# EXIF: the few tags anybody here asks for. Pillow's reader copies every tag's value, and tags may overlap: 64
# kB of EXIF can be made to fill hundreds of megabytes. This one looks only at what it was asked for.

EXIF_ORIENTATION = 0x0112
EXIF_TAKEN = 0x9003  # DateTimeOriginal
EXIF_TAKEN_OFFSET = 0x9011  # OffsetTimeOriginal
_EXIF_POINTER = 0x8769
_GPS_POINTER = 0x8825
_GPS_TAGS = frozenset(range(1, 7))
_VALUE_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8}
_MAX_VALUE_BYTES = 64
_MAX_ENTRIES = 512

ExifValue = tuple[float, ...] | str
ExifTags = dict[int, ExifValue]


def read_exif(block: bytes) -> tuple[ExifTags, ExifTags]:
    """(the EXIF_* tags, the GPS tags 1–6) of a TIFF block: text, or numbers as a tuple. What is damaged is
    left out; nothing is raised."""
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[block[:4]]
        (start,) = struct.unpack_from(order + "I", block, 4)
        main = _read_ifd(block, order, start, {EXIF_ORIENTATION, _EXIF_POINTER, _GPS_POINTER})
        tags = {tag: main[tag] for tag in (EXIF_ORIENTATION,) if tag in main}
        tags |= _follow(block, order, main.get(_EXIF_POINTER), {EXIF_TAKEN, EXIF_TAKEN_OFFSET})
        return tags, _follow(block, order, main.get(_GPS_POINTER), _GPS_TAGS)
    except (KeyError, struct.error):
        return {}, {}


def _follow(block: bytes, order: str, pointer: ExifValue | None, wanted: Set[int]) -> ExifTags:
    if not isinstance(pointer, tuple) or len(pointer) != 1:
        return {}
    try:
        return _read_ifd(block, order, int(pointer[0]), wanted)
    except (struct.error, ValueError, OverflowError):
        return {}


def _read_ifd(block: bytes, order: str, start: int, wanted: Set[int]) -> ExifTags:
    (count,) = struct.unpack_from(order + "H", block, start)
    found: ExifTags = {}
    for entry in range(start + 2, start + 2 + 12 * min(count, _MAX_ENTRIES), 12):
        if entry + 12 > len(block):
            break
        tag, kind, length = struct.unpack_from(order + "HHI", block, entry)
        size = _VALUE_SIZES.get(kind, 0) * length
        if tag not in wanted or not 0 < size <= _MAX_VALUE_BYTES:
            continue
        at = entry + 8 if size <= 4 else struct.unpack_from(order + "I", block, entry + 8)[0]
        if at + size <= len(block):
            found.setdefault(tag, _value(block[at : at + size], order, kind, length))
    return found


def _value(raw: bytes, order: str, kind: int, length: int) -> ExifValue:
    if kind == 2:
        return raw.split(b"\0")[0].decode("ascii", "replace").strip()
    if kind == 5:
        parts = struct.unpack(f"{order}{length * 2}I", raw)
        return tuple(
            top / bottom if bottom else math.nan for top, bottom in zip(parts[::2], parts[1::2], strict=True)
        )
    return struct.unpack(f"{order}{length}{' B HI'[kind]}", raw)
