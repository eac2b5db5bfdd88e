"""GraphQL beside its peers, on the same database in one run: a handler written by hand, Strawberry as it comes,
and PostGraphile, which generates an API from the tables. One process each; the load takes turns.

PostGraphile needs npm; where that is missing it is left out, and the notes say so.
"""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench.fleet import Fleet, apart
from bench.report import Report, typical
from tests.support.api import Organisation

ROUNDS = 5
SECONDS = 2.0
CONNECTIONS = 8
DEVICES, IMAGES_EACH, PAGE = 10_000, 20, 50
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


@dataclass
class Peer:
    """`requests` are path and body of each query; the lists grow by one number a round."""

    name: str
    process: psutil.Process
    port: int
    requests: dict[str, tuple[str, dict[str, Any]]]
    token: str | None = None
    rate: dict[str, list[float]] = field(default_factory=dict)
    cpu: dict[str, list[float]] = field(default_factory=dict)
    database_cpu: dict[str, list[float]] = field(default_factory=dict)
    p99: dict[str, list[float]] = field(default_factory=dict)

    def used(self) -> float:
        times = self.process.cpu_times()
        return float(times.user + times.system)

    async def answer(self, query: str) -> Any:
        """What it answers: also warms it up."""
        path, body = self.requests[query]
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
    device = str(await fleet.database.fetchval("SELECT id FROM devices WHERE key = 'shelf-05000'"))
    variables: dict[str, dict[str, Any]] = {
        "one": {"id": device},
        "many": {"first": PAGE},
        "nested": {"first": PAGE},
    }
    with ExitStack() as stack:
        ours = _bodies(_OURS, variables)
        peers = [
            Peer("Quartermaster", fleet.processes.api, int(fleet.address["port"]), ours, org.viewer.token),
            stack.enter_context(_python("handwritten", fleet, org.id, ours, by_path=True)),
            stack.enter_context(_python("stock", fleet, org.id, ours)),
        ]
        if (node := await asyncio.to_thread(_node)) is not None:
            command = [str(node), str(_POSTGRAPHILE / "server.mjs")]
            bodies = _bodies(_THEIRS, variables)
            peers.append(stack.enter_context(_started("PostGraphile", command, fleet, org.id, bodies)))
        await _agree(peers)
        for _ in range(ROUNDS):
            for query in QUERIES:
                for peer in peers:
                    await _load(fleet, peer, query)
        return _report(peers)


def _bodies(queries: dict[str, str], variables: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    return {name: ("/graphql", {"query": text, "variables": variables[name]}) for name, text in queries.items()}


def _python(
    module: str,
    fleet: Fleet,
    client: str,
    requests: dict[str, tuple[str, dict[str, Any]]],
    *,
    by_path: bool = False,
) -> Any:
    requests = {name: (f"/{name}" if by_path else path, body) for name, (path, body) in requests.items()}
    name = {"handwritten": "by hand", "stock": "stock Strawberry"}[module]
    return _started(name, [sys.executable, "-m", f"bench.peers.{module}"], fleet, client, requests)


@contextmanager
def _started(
    name: str, command: list[str], fleet: Fleet, client: str, requests: dict[str, tuple[str, dict[str, Any]]]
) -> Iterator[Peer]:
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


def _node() -> Path | None:
    """Node as PostGraphile needs it, with PostGraphile beside it; None where npm is missing or fails."""
    npm, node = shutil.which("npm"), _POSTGRAPHILE / "node_modules" / "node" / "bin" / "node"
    if npm is not None and not node.exists():
        subprocess.run([npm, "ci", "--silent"], cwd=_POSTGRAPHILE, check=False)
    return node if node.exists() else None


async def _agree(peers: list[Peer]) -> None:
    """Nobody is fast by answering less."""
    for query in QUERIES:
        answers = []
        for peer in peers:
            async with asyncio.timeout(30):
                while True:
                    with suppress(httpx.TransportError):  # it is starting
                        answers.append(await peer.answer(query))
                        break
                    await asyncio.sleep(0.1)
        if any(_counted(answer) != _counted(answers[0]) for answer in answers):
            raise RuntimeError(f"The answers to {query!r} differ: {[_counted(answer) for answer in answers]}")


def _counted(answer: Any) -> Any:
    if "device" in answer:
        return answer["device"]["key"], len(answer["device"])
    nodes = answer["devices"]["nodes"]
    images = [[image["id"] for image in node["images"]["nodes"]] for node in nodes if "images" in node]
    return [(node["id"], node["key"], len(node)) for node in nodes], images


async def _load(fleet: Fleet, peer: Peer, query: str) -> None:
    path, body = peer.requests[query]
    spec = {"kind": "post", "port": peer.port, "path": path, "body": json.dumps(body), "token": peer.token}
    used, database = peer.used(), fleet.processes.cpu()["postgres"]
    result = await apart("bench.load", {**spec, "connections": CONNECTIONS, "seconds": SECONDS})
    count = result["count"]
    if set(result["statuses"]) != {"200"}:
        raise RuntimeError(f"{peer.name} answered {result['statuses']}")
    peer.rate.setdefault(query, []).append(count / result["seconds"])
    peer.cpu.setdefault(query, []).append((peer.used() - used) * 1e6 / count)
    spent = fleet.processes.cpu()["postgres"] - database
    peer.database_cpu.setdefault(query, []).append(spent * 1e6 / count)
    peer.p99.setdefault(query, []).append(result["p99"] * 1000)


def _report(peers: list[Peer]) -> Report:
    report = Report("graphql")
    ours, by_hand = peers[:2]
    others = peers[3:]
    for query, title in QUERIES.items():
        report.add(title, typical(ours.rate[query]), "/s", note="" if others else "npm is missing: no PostGraphile")
        for other in others:
            rate, theirs = typical(ours.rate[query]), typical(other.rate[query])
            report.add(f"… beside {other.name}", rate, "/s", bare=theirs, goal="≥ 1.5 ×", met=rate >= 1.5 * theirs)
        cpu, least = typical(ours.cpu[query]), typical(by_hand.cpu[query])
        report.add("… CPU, beside by hand", cpu, "µs", bare=least, goal="≤ 1.25 ×", met=cpu <= 1.25 * least)
        for peer in peers:
            numbers = (
                f"PostgreSQL {typical(peer.database_cpu[query]):,.0f} µs, p99 {typical(peer.p99[query]):.1f} ms"
            )
            report.add(
                f"  {peer.name}",
                typical(peer.cpu[query]),
                "µs",
                note=f"{typical(peer.rate[query]):,.0f}/s, {numbers}",
            )
    for peer in peers:
        report.add(f"memory of {peer.name}", peer.process.memory_info().rss / 1e6, "MB")
    return report
