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
