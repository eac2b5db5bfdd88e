"""How the WebP encoder's `method` trades CPU time for bytes, over drawn shelf photographs: the measurement
behind `WEBP_METHOD` in `domain/images/processing.py`. It says nothing of decoding or the rest of the work.

    python -m bench.webp_method [photographs] [repeats]
"""

import io
import random
import sys
import time
from datetime import UTC, datetime, timedelta

from PIL import Image

from domain.images.processing import WEBP_METHOD, WEBP_QUALITY
from server.demo.shelf import Shelf


def photographs(count: int) -> list[Image.Image]:
    """Decoded 1600×1200 photographs of different shelves, in daylight and with a weak battery."""
    rng = random.Random(7)
    shots = []
    for number in range(count):
        shelf = Shelf(number)
        shelf.consume(rng)
        at = datetime(2026, 11, 1, 8, tzinfo=UTC) + timedelta(hours=number)
        jpeg = shelf.photograph(at=at, battery_pct=rng.uniform(5, 100), signal=rng.uniform(-90, -50))
        shots.append(Image.open(io.BytesIO(jpeg)).convert("RGB"))
    return shots


def encode(image: Image.Image, method: int, repeats: int) -> tuple[float, int]:
    """(the least CPU time of several runs in ms, bytes)"""
    times = []
    for _ in range(repeats):
        target = io.BytesIO()
        started = time.process_time()
        image.save(target, "WEBP", quality=WEBP_QUALITY, method=method)
        times.append((time.process_time() - started) * 1000)
    return min(times), len(target.getvalue())


def main(count: int = 4, repeats: int = 3) -> None:
    shots = photographs(count)
    rows = {}
    for method in range(7):
        measured = [encode(shot, method, repeats) for shot in shots]
        rows[method] = (
            sum(ms for ms, _ in measured) / count,
            sum(size for _, size in measured) / count / 1000,
        )
    base_ms, base_kb = rows[4]
    print(f"WebP quality {WEBP_QUALITY}, {count} photographs of 1600×1200, best of {repeats}")
    print("method   CPU ms      kB   ms/method 4   kB/method 4")
    for method, (ms, kb) in rows.items():
        chosen = "  <- WEBP_METHOD" if method == WEBP_METHOD else ""
        print(f"{method:6} {ms:8.1f} {kb:7.1f} {ms / base_ms:13.2f} {kb / base_kb:13.2f}{chosen}")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:3]))
