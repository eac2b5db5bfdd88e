"""Check-ins a second, durable, of a fleet of 100,000 devices that each come once: one API process beside its
PostgreSQL, the load generator on the same two cores.
"""

import uuid
from typing import Any

from bench.fleet import Fleet
from bench.report import Report, typical
from domain.kit.ids import new_id
from domain.kit.secrets import DEVICE_TOKEN, hash_token

DEVICES = 100_000
ROUNDS = 5
SECONDS = 4.0
GOAL = 1_500
CONNECTIONS = (1, 8, 64)
_COSTS = ("api", "postgres", "relay", "redis", "load")


async def measure(fleet: Fleet) -> Report:
    token = DEVICE_TOKEN + uuid.uuid4().hex + "{number}"
    await _register(fleet, token)
    report = Report("check_ins")
    for connections in CONNECTIONS:
        await _load(fleet, token, connections, 0, 1.0)
        results = [await _load(fleet, token, connections, round, SECONDS) for round in range(1, ROUNDS + 1)]
        most = connections == max(CONNECTIONS)
        rate = typical([one["count"] / one["seconds"] for one in results])
        report.add(
            f"check-ins, {connections} connections",
            rate,
            "/s",
            goal=f"≥ {GOAL:,}" if most else "",
            met=rate >= GOAL if most else None,
        )
        for name in ("p50", "p99"):
            report.add(f"… {name}", typical([one[name] * 1000 for one in results]), "ms")
        if most:
            for name in _COSTS:
                report.add(f"… CPU of {name}", typical([one["costs"][name] for one in results]), "ms/check-in")
    await fleet.database.execute("DELETE FROM devices WHERE key LIKE 'bench-%'")
    return report


async def _register(fleet: Fleet, token: str) -> None:
    rows = [
        (new_id(), fleet.org.id, f"bench-{number}", f"Bench {number}", hash_token(token.format(number=number)))
        for number in range(DEVICES)
    ]
    await fleet.database.copy_records_to_table(
        "devices", records=rows, columns=["id", "client_id", "key", "name", "token_hash"]
    )
    await fleet.database.execute("VACUUM ANALYZE devices")


async def _load(fleet: Fleet, token: str, connections: int, round: int, seconds: float) -> dict[str, Any]:
    before = fleet.processes.cpu()
    spec = {"kind": "check_ins", "key": "bench-{number}", "token": token, "devices": DEVICES, "start": round * 13}
    result = await fleet.load(**spec, connections=connections, seconds=seconds)
    await fleet.relayed()
    used = {name: value - before[name] for name, value in fleet.processes.cpu().items()}
    used["load"] = result["cpu"]
    result["costs"] = {name: value * 1000 / result["count"] for name, value in used.items()}
    if set(result["statuses"]) != {"200"}:
        raise RuntimeError(f"check-ins were not taken: {result['statuses']}")
    await fleet.database.execute("CHECKPOINT")
    return result
