"""How fast images go whose time is over, on folder storage, and what uploads notice of it: their latency while a
cleanup works beside the same without one, round by round. The worker looks at what is uploaded both times.
"""

import asyncio
import time
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.fleet import UPLOAD_BYTES, Fleet, photographs
from bench.report import Report, typical
from domain.kit.ids import new_id

IMAGES = 4_000
ROUNDS = 3
SECONDS = 4.0
CONNECTIONS = 4
GOAL_RATE = 5_000
GOAL_SHARE = 1.25
_BYTES = (("originals", "jpg", UPLOAD_BYTES), ("display", "webp", 60_000), ("thumbnails", "webp", 8_000))
_CLEANUP = "mutation { cleanupImages(dryRun: false, maxShare: 1) { id } }"
_RUN = "query ($id: ID!) { cleanupRun(id: $id) { endedAt removed removedBlobs state stopMessage } }"


async def measure(fleet: Fleet) -> Report:
    images = photographs(fleet.folder / "photographs", 1, size=UPLOAD_BYTES)
    await _uploads(fleet, images)  # caches, statements, folders
    alone, beside, rates = [], [], []
    for _ in range(ROUNDS):
        alone.append(await _uploads(fleet, images))
        await _fill(fleet)
        run_id = await _begun(fleet)
        beside.append(await _uploads(fleet, images))
        await _ended(fleet, run_id)
    for _ in range(ROUNDS):
        await _fill(fleet)
        started = time.perf_counter()
        removed = await _ended(fleet, await _begun(fleet))
        rates.append(removed / (time.perf_counter() - started) * 60)
    report = Report("cleanup")
    rate = typical(rates)
    goal = f"≥ {GOAL_RATE:,}"
    report.add("images a minute, rows and files", rate, "/min", goal=goal, met=rate >= GOAL_RATE)
    for name in ("p50", "p99"):
        ours, bare = [one[name] * 1000 for one in beside], [one[name] * 1000 for one in alone]
        each = [one / other for one, other in zip(ours, bare, strict=True)]
        goal, met = "", None
        if name == "p99":
            goal, met = f"≤ {GOAL_SHARE} of without", typical(each) <= GOAL_SHARE
        note = "rounds: " + ", ".join(f"{one:.2f}" for one in each)
        what = f"upload {name} beside a cleanup; bare: without"
        report.add(
            what, typical(ours), "ms", bare=typical(bare), note=note, share=typical(each), goal=goal, met=met
        )
    return report


async def _uploads(fleet: Fleet, images: list[Path]) -> dict[str, Any]:
    result = await fleet.upload(images, CONNECTIONS, seconds=SECONDS)
    if set(result["statuses"]) != {"201"}:
        raise RuntimeError(f"uploads were not accepted: {result['statuses']}")
    with fleet.processes.paused():
        await fleet.drop_backlog()
    await fleet.settled()
    return result


async def _fill(fleet: Fleet) -> None:
    """Images that are a year old, with their files."""
    at = datetime.now(UTC) - timedelta(days=365)
    folder = fleet.stack.data_dir / "storage" / "blobs"
    names = [f"{at:%Y/%m/%d/%H%M%S}-{uuid.uuid4().hex}" for _ in range(IMAGES)]
    await asyncio.to_thread(_write, folder, names)
    columns = ("id", "client_id", "source", "status", "content_type", "size_bytes", "sha256", "original_key")
    more = ("clean_key", "display_key", "thumbnail_key", "received_at", "captured_at")
    rows = [
        (
            *(new_id(), fleet.org.id, "DEVICE", "READY", "image/jpeg", UPLOAD_BYTES, name[-32:]),
            *(f"originals/{name}.jpg", f"originals/{name}.jpg", f"display/{name}.webp", f"thumbnails/{name}.webp"),
            *(at, at),
        )
        for name in names
    ]
    await fleet.database.copy_records_to_table("images", records=rows, columns=[*columns, *more])
    await fleet.database.execute("VACUUM ANALYZE images")
    await fleet.database.execute("CHECKPOINT")


def _write(folder: Path, names: list[str]) -> None:
    for prefix, suffix, size in _BYTES:
        content = bytes(size)
        for name in names:
            path = folder / prefix / f"{name}.{suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)


async def _begun(fleet: Fleet) -> str:
    return str((await fleet.org.operator.run(_CLEANUP))["cleanupImages"]["id"])


async def _ended(fleet: Fleet, run_id: str) -> int:
    """Wait for its end; how many images went."""
    while True:
        run = (await fleet.org.operator.run(_RUN, id=run_id))["cleanupRun"]
        if run["endedAt"]:
            if run["state"] != "DONE" or run["removedBlobs"] < 3 * IMAGES:
                raise RuntimeError(f"the cleanup did not do its work: {run}")
            return int(run["removed"])
        await asyncio.sleep(0.05)
