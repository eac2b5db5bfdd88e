"""GraphQL beside its peers, on the same database in one run: a handler written by hand, Strawberry as it comes,
and PostGraphile, which generates an API from the tables. One process each; the load takes turns.

PostGraphile needs npm; where that is missing it is left out, and the notes say so.
"""

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.fleet import Fleet, apart
from bench.report import Report, typical
from tests.support.api import Organisation

ROUNDS = 5
SECONDS = 2.0
WARM_UP = 5.0
"""Seconds for each query: Node compiles well only what it has run some thousand times."""
CONNECTIONS = 8
DEVICES, IMAGES_EACH, PAGE = 10_000, 20, 50
_MOMENT = re.compile(r"\d{4}-\d\d-\d\dT")
_POSTGRAPHILE = Path(__file__).parent / "peers" / "postgraphile"

_DEVICE = "key name enabled wakeIntervalSeconds createdAt lastSeenAt batteryPct rssi firmware"
_IMAGE = "status contentType sizeBytes receivedAt capturedAt"
_OURS = {
    "one": f"query ($id: ID!) {{ device(id: $id) {{ id {_DEVICE} }} }}",
    "many": f"query ($first: Int!) {{ devices(first: $first) {{ nodes {{ id {_DEVICE} }} }} }}",
    "nested": f"query ($first: Int!) {{ devices(first: $first) {{ nodes {{ id {_DEVICE} "
    f"images(first: 3) {{ nodes {{ id {_IMAGE} }} }} }} }} }}",
}
# It offers conditions and orders by indexes of a single column only. These devices have the least ids.
_LISTED = "devices: allDevices(first: $first, orderBy: PRIMARY_KEY_ASC)"
_THEIRS = {
    "one": f"query ($id: UUID!) {{ device: deviceByRowId(rowId: $id) {{ id: rowId {_DEVICE} }} }}",
    "many": f"query ($first: Int!) {{ {_LISTED} {{ nodes {{ id: rowId {_DEVICE} }} }} }}",
    "nested": f"query ($first: Int!) {{ {_LISTED} {{ nodes {{ id: rowId {_DEVICE} "
    f"images: imagesByDeviceId(first: 3, orderBy: PRIMARY_KEY_DESC) {{ nodes {{ id: rowId {_IMAGE} }} }} }} }} }}",
}
NESTED = _OURS["nested"].replace("$first", str(PAGE)).removeprefix(f"query ({PAGE}: Int!) ")
"""The largest of ours, without variables."""
QUERIES = {
    "one": "1 device × 10 fields, by its id",
    "many": "50 devices × 10 fields",
    "nested": "the same, each with its 3 newest images × 6 fields",
}

# Ids as the product makes them: they begin with a time, and so they fill an index from left to right.
_ID = "(lpad(to_hex({milliseconds}), 12, '0') || '70008' || substr(md5(random()::text), 1, 15))::uuid"
_START = 1_700_000_000_000
_INSERT_DEVICES = f"""INSERT INTO devices (id, client_id, key, name, last_seen_at, battery_pct, rssi)
    SELECT {_ID.format(milliseconds=f"{_START}::bigint + n")}, $1, 'shelf-' || lpad(n::text, 5, '0'),
        'Shelf ' || n, now() - n * interval '1 minute', n % 100, -40 - n % 50
    FROM generate_series(1, {DEVICES}) n"""
_INSERT_IMAGES = f"""INSERT INTO images (id, client_id, device_id, source, status, content_type, size_bytes, sha256,
        original_key, width, height, captured_at, received_at)
    SELECT {_ID.format(milliseconds=f"{_START}::bigint + n * {DEVICES} + row_number() OVER ()")},
        d.client_id, d.id, 'DEVICE', 'READY', 'image/jpeg', 200000 + n, md5(d.id::text || n),
        'originals/' || d.id || n, 1600, 1200, now() - n * interval '1 hour', now() - n * interval '1 hour'
    FROM devices d CROSS JOIN generate_series(1, {IMAGES_EACH}) n WHERE d.client_id = $1"""

Requests = dict[str, tuple[str, list[dict[str, Any]]]]


