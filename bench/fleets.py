"""What a large fleet costs where it is read and swept: 100,000 devices, and 10 million rows of telemetry.

Alone with an embedded PostgreSQL: what is measured is the database's work, through the product's own statements.
"""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from sqlalchemy import text

from bench.report import Report, percentile, typical
from domain.devices import telemetry
from domain.devices.models import device_telemetry
from domain.devices.presence import PresencePolicy
from domain.devices.queries import list_devices
from domain.devices.sweep import BATCH, sweep_presence
from domain.kit.ids import new_id
from domain.kit.partitions import make_partitions
from domain.kit.scope import SYSTEM, ActorKind, Scope
from domain.kit.sql import Database, Statement
from domain.kit.transactions import transaction
from migrations import upgrade
from server.embedded import running

DEVICES = 100_000
FEW = 1_000
ROWS = 10_000_000
REPORTERS = 1_000
_POLICY = PresencePolicy()


@asynccontextmanager
async def _database() -> AsyncIterator[Database]:
    with tempfile.TemporaryDirectory(prefix="qm-bench-") as folder:
        with running(Path(folder) / "data", redis=False) as services:
            await asyncio.to_thread(upgrade, services.database_url)  # it runs an event loop of its own
            database = await Database.connect(services.database_url, pool_size=2, statement_timeout=600)
            yield database
            await database.close()


async def measure() -> Report:
    report = Report("fleets")
    async with _database() as database:
        client, small = new_id(), new_id()
        for owner, count in ((client, DEVICES), (small, FEW)):
            await _fleet(database, owner, count)
        await _run(database, "VACUUM ANALYZE devices")
        await _lists(database, client, small, report)
        await _sweeps(database, client, report)
        await _telemetry(database, client, report)
    return report


async def _run(database: Database, statement: str) -> None:
    await database.all(Statement(text(statement)))


async def _fleet(database: Database, client: str, count: int) -> None:
    await _run(database, f"INSERT INTO clients (id, name) VALUES ('{client}', '{client}')")
    await _run(
        database,
        "INSERT INTO devices (id, client_id, key, name, labels, last_seen_at, next_wake_at, presence, battery_pct) "
        f"SELECT gen_random_uuid(), '{client}', 'cam-' || n, 'Shelf ' || n, ARRAY['site-' || n % 20], "
        "now() - (100 + n % 3000) * interval '1 s', now() + (3500 - n % 3000) * interval '1 s', 'ASLEEP', n % 100 "
        f"FROM generate_series(1, {count}) AS n",
    )


async def _lists(database: Database, client: str, small: str, report: Report) -> None:
    """`devices(first: 50)` of one client: its order has an index, whatever the length of the list."""
    times: dict[str, list[float]] = {client: [], small: []}
    for number in range(1_000):
        owner = (client, small)[number % 2]
        scope = Scope(ActorKind.USER, None, owner)
        begun = time.perf_counter()
        await list_devices(database, scope, order="KEY_ASC", first=50, after=None)
        if number >= 100:
            times[owner].append((time.perf_counter() - begun) * 1000)
    ours, bare = percentile(times[client], 0.99), percentile(times[small], 0.99)
    report.add(
        f"devices(first: 50) of {DEVICES:,}, p99; bare: of {FEW:,}",
        ours,
        "ms",
        bare=bare,
        goal="≤ 1.2 ×",
        met=ours <= 1.2 * bare,
    )


async def _sweeps(database: Database, client: str, report: Report) -> None:
    await _run(database, "UPDATE devices SET presence_due_at = now() + interval '1 h'")
    await _run(database, "VACUUM ANALYZE devices")
    for what, share, goal in (
        ("nothing due", 0, True),
        ("a minute of hourly wakes due", DEVICES // 60, True),
        ("all due at once", DEVICES, False),
    ):
        took = []
        for _ in range(5):
            await _run(database, "TRUNCATE outbox")
            await _run(
                database,
                "UPDATE devices SET presence = 'ONLINE', presence_due_at = now() - interval '1 s' "
                f"WHERE client_id = '{client}' AND substr(key, 5)::int <= {share}",
            )
            await _run(database, "VACUUM devices")
            took.append(await _sweep(database, share))
        value = typical(took)
        report.add(
            f"sweep of {DEVICES:,}, {what}",
            value,
            "ms",
            goal="≤ 500" if goal else "",
            met=value <= 500 if goal else None,
        )


async def _sweep(database: Database, expected: int) -> float:
    begun, announced, due = time.perf_counter(), 0, BATCH
    while due == BATCH:
        async with transaction(database) as tx:
            swept = await sweep_presence(tx, SYSTEM, _POLICY)
        announced, due = announced + swept.announced, swept.due
    if announced != expected:
        raise RuntimeError(f"{announced} changes were announced, not {expected}")
    return (time.perf_counter() - begun) * 1000


async def _telemetry(database: Database, client: str, report: Report) -> None:
    """A month of one device out of a thousand, each of which reports every four minutes."""
    async with transaction(database) as tx:
        await make_partitions(tx, SYSTEM, device_telemetry)
    until = datetime.now(UTC)
    device = await database.value(
        Statement(text(f"SELECT id FROM devices WHERE client_id = '{client}' ORDER BY key LIMIT 1"))
    )
    await _run(
        database,
        "INSERT INTO device_telemetry "
        "(device_id, client_id, reported_at, battery_v, battery_pct, rssi, temperature_c) "
        f"SELECT d.id, '{client}', now() - n * interval '{30 * 86_400 * REPORTERS // ROWS} s', 3.9, 80, -60, 21 "
        f"FROM generate_series(1, {ROWS // REPORTERS}) AS n, "
        f"(SELECT id FROM devices WHERE client_id = '{client}' ORDER BY key LIMIT {REPORTERS}) AS d",
    )
    await _run(database, "VACUUM ANALYZE device_telemetry")
    scope = Scope(ActorKind.USER, None, client)
    asked = telemetry.window(until - timedelta(days=30), until, 200)
    took = []
    for _ in range(21):
        begun = time.perf_counter()
        await telemetry.telemetry_of(database, scope, [device], asked)
        took.append((time.perf_counter() - begun) * 1000)
    value = typical(took[1:])
    report.add(f"a month of one device in 200 points, of {ROWS:,} rows", value, "ms", goal="≤ 20", met=value <= 20)
