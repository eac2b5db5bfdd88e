"""Uploads a second that are accepted durably, beside a loop that only writes, flushes and commits.

Measured with the worker standing still (what accepting costs) and with it running (what a fleet sees while
its photographs are processed on the same cores).
"""

import shutil
from pathlib import Path
from typing import Any

from bench.fleet import UPLOAD_BYTES, Fleet, apart, photographs
from bench.report import Report, typical

ROUNDS = 3
SECONDS = 4.0
GOAL = 0.70
_COSTS = ("api", "postgres", "relay", "redis", "load")


async def measure(fleet: Fleet, *, rounds: int = ROUNDS, seconds: float = SECONDS) -> Report:
    images = photographs(fleet.folder / "photographs", 1, size=UPLOAD_BYTES)
    await _product(fleet, images, 8, 1.0)  # caches, statements, folders
    eights: list[dict[str, Any]] = []
    ones, running, bare_eights, bare_ones = (list[dict[str, Any]]() for _ in range(4))
    for _ in range(rounds):
        bare_eights.append(await _bare(fleet, images[0], 8, seconds))
        eights.append(await _product(fleet, images, 8, seconds))
        running.append(await _product(fleet, images, 8, seconds, worker_runs=True))
        bare_ones.append(await _bare(fleet, images[0], 1, seconds))
        ones.append(await _product(fleet, images, 1, seconds))
    report = Report("uploads")
    limit_of_eight, limit_of_one = _rate(bare_eights), _rate(bare_ones)
    accepted = _rate(eights)
    met = accepted >= GOAL * limit_of_eight
    goal = f"≥ {GOAL:.0%} of bare"
    report.add("accepted, 8 connections", accepted, "/s", bare=limit_of_eight, goal=goal, met=met, note=_spread(eights))
    report.add("accepted, 8 connections, worker running", _rate(running), "/s", bare=limit_of_eight)
    report.add("accepted, 1 connection", _rate(ones), "/s", bare=limit_of_one)
    report.add("latency p50, 8 connections", typical([one["p50"] * 1000 for one in eights]), "ms")
    report.add("latency p99, 8 connections", typical([one["p99"] * 1000 for one in eights]), "ms")
    for name in _COSTS:
        report.add(f"CPU of {name}", typical([one["costs"][name] for one in eights]), "ms/upload")
    for name in ("loop", "postgres"):
        report.add(f"CPU of the bare limit's {name}", typical([one["costs"][name] for one in bare_eights]), "ms/upload")
    return report


def _rate(results: list[dict[str, Any]]) -> float:
    return typical([one["count"] / one["seconds"] for one in results])


def _spread(results: list[dict[str, Any]]) -> str:
    return "rounds: " + ", ".join(f"{one['count'] / one['seconds']:.0f}" for one in results)


async def _product(
    fleet: Fleet, images: list[Path], connections: int, seconds: float, *, worker_runs: bool = False
) -> dict[str, Any]:
    if worker_runs:
        result = await _loaded(fleet, images, connections, seconds)
        with fleet.processes.paused():
            await fleet.relayed()
            await fleet.database.execute("UPDATE images SET status = 'READY' WHERE status = 'RECEIVED'")
    else:
        with fleet.processes.paused():
            result = await _loaded(fleet, images, connections, seconds)
            await fleet.relayed()
            await fleet.database.execute("UPDATE images SET status = 'READY' WHERE status = 'RECEIVED'")
    await fleet.settled()
    await fleet.database.execute("CHECKPOINT")
    if set(result["statuses"]) != {"201"}:
        raise RuntimeError(f"uploads were not accepted: {result['statuses']}")
    return result


async def _loaded(fleet: Fleet, images: list[Path], connections: int, seconds: float) -> dict[str, Any]:
    before = fleet.processes.cpu()
    result = await fleet.upload(images, connections, seconds=seconds)
    used = {name: value - before[name] for name, value in fleet.processes.cpu().items()}
    used["load"] = result["cpu"]
    result["costs"] = {name: value * 1000 / result["count"] for name, value in used.items()}
    return result


async def _bare(fleet: Fleet, image: Path, at_once: int, seconds: float) -> dict[str, Any]:
    folder = fleet.stack.data_dir / "storage" / "bare"
    before = fleet.processes.cpu()
    result = await apart(
        "bench.bare",
        {
            "limit": "disk",
            "database_url": fleet.database_url,
            "folder": str(folder),
            "image": str(image),
            "at_once": at_once,
            "seconds": seconds,
        },
    )
    postgres = fleet.processes.cpu()["postgres"] - before["postgres"]
    result["costs"] = {"loop": result["cpu"] * 1000 / result["count"], "postgres": postgres * 1000 / result["count"]}
    shutil.rmtree(folder)
    await fleet.database.execute("DROP TABLE bare_limit")
    await fleet.database.execute("CHECKPOINT")
    return result
