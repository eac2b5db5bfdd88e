"""From the 201 to the subscriber's `image.ready`, on an idle system, one photograph at a time, beside the bare
time that the same photograph takes in Pillow. Also where the time goes, by what the server wrote down.
"""

import asyncio
import json
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from bench.bare import picture
from bench.fleet import Fleet, different, photographs
from bench.report import Report, percentile, typical
from tests.support.live import Socket, Subscription

IMAGES = 60
GOAL_MS = 50.0
_QUERY = "subscription { imageUpdates { type event { subjectId } } }"
_IDLE_SECONDS = 5.0
_STAGES = ("until the worker has it", "in the worker", "into the log", "to the subscriber")


@dataclass(frozen=True)
class _Sight:
    """Seconds since the epoch: when the 201 came, and when the event did."""

    image_id: str
    accepted: float
    seen: float


async def measure(fleet: Fleet) -> Report:
    originals = photographs(fleet.folder / "shelves", 20)
    scratch = fleet.stack.data_dir / "storage" / "bare"
    scratch.mkdir(parents=True, exist_ok=True)
    sights, bare = [], []
    async with Socket.opened(fleet.stack.url, fleet.org.viewer.token) as socket:
        updates = await socket.subscribe(_QUERY)
        await _photograph(fleet, updates, originals[0])  # statements and plans
        picture(originals[0], scratch)
        for number in range(IMAGES):
            original = originals[number % len(originals)]
            await fleet.settled()
            sights.append(await _photograph(fleet, updates, original))
            await fleet.settled()
            started = time.perf_counter()
            await asyncio.to_thread(picture, original, scratch)
            bare.append((time.perf_counter() - started) * 1000)
    report = _told(sights, bare)
    await _where(fleet, sights, report)
    await _idle(fleet, report)
    return report


async def _photograph(fleet: Fleet, updates: Subscription, original: Path) -> _Sight:
    image = await asyncio.to_thread(original.read_bytes)
    answer = await fleet.devices[0].upload(different(image))
    accepted = time.time()
    image_id = answer.json()["imageId"]
    while True:
        update = (await updates.next())["imageUpdates"]
        if update["type"] == "image.ready" and update["event"]["subjectId"] == image_id:
            return _Sight(image_id, accepted, time.time())


def _told(sights: list[_Sight], bare: list[float]) -> Report:
    report = Report("latency")
    took = [(sight.seen - sight.accepted) * 1000 for sight in sights]
    p50, bare_p50 = percentile(took, 0.5), percentile(bare, 0.5)
    report.add(
        "201 to image.ready, p50",
        p50,
        "ms",
        bare=bare_p50,
        goal=f"≤ bare + {GOAL_MS:.0f} ms",
        met=p50 <= bare_p50 + GOAL_MS,
        note=f"{p50 - bare_p50:+.0f} ms",
    )
    report.add("201 to image.ready, p99", percentile(took, 0.99), "ms", bare=percentile(bare, 0.99))
    return report


async def _where(fleet: Fleet, sights: list[_Sight], report: Report) -> None:
    """Split the time by what the worker logged and when the log got the event."""
    jobs = _jobs(fleet.stack.output())
    statement = "SELECT recorded_at FROM events WHERE subject_id = $1 AND type = 'image.ready'"
    stages: dict[str, list[float]] = {name: [] for name in _STAGES}
    for sight in sights:
        ended, seconds = jobs[sight.image_id]
        recorded = (await fleet.database.fetchval(statement, sight.image_id)).timestamp()
        parts = (ended - seconds - sight.accepted, seconds, recorded - ended, sight.seen - recorded)
        for stage, part in zip(stages.values(), parts, strict=True):
            stage.append(part * 1000)
    for name, values in stages.items():
        report.add(f"… {name}, p50", typical(values), "ms", note=f"p99 {percentile(values, 0.99):.1f} ms")


def _jobs(log: str) -> dict[str, tuple[float, float]]:
    """When the job of each image ended and how long it took, in seconds."""
    found = {}
    for line in log.splitlines():
        if line.startswith("{") and '"job done"' in line:
            entry: dict[str, Any] = json.loads(line)
            ended = datetime.fromisoformat(entry["timestamp"]).timestamp()
            found[entry["image_id"]] = (ended, entry["ms"] / 1000)
    return found


async def _idle(fleet: Fleet, report: Report) -> None:
    """What waiting costs."""
    before = fleet.processes.cpu()
    await asyncio.sleep(_IDLE_SECONDS)
    for name, used in fleet.processes.cpu().items():
        report.add(f"idle CPU of {name}", (used - before[name]) / _IDLE_SECONDS * 100, "% of a core")
