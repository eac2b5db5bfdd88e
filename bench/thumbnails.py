"""Thumbnails a second of a shelf of 1600×1200 as WebP with no side above 512 pixels, by two threads
as a worker makes variants, and by the shortest way that Pillow has. Each in a process of its own.
"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.fleet import apart, photographs
from bench.report import Report, shares, typical

ROUNDS = 3
IMAGES = 200
THREADS = 2
SIDE = 512
GOAL = 22


async def measure() -> Report:
    with TemporaryDirectory(prefix="qm-bench-") as folder:
        images = photographs(Path(folder) / "shelves", 20)
        results: dict[str, list[dict[str, Any]]] = {"thumbnails": [], "bare_thumbnails": []}
        for _ in range(ROUNDS):
            for limit, made in results.items():
                paths = [str(path) for path in images]
                spec = {"limit": limit, "images": paths, "count": IMAGES, "threads": THREADS, "side": SIDE}
                made.append(await apart("bench.bare", {**spec, "folder": str(Path(folder) / "made")}))
    ours, bare = ([one["count"] / one["seconds"] for one in made] for made in results.values())
    report = Report("thumbnails")
    report.add(
        f"WebP of {SIDE} px, {THREADS} threads",
        typical(ours),
        "/s",
        bare=typical(bare),
        goal=f"≥ {GOAL}",
        met=typical(ours) >= GOAL,
        share=typical(shares(ours, bare)),
    )
    for name, made in zip(("", " of bare Pillow"), results.values(), strict=True):
        report.add(f"CPU{name}", typical([one["cpu"] * 1000 / one["count"] for one in made]), "ms/image")
    return report
