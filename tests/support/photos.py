"""Photos for tests: small, real, each different, quick to make."""

import io
import random

from PIL import Image


def photo(
    seed: int | None = None, *, size: tuple[int, int] = (320, 240), format: str = "JPEG", **save: object
) -> bytes:
    """An encoded picture. The same seed gives the same bytes; none gives a new picture each time."""
    rng = random.Random(seed)
    small = Image.frombytes("RGB", (8, 6), rng.randbytes(8 * 6 * 3))
    buffer = io.BytesIO()
    small.resize(size, Image.Resampling.BICUBIC).save(buffer, format, **save)
    return buffer.getvalue()


def padded(jpeg: bytes, size: int) -> bytes:
    """The same picture in a file of exactly this size, by comments in front of it."""
    missing, comments = size - len(jpeg), []
    while missing:
        # Its marker and its own length take 4 bytes, and what is left over must not be less than that.
        length = missing if missing <= 65_000 else min(65_000, missing - 4)
        comments.append(b"\xff\xfe" + (length - 2).to_bytes(2) + bytes(length - 4))
        missing -= length
    return b"".join((jpeg[:2], *comments, jpeg[2:]))
