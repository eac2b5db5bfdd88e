"""Images a second that a worker process makes ready, beside bare Pillow with as many threads in one process.

The worker stands still until all are accepted and sent to it, so that only processing is measured.
"""

import shutil
import signal
import time
from pathlib import Path
from typing import Any

from bench.fleet import Fleet, apart, photographs
from bench.report import Report, shares, typical

ROUNDS = 3
IMAGES = 100
THREADS = 2
GOAL = 0.90


async def measure(fleet: Fleet) -> Report:
    images = photographs(fleet.folder / "shelves", 20)
    await _product(fleet, images, 10)
    ours: list[dict[str, Any]] = []
    bare: list[dict[str, Any]] = []
    for _ in range(ROUNDS):
        bare.append(await _bare(fleet, images))
        ours.append(await _product(fleet, images, IMAGES))
    bare.append(await _bare(fleet, images))
    rates, limits = [_rate(one) for one in ours], [_rate(one) for one in bare]
    each = shares(rates, limits)
    report = Report("processing")
    report.add(
        f"images made ready, {THREADS} threads",
        typical(rates),
        "/s",
        bare=typical(limits),
        goal=f"≥ {GOAL:.0%} of bare",
        met=typical(each) >= GOAL,
        note="rounds: " + ", ".join(f"{one:.2f}" for one in each),
        share=typical(each),
    )
    for name in ("worker", "postgres", "relay", "api", "redis"):
        report.add(f"CPU of {name}", typical([one["costs"][name] for one in ours]), "ms/image")
    report.add("CPU of bare Pillow", typical([one["cpu"] * 1000 / one["count"] for one in bare]), "ms/image")
    return report


def _rate(result: dict[str, Any]) -> float:
    return float(result["count"] / result["seconds"])


async def _product(fleet: Fleet, images: list[Path], count: int) -> dict[str, Any]:
    await fleet.settled()
    with fleet.processes.paused():
        await fleet.upload(images, 8, count=count)
        await fleet.relayed()
        before, started = fleet.processes.cpu(), time.time()
        fleet.processes.worker.send_signal(signal.SIGCONT)
        await fleet.settled(every=0.5)  # seldom: asking takes time from what is measured
    ended = await fleet.database.fetchval("SELECT max(processed_at) FROM images")
    seconds = ended.timestamp() - started
    after = fleet.processes.cpu()
    costs = {name: (after[name] - used) * 1000 / count for name, used in before.items()}
    return {"count": count, "seconds": seconds, "costs": costs}


async def _bare(fleet: Fleet, images: list[Path]) -> dict[str, Any]:
    folder = fleet.stack.data_dir / "storage" / "bare"
    paths = [str(path) for path in images]
    spec = {"limit": "pillow", "images": paths, "folder": str(folder), "count": IMAGES, "threads": THREADS}
    result = await apart("bench.bare", spec)
    shutil.rmtree(folder)
    return result