@dataclass
class Peer:
    """`requests` are the path and the bodies of each query, sent in turn; `measured` holds a list for each (query,
    what), which grows by one number a round."""

    name: str
    process: psutil.Process
    port: int
    requests: Requests
    token: str | None = None
    measured: dict[tuple[str, str], list[float]] = field(default_factory=dict)

    def note(self, query: str, what: str, number: float) -> None:
        self.measured.setdefault((query, what), []).append(number)

    def typical(self, query: str, what: str) -> float:
        return typical(self.measured[query, what])

    def used(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def answer(self, query: str) -> Any:
        """What it answers: also warms it up."""
        path, (body, *_) = self.requests[query]
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        async with httpx.AsyncClient(timeout=30) as http:
            response = await http.post(f"http://127.0.0.1:{self.port}{path}", json=body, headers=headers)
        answer = response.json()
        if answer.get("errors"):
            raise RuntimeError(f"{self.name} cannot answer {query}: {answer['errors']}")
        return answer["data"]


async def measure(fleet: Fleet) -> Report:
    await fleet.settled()
    org = await Organisation.made(fleet.admin)
    await fleet.database.execute(_INSERT_DEVICES, org.id)
    await fleet.database.execute(_INSERT_IMAGES, org.id)
    await fleet.database.execute("VACUUM ANALYZE")
    # Of each in its turn, as frontends ask: nobody is fast by having just read it.
    asked = await fleet.database.fetch(
        "SELECT id FROM devices WHERE client_id = $1 ORDER BY md5(key) LIMIT 1000", org.id
    )
    variables: dict[str, list[dict[str, Any]]] = {
        "one": [{"id": str(row["id"])} for row in asked],
        "many": [{"first": PAGE}],
        "nested": [{"first": PAGE}],
    }
    with ExitStack() as stack:
        ours = _bodies(_OURS, variables)
        peers = [
            Peer("Quartermaster", fleet.processes.api, int(fleet.address["port"]), ours, org.viewer.token),
            stack.enter_context(_python("handwritten", fleet, org.id, ours, by_path=True)),
            stack.enter_context(_python("stock", fleet, org.id, ours)),
        ]
        node, missing = await asyncio.to_thread(_node)
        if node is not None:
            command = [str(node), str(_POSTGRAPHILE / "server.mjs")]
            bodies = _bodies(_THEIRS, variables)
            peers.append(stack.enter_context(_started("PostGraphile", command, fleet, org.id, bodies)))
        await _agree(peers)
        for peer in peers:
            for query in QUERIES:
                await _load(fleet, peer, query, WARM_UP)
            peer.measured.clear()
        for _ in range(ROUNDS):
            for query in QUERIES:
                for peer in peers:
                    await _load(fleet, peer, query, SECONDS)
        await _agree(peers)  # nor did anybody begin to refuse
        return _report(peers, missing)


def _bodies(queries: dict[str, str], variables: dict[str, list[dict[str, Any]]]) -> Requests:
    return {
        name: ("/graphql", [{"query": text, "variables": one} for one in variables[name]])
        for name, text in queries.items()
    }


def _python(
    module: str,
    fleet: Fleet,
    client: str,
    requests: Requests,
    *,
    by_path: bool = False,
) -> AbstractContextManager[Peer]:
    requests = {name: (f"/{name}" if by_path else path, bodies) for name, (path, bodies) in requests.items()}
    name = {"handwritten": "by hand", "stock": "stock Strawberry"}[module]
    return _started(name, [sys.executable, "-m", f"bench.peers.{module}"], fleet, client, requests)


@contextmanager
def _started(name: str, command: list[str], fleet: Fleet, client: str, requests: Requests) -> Iterator[Peer]:
    """A peer on a free port, as long as it is needed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "NODE_ENV": "production"}
    process = subprocess.Popen([*command, fleet.database_url, str(port), client], env=environment)
    try:
        yield Peer(name, psutil.Process(process.pid), port, requests)
    finally:
        process.terminate()
        process.wait()


def _node() -> tuple[Path | None, str]:
    """Node as PostGraphile needs it, with PostGraphile beside it; or None, and why."""
    modules = _POSTGRAPHILE / "node_modules"
    node, whole = modules / "node" / "bin" / "node", modules / ".package-lock.json"
    if node.exists() and whole.exists():  # npm writes this one last
        return node, ""
    if (npm := shutil.which("npm")) is None:
        return None, "PostGraphile is left out: npm is missing"
    installed = subprocess.run([npm, "ci", "--silent"], cwd=_POSTGRAPHILE, check=False)
    if installed.returncode:
        return None, f"PostGraphile is left out: npm could not install it (it ended with {installed.returncode})"
    return node, ""


async def _agree(peers: list[Peer]) -> None:
    """Nobody is fast by answering less."""
    for query in QUERIES:
        answers = []
        for peer in peers:
            async with asyncio.timeout(30):
                while True:
                    if peer.process.status() == psutil.STATUS_ZOMBIE:
                        raise RuntimeError(f"{peer.name} ended")
                    with suppress(httpx.TransportError):  # it is starting
                        answers.append(_plain(await peer.answer(query)))
                        break
                    await asyncio.sleep(0.1)
        for peer, answer in zip(peers, answers, strict=True):
            if answer != answers[0]:
                raise RuntimeError(f"{peer.name} answers {query} unlike {peers[0].name}: {str(answer)[:1000]}")


def _plain(value: Any) -> Any:
    """Without the ways of writing: a moment is a moment, and a number may be in quotes."""
    if isinstance(value, dict):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_plain(inner) for inner in value]
    if isinstance(value, str) and value.isdigit():
        return int(value)
    if isinstance(value, str) and _MOMENT.match(value):
        return datetime.fromisoformat(value)
    return value


async def _load(fleet: Fleet, peer: Peer, query: str, seconds: float) -> None:
    path, bodies = peer.requests[query]
    spec = {
        "kind": "post",
        "port": peer.port,
        "path": path,
        "bodies": [*map(json.dumps, bodies)],
        "token": peer.token,
    }
    used, database = peer.used(), fleet.processes.cpu()["postgres"]
    result = await apart("bench.load", {**spec, "connections": CONNECTIONS, "seconds": seconds})
    count = result["count"]
    if set(result["statuses"]) != {"200"}:
        raise RuntimeError(f"{peer.name} answered {result['statuses']}")
    peer.note(query, "rate", count / result["seconds"])
    peer.note(query, "cpu", (peer.used() - used) * 1e6 / count)
    peer.note(query, "database", (fleet.processes.cpu()["postgres"] - database) * 1e6 / count)
    peer.note(query, "p50", result["p50"] * 1000)
    peer.note(query, "p99", result["p99"] * 1000)


def _report(peers: list[Peer], missing: str) -> Report:
    """The goals as rows, and all numbers of all peers as a table of its own."""
    report = Report("graphql")
    ours, by_hand, _, *postgraphile = peers
    for query, title in QUERIES.items():
        rate, cpu, least = ours.typical(query, "rate"), ours.typical(query, "cpu"), by_hand.typical(query, "cpu")
        theirs = postgraphile[0].typical(query, "rate") if postgraphile else None
        met = rate >= 1.5 * theirs if theirs else None
        report.add(title, rate, "/s", bare=theirs, goal="≥ 1.5 ×", met=met, note=missing or "beside PostGraphile")
        report.add("… CPU", cpu, "µs", bare=least, goal="≤ 1.25 ×", met=cpu <= 1.25 * least, note="beside by hand")
        report.lines += [_line(peer, query) for peer in peers]
    return report


def _line(peer: Peer, query: str) -> dict[str, str | float]:
    return {
        "Query": QUERIES[query],
        "Server": peer.name,
        "/s": peer.typical(query, "rate"),
        "p50 ms": peer.typical(query, "p50"),
        "p99 ms": peer.typical(query, "p99"),
        "CPU µs": peer.typical(query, "cpu"),
        "PostgreSQL CPU µs": peer.typical(query, "database"),
        "RSS MB": peer.process.memory_info().rss / 1e6,
    }
