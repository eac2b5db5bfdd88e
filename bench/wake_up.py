"""Waking the relay: NOTIFY inside each transaction, or once after the commits that came together.

Commits a second of eight that write one outbox row each, with a listener that is told.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg

from bench.report import Report, typical
from domain.kit.sql import Database
from domain.kit.transactions import CHANNEL, Transaction, transaction
from migrations import upgrade
from server.embedded import running

ROUNDS = 5
SECONDS = 1.5
AT_ONCE = 8

Commit = Callable[[Database], Awaitable[None]]


async def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="qm-bench-wake-") as folder:
        with running(Path(folder, "data"), redis=False) as services:
            await asyncio.to_thread(upgrade, services.database_url)  # it runs an event loop of its own
            database = await Database.connect(services.database_url, pool_size=AT_ONCE + 2)
            listener = await asyncpg.connect(services.database_url)
            await listener.add_listener(CHANNEL, lambda *_: None)
            try:
                return await _compared(database)
            finally:
                await listener.close()
                await database.close()


async def _compared(database: Database) -> Report:
    ways = {"after the commits": _after, "inside each transaction": _inside, "none": _without}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, commit in ways.items():
            rates[name].append(await _rate(database, commit))
            await database.pool.execute("TRUNCATE outbox")
    report = Report("wake_up")
    limit = typical(rates["none"])
    for name, values in rates.items():
        report.add(f"NOTIFY {name}", typical(values), "commits/s", bare=None if name == "none" else limit)
    return report


async def _rate(database: Database, commit: Commit) -> float:
    done = 0
    started = time.perf_counter()

    async def work() -> None:
        nonlocal done
        while time.perf_counter() - started < SECONDS:
            await commit(database)
            done += 1

    await asyncio.gather(*(work() for _ in range(AT_ONCE)))
    return done / (time.perf_counter() - started)


async def _after(database: Database) -> None:
    async with transaction(database) as tx:
        tx.enqueue("nothing")


async def _inside(database: Database) -> None:
    async with database.connection() as connection, connection.transaction():
        tx = Transaction(connection)
        tx.enqueue("nothing")
        await tx.flush()
        await connection.fetch("SELECT pg_notify($1, '')", CHANNEL)


async def _without(database: Database) -> None:
    async with database.connection() as connection, connection.transaction():
        tx = Transaction(connection)
        tx.enqueue("nothing")
        await tx.flush()
