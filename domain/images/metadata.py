"""The same picture without what its file tells of the photographer: EXIF with its GPS position, XMP, IPTC,
comments, embedded previews, whatever follows the end. What decides how the pixels look stays: colour profiles, and
the orientation. What is kept is named here, not what is dropped, so that what nobody knows is dropped as well.
Compressed pixels are copied, never decoded."""

import struct
import zlib
from collections.abc import Callable, Iterator

from domain.images.formats import (
    EXIF_ORIENTATION,
    PNG_END,
    PNG_MAGIC,
    inspect,
    jpeg_segments,
    png_chunks,
    read_exif,
    webp_chunks,
)


def without_metadata(data: bytes) -> bytes | None:
    """The image's file without its metadata; None when there is nothing to take away. Raises NotAnImage for what
    `inspect` refuses, and for a JPEG with more segments between its scans than any has."""
    structure = inspect(data)
    cleaner, turned = _CLEANERS[structure.content_type], _orientation(structure.exif)
    del structure  # it holds a copy of the file
    clean = b"".join(cleaner(data, turned))
    return None if clean == data else clean


def _orientation(exif: bytes) -> bytes:
    """A TIFF block that says how the picture is turned, and nothing else; b"" for one that is upright."""
    tags, _ = read_exif(exif)
    match tags.get(EXIF_ORIENTATION):
        case (value,) if value in range(2, 9):
            entry = struct.pack(">HHIHH", EXIF_ORIENTATION, 3, 1, int(value), 0)
            return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + bytes(4)
    return b""


# Frame headers, tables, restart intervals and scans.
_JPEG_KEPT = frozenset({*range(0xC0, 0xD0), *range(0xDA, 0xE0)})
_JFIF_BYTES, _ADOBE_BYTES = 14, 12


def _clean_jpeg(data: bytes, exif: bytes) -> Iterator[bytes]:
    yield b"\xff\xd8"
    scan_at = 0  # where the data of the last scan goes on; 0 before the first
    for marker, start, end in jpeg_segments(data):
        if scan_at:
            yield data[scan_at:start]
        if marker == 0xD9:
            break
        if marker in _JPEG_KEPT:
            yield data[start:end]
            if end >= len(data):
                return  # damaged: it claims to reach beyond the end, which it therefore holds
        elif scan_at:
            # Emptied, not taken out: where a scan is damaged, its data ends at any marker. Without it the decoder
            # would go on, and show other pixels.
            yield _segment(marker, b"")
        elif marker == 0xE1 and data.startswith(b"Exif\0\0", start + 4):
            yield _segment(marker, b"Exif\0\0" + exif) if exif else b""
            exif = b""
        else:
            yield _colours(marker, data[start + 4 : end])
        if scan_at or marker == 0xDA:
            scan_at = end
    yield b"\xff\xd9"


def _colours(marker: int, body: bytes) -> bytes:
    """Of a segment for applications, what says how colours are stored; b"" where that is nothing."""
    if marker == 0xE0 and body.startswith(b"JFIF\0") and len(body) >= _JFIF_BYTES:
        return _segment(marker, body[: _JFIF_BYTES - 2] + b"\0\0")  # a preview of 0×0 pixels
    if marker == 0xEE and body.startswith(b"Adobe"):
        return _segment(marker, body[:_ADOBE_BYTES])
    if marker == 0xE2 and body.startswith(b"ICC_PROFILE\0"):
        return _segment(marker, body)
    return b""


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


# An animation's frames are not among them: the still picture of such a file is what is looked at and served.
_PNG_KEPT = frozenset(
    {b"IHDR", b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"cICP", b"bKGD", b"IDAT"},
)


def _clean_png(data: bytes, exif: bytes) -> Iterator[bytes]:
    yield PNG_MAGIC
    for name, start, end in png_chunks(data):
        if name == b"IDAT" and exif:
            content = b"eXIf" + exif
            yield struct.pack(">I", len(exif)) + content + struct.pack(">I", zlib.crc32(content))
            exif = b""
        if name in _PNG_KEPT:
            yield data[start:end]
    yield PNG_END


_WEBP_KEPT = frozenset({b"VP8 ", b"VP8L", b"ALPH", b"ICCP", b"ANIM", b"ANMF"})
_WEBP_EXTENDED_AT = 20  # where the body of VP8X begins, which is the first chunk or not there
_WEBP_EXIF_FLAG = 0x08
_WEBP_XMP_FLAG = 0x04


def _clean_webp(data: bytes, exif: bytes) -> Iterator[bytes]:
    chunks = b"".join(_webp_kept(data, exif))
    yield b"RIFF" + struct.pack("<I", len(chunks) + 4) + b"WEBP" + chunks


def _webp_kept(data: bytes, exif: bytes) -> Iterator[bytes]:
    extended = data.startswith(b"VP8X", 12)
    for name, start, end in webp_chunks(data):
        if extended and start == _WEBP_EXTENDED_AT:
            flags = data[start] & ~(_WEBP_EXIF_FLAG | _WEBP_XMP_FLAG) | (_WEBP_EXIF_FLAG if exif else 0)
            yield _webp_chunk(name, bytes([flags]) + data[start + 1 : end])
        elif name in _WEBP_KEPT:
            yield _webp_chunk(name, data[start:end])
    if extended and exif:
        yield _webp_chunk(b"EXIF", exif)


def _webp_chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + bytes(len(body) & 1)


_CLEANERS: dict[str, Callable[[bytes, bytes], Iterator[bytes]]] = {
    "image/jpeg": _clean_jpeg,
    "image/png": _clean_png,
    "image/webp": _clean_webp,
}
