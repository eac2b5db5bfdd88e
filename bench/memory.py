"""The memory of each process after load. USS is what would be free if it ended; RSS counts shared pages in
every process again, which for PostgreSQL means its buffers many times over, so there PSS (shared pages in
equal parts) is what adds up.
"""

import json

import psutil

from bench.fleet import UPLOAD_BYTES, Fleet, photographs
from bench.graphql import NESTED
from bench.report import Report

GOAL_MB = 150.0
_SECONDS = 3.0


async def measure(fleet: Fleet) -> Report:
    images = photographs(fleet.folder / "photographs", 1, size=UPLOAD_BYTES)
    await fleet.upload(images, 8, seconds=_SECONDS)
    body, token = json.dumps({"query": NESTED}), fleet.org.viewer.token
    await fleet.load(kind="post", path="/graphql", body=body, token=token, connections=8, seconds=_SECONDS)
    await fleet.settled()
    report = Report("memory")
    processes = fleet.processes
    for name in ("supervisor", "api", "worker", "relay", "redis"):
        rss, uss, _ = _megabytes(getattr(processes, name))
        is_api = name == "api"
        goal, met = (f"≤ {GOAL_MB:.0f} MB", rss <= GOAL_MB) if is_api else ("", None)
        report.add(f"RSS of {name}", rss, "MB", goal=goal, met=met, note=f"USS {uss:.0f} MB")
    family = [processes.postgres, *processes.postgres.children(recursive=True)]
    rss, uss, pss = (sum(part) for part in zip(*map(_megabytes, family), strict=True))
    note = f"RSS {rss:.0f} MB, USS {uss:.0f} MB, {len(family)} processes"
    report.add("PSS of postgres", pss, "MB", note=note)
    return report


def _megabytes(process: psutil.Process) -> tuple[float, float, float]:
    """(RSS, USS, PSS)"""
    used = process.memory_full_info()
    return used.rss / 1e6, used.uss / 1e6, used.pss / 1e6
