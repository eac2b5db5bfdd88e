"""One process and its subscribers: how long after a commit the last of 2,000 sockets has the event, at 50 events a
second, and what an idle socket weighs. Everything is real between: outbox, relay, log, feed, execution, sockets.
"""

import asyncio
import json
import sys
import time
from typing import Any

from bench.fleet import Fleet
from bench.report import Report
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction

SUBSCRIBERS, RATE, SECONDS = 2_000, 50, 15
GOAL = 250.0  # ms
_QUERY = (
    "subscription { events { cursor type occurredAt subjectId data "
    "subject { id ... on Device { name batteryPct status } } } }"
)


async def measure(fleet: Fleet) -> Report:
    await fleet.settled()
    before = fleet.processes.api.memory_info().rss
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "bench.subscribers",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=1 << 20,
    )
    spec = {"count": SUBSCRIBERS, "query": _QUERY, "variables": {}, "token": fleet.org.viewer.token}
    await _say(process, {**spec, **fleet.address})
    assert await _heard(process) == "ready"
    await asyncio.sleep(2)  # until nothing is left of the handshakes
    idle = fleet.processes.api.memory_info().rss
    used, started = fleet.processes.cpu(), time.monotonic()
    committed = await _events(fleet)
    seconds = time.monotonic() - started
    await _say(process, committed)
    seen = await _heard(process)
    after = fleet.processes.cpu()
    await process.wait()
    return _report(seen, len(committed), seconds, {name: after[name] - used[name] for name in used}, idle - before)


async def _events(fleet: Fleet) -> list[float]:
    """Commit so many events a second; returns when each was committed (s, monotonic)."""
    database = await Database.connect(fleet.database_url, pool_size=2, application="bench")
    committed: list[float] = []
    started = time.monotonic()
    device = fleet.devices[0].id
    while len(committed) < RATE * SECONDS:
        async with transaction(database) as tx:
            tx.emit(
                SYSTEM, "device.checked_in", client_id=fleet.org.id, subject=("Device", device), n=len(committed)
            )
        committed.append(time.monotonic())
        await asyncio.sleep(max(0.0, started + len(committed) / RATE - time.monotonic()))
    await database.close()
    return committed


def _report(seen: dict[str, Any], events: int, seconds: float, used: dict[str, float], memory: int) -> Report:
    report = Report("fanout")
    p99 = seen["p99"] * 1000
    delivered = events * SUBSCRIBERS
    client = f"subscribers used {seen['cpu'] / seconds:.0%} of a core"
    note = f"p50 {seen['p50'] * 1000:.0f} ms, max {seen['max'] * 1000:.0f} ms; {client}"
    report.add("commit to the last socket, p99", p99, "ms", goal=f"≤ {GOAL:.0f} ms", met=p99 <= GOAL, note=note)
    complete = f"{seen['complete']:,} of {SUBSCRIBERS:,} had all {events:,} events"
    report.add("messages delivered", delivered / seconds, "/s", note=complete)
    report.add(
        "CPU of api, a message", used["api"] * 1e6 / delivered, "µs", note=f"{used['api'] / seconds:.0%} of a core"
    )
    report.add("CPU of postgres, an event", used["postgres"] * 1e6 / events, "µs")
    report.add("memory of an idle subscriber", memory / 1e3 / SUBSCRIBERS, "kB")
    return report


async def _say(process: asyncio.subprocess.Process, what: Any) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(what).encode() + b"\n")
    await process.stdin.drain()


async def _heard(process: asyncio.subprocess.Process) -> Any:
    assert process.stdout is not None
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError("the subscribers ended without a word")
    return json.loads(line)
