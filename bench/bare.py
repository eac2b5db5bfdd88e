"""The bare limits: the least that would have to be done in any case, with nothing of the product around it.

`disk` writes a file, flushes it and commits a row; `pillow` makes what is made of a photograph. Each is a
process of its own, as the product's are: one JSON object in, one out.
"""

import asyncio
import io
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import asyncpg
import uvloop
from PIL import Image, ImageOps

from domain.images.processing import WEBP_METHOD, WEBP_QUALITY, resize

_TABLE = """CREATE TABLE IF NOT EXISTS bare_limit
    (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), path text NOT NULL, size bigint NOT NULL,
     at timestamptz NOT NULL DEFAULT now())"""
_INSERT = "INSERT INTO bare_limit (path, size) VALUES ($1, $2)"


def write(path: Path, data: bytes) -> None:
    """The bytes are on the disk when this returns."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
    try:
        os.write(descriptor, data)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


async def disk(spec: dict[str, Any]) -> dict[str, Any]:
    """As many files and rows as can be made safe, so many at once, in so many seconds."""
    folder, at_once = _folder(spec), spec["at_once"]
    image, numbers, done = _read(spec["image"]), count(), 0
    threads = ThreadPoolExecutor(at_once)
    loop = asyncio.get_running_loop()
    async with asyncpg.create_pool(spec["database_url"], min_size=at_once, max_size=at_once) as pool:
        await pool.execute(_TABLE)
        cpu, started = _cpu(), time.perf_counter()

        async def work() -> None:
            nonlocal done
            async with pool.acquire() as connection:
                while time.perf_counter() - started < spec["seconds"]:
                    path = folder / f"{next(numbers)}.jpg"
                    await loop.run_in_executor(threads, write, path, image)
                    await connection.execute(_INSERT, path.name, len(image))
                    done += 1

        await asyncio.gather(*(work() for _ in range(at_once)))
        seconds = time.perf_counter() - started
        return {"count": done, "seconds": seconds, "cpu": _cpu() - cpu}


def picture(original: Path, folder: Path) -> None:
    """Everything that is made of a photograph, by the shortest way that Pillow has."""
    image = ImageOps.exif_transpose(Image.open(io.BytesIO(original.read_bytes()))).convert("RGB")
    small = image.reduce(max(1, min(image.size) // 400))
    thumbnail = ImageOps.fit(small, (200, 200))
    small.convert("L").resize((9, 8), Image.Resampling.BILINEAR).tobytes()
    for name, made in (("display", image), ("thumbnail", thumbnail)):
        target = io.BytesIO()
        made.save(target, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
        write(folder / f"{original.stem}-{name}.webp", target.getvalue())


async def pillow(spec: dict[str, Any]) -> dict[str, Any]:
    """So many photographs, by so many threads."""
    folder = _folder(spec)
    paths = [Path(path) for path in spec["images"]]
    picture(paths[0], folder)  # Pillow loads its plugins at the first
    cpu, started = _cpu(), time.perf_counter()
    with ThreadPoolExecutor(spec["threads"]) as threads:
        for number in range(spec["count"]):
            threads.submit(picture, paths[number % len(paths)], folder)
    return {"count": spec["count"], "seconds": time.perf_counter() - started, "cpu": _cpu() - cpu}


def _thumbnail(original: Path, folder: Path, side: int) -> None:
    """The shortest way that Pillow has; the decoder leaves out what will not be seen."""
    image = Image.open(io.BytesIO(original.read_bytes()))
    image.thumbnail((side, side))
    target = io.BytesIO()
    ImageOps.exif_transpose(image).save(target, "WEBP", quality=WEBP_QUALITY, method=WEBP_METHOD)
    write(folder / f"{original.stem}-{side}.webp", target.getvalue())


def _variant(original: Path, folder: Path, side: int) -> None:
    """As a worker makes it, rows aside."""
    write(folder / f"{original.stem}-{side}.webp", resize(io.BytesIO(original.read_bytes()), side=side).data)


async def thumbnails(spec: dict[str, Any]) -> dict[str, Any]:
    """So many thumbnails as the product makes them, by so many threads."""
    return _resized(spec, _variant)


async def bare_thumbnails(spec: dict[str, Any]) -> dict[str, Any]:
    """The same by Pillow alone."""
    return _resized(spec, _thumbnail)


def _resized(spec: dict[str, Any], make: Callable[[Path, Path, int], None]) -> dict[str, Any]:
    folder, paths = _folder(spec), [Path(path) for path in spec["images"]]
    make(paths[0], folder, spec["side"])
    cpu, started = _cpu(), time.perf_counter()
    with ThreadPoolExecutor(spec["threads"]) as threads:
        made = [threads.submit(make, paths[at % len(paths)], folder, spec["side"]) for at in range(spec["count"])]
    for one in made:
        one.result()
    return {"count": spec["count"], "seconds": time.perf_counter() - started, "cpu": _cpu() - cpu}


def _folder(spec: dict[str, Any]) -> Path:
    folder = Path(spec["folder"])
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _read(path: str) -> bytes:
    return Path(path).read_bytes()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


_LIMITS = {"disk": disk, "pillow": pillow, "thumbnails": thumbnails, "bare_thumbnails": bare_thumbnails}

if __name__ == "__main__":
    given = json.load(sys.stdin)
    json.dump(uvloop.run(_LIMITS[given.pop("limit")](given)), sys.stdout)
