"""Uploads a second that are accepted durably, beside a loop that only writes, flushes and commits.

The bare limit is measured with as many at once as there are connections, and with one. The product is measured
with the worker standing still (what accepting costs) and with it running (what a fleet sees while its
photographs are processed on the same cores).
"""

import shutil
from pathlib import Path
from typing import Any

from bench.fleet import UPLOAD_BYTES, Fleet, apart, photographs
from bench.report import Report, shares, typical

ROUNDS = 5
SECONDS = 2.0
GOAL = 0.70
CONNECTIONS = 8
_COSTS = ("api", "postgres", "relay", "redis", "load")

Results = list[dict[str, Any]]


async def measure(fleet: Fleet) -> Report:
    images = photographs(fleet.folder / "photographs", 1, size=UPLOAD_BYTES)
    await _paused(fleet, images, CONNECTIONS, 1.0)  # caches, statements, folders
    many, running, single = Results(), Results(), Results()
    bare_many, bare_single = Results(), Results()
    for _ in range(ROUNDS):
        bare_many.append(await _bare(fleet, images[0], CONNECTIONS))
        many.append(await _paused(fleet, images, CONNECTIONS, SECONDS))
        running.append(await _running(fleet, images))
        bare_single.append(await _bare(fleet, images[0], 1))
        single.append(await _paused(fleet, images, 1, SECONDS))
    bare_many.append(await _bare(fleet, images[0], CONNECTIONS))
    bare_single.append(await _bare(fleet, images[0], 1))
    report = Report("uploads")
    _rates(report, many, running, single, bare_many, bare_single)
    _costs(report, many, bare_many)
    return report


def _rates(
    report: Report, many: Results, running: Results, single: Results, bare_many: Results, bare_single: Results
) -> None:
    at_once = f"{CONNECTIONS} connections"
    goal = f"≥ {GOAL:.0%} of bare"
    _add(report, f"accepted, {at_once}; bare: {CONNECTIONS} at once", many, bare_many, goal)
    _add(report, f"accepted, {at_once}; bare: one loop", many, bare_single)
    _add(report, "… with the worker running; bare: one loop", running, bare_single)
    _add(report, "accepted, 1 connection; bare: one loop", single, bare_single)
    for name in ("p50", "p99"):
        report.add(f"latency {name}, {at_once}", typical([one[name] * 1000 for one in many]), "ms")


def _add(report: Report, what: str, ours: Results, bare: Results, goal: str = "") -> None:
    rates, limits = [_rate(one) for one in ours], [_rate(one) for one in bare]
    each = shares(rates, limits)
    report.add(
        what,
        typical(rates),
        "/s",
        bare=typical(limits),
        goal=goal,
        met=typical(each) >= GOAL if goal else None,
        note="rounds: " + ", ".join(f"{one:.2f}" for one in each),
        share=typical(each),
    )


def _costs(report: Report, ours: Results, bare: Results) -> None:
    for name in _COSTS:
        report.add(f"CPU of {name}", typical([one["costs"][name] for one in ours]), "ms/upload")
    for name in ("loop", "postgres"):
        report.add(f"CPU of the bare {name}", typical([one["costs"][name] for one in bare]), "ms/upload")


def _rate(result: dict[str, Any]) -> float:
    return float(result["count"] / result["seconds"])


async def _paused(fleet: Fleet, images: list[Path], connections: int, seconds: float) -> dict[str, Any]:
    with fleet.processes.paused():
        result = await _loaded(fleet, images, connections, seconds)
        await fleet.drop_backlog()
    await fleet.settled()
    return result


async def _running(fleet: Fleet, images: list[Path]) -> dict[str, Any]:
    result = await _loaded(fleet, images, CONNECTIONS, SECONDS)
    with fleet.processes.paused():
        await fleet.drop_backlog()
    await fleet.settled()
    return result


async def _loaded(fleet: Fleet, images: list[Path], connections: int, seconds: float) -> dict[str, Any]:
    before = fleet.processes.cpu()
    result = await fleet.upload(images, connections, seconds=seconds)
    used = {name: value - before[name] for name, value in fleet.processes.cpu().items()}
    used["load"] = result["cpu"]
    result["costs"] = {name: value * 1000 / result["count"] for name, value in used.items()}
    if set(result["statuses"]) != {"201"}:
        raise RuntimeError(f"uploads were not accepted: {result['statuses']}")
    return result


async def _bare(fleet: Fleet, image: Path, at_once: int) -> dict[str, Any]:
    folder = fleet.stack.data_dir / "storage" / "bare"
    spec = {"folder": str(folder), "image": str(image), "at_once": at_once, "seconds": SECONDS}
    before = fleet.processes.cpu()["postgres"]
    result = await apart("bench.bare", {"limit": "disk", "database_url": fleet.database_url, **spec})
    costs = {"loop": result["cpu"], "postgres": fleet.processes.cpu()["postgres"] - before}
    result["costs"] = {name: value * 1000 / result["count"] for name, value in costs.items()}
    shutil.rmtree(folder)
    await fleet.database.execute("DROP TABLE bare_limit")
    await fleet.database.execute("CHECKPOINT")
    return result
