"""What one read of one row costs the process that asks, by the ways that SQLAlchemy and asyncpg offer.

The evidence for docs/decisions/0001: CPU time of this process alone, one call after another, in turns.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam, event, select
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import registry

from bench.report import Report, typical
from domain.devices.models import DeviceRow, devices
from domain.kit.ids import new_id
from domain.kit.sql import Database, Statement, _prepare_connection
from migrations import upgrade
from server.embedded import running

ROUNDS = 7
CALLS = 400

Read = Callable[[], Awaitable[object]]


class _Device:
    """What the ORM makes of a row."""


_COLUMNS = [devices.c[name] for name in DeviceRow.__annotations__]
_SELECT = select(*_COLUMNS).where(devices.c.id == bindparam("device"))
_STATEMENT = Statement(_SELECT, DeviceRow)
registry(metadata=devices.metadata).map_imperatively(_Device, devices)
_SELECT_DEVICE = select(_Device).where(devices.c.id == bindparam("device"))


async def measure() -> Report:
    with tempfile.TemporaryDirectory(prefix="qm-bench-read-") as folder:
        with running(Path(folder, "data"), redis=False) as services:
            await asyncio.to_thread(upgrade, services.database_url)  # it runs an event loop of its own
            async with AsyncExitStack() as stack:
                reads = await _reads(services.database_url, stack)
                return await _compared(reads)


async def _compared(reads: dict[str, Read]) -> Report:
    times: dict[str, list[float]] = {name: [] for name in reads}
    for _ in range(ROUNDS):
        for name, read in reads.items():
            times[name].append(await _cost(read))
    report = Report("read_path")
    ours = next(iter(reads))
    for name, values in times.items():
        report.add(name, typical(values), "µs CPU", bare=None if name == ours else typical(times[ours]))
    return report


async def _cost(read: Read) -> float:
    for _ in range(20):
        await read()
    started = time.process_time()
    for _ in range(CALLS):
        await read()
    return (time.process_time() - started) / CALLS * 1e6


async def _reads(url: str, stack: AsyncExitStack) -> dict[str, Read]:
    """Each reads the same row and one of its columns."""
    database = await Database.connect(url, pool_size=2)
    stack.push_async_callback(database.close)
    device_id, client_id = new_id(), new_id()
    await database.pool.execute("INSERT INTO clients (id, name) VALUES ($1, 'bench')", client_id)
    await database.pool.execute(
        "INSERT INTO devices (id, client_id, key, name) VALUES ($1, $2, 'cam', 'Cam')", device_id, client_id
    )
    options = {"server_settings": {"jit": "off", "timezone": "UTC"}}
    address = url.replace("postgresql://", "postgresql+asyncpg://")
    engine = create_async_engine(address, pool_size=2, connect_args=options)
    # Ids as strings by all of them: what a row is decoded to is not what is compared.
    event.listen(engine.sync_engine, "connect", lambda pooled, _: pooled.run_async(_prepare_connection))
    stack.push_async_callback(engine.dispose)
    autocommit = engine.execution_options(isolation_level="AUTOCOMMIT")
    sessions = async_sessionmaker(engine, expire_on_commit=False)
    return {
        "Database.one (asyncpg's pool)": lambda: _ours(database, device_id),
        "engine.raw_connection(), driver_connection": lambda: _raw(engine, device_id),
        "AsyncEngine.connect(), Core, AUTOCOMMIT": lambda: _core(autocommit, device_id),
        "AsyncEngine.connect(), Core": lambda: _core(engine, device_id),
        "AsyncSession, ORM": lambda: _orm(sessions, device_id),
    }


async def _ours(database: Database, device_id: str) -> object:
    row = await database.one(_STATEMENT, device=device_id)
    assert row is not None
    return row.key


async def _raw(engine: AsyncEngine, device_id: str) -> object:
    pooled = await engine.raw_connection()
    driver: Any = pooled.driver_connection
    rows = await driver.fetch(_STATEMENT.text, device_id, record_class=DeviceRow)
    pooled.close()
    return rows[0]["key"]


async def _core(engine: AsyncEngine, device_id: str) -> object:
    async with engine.connect() as connection:
        row = (await connection.execute(_SELECT, {"device": device_id})).one()
        return row.key


async def _orm(sessions: async_sessionmaker[AsyncSession], device_id: str) -> object:
    async with sessions() as session:
        device: Any = (await session.execute(_SELECT_DEVICE, {"device": device_id})).scalar_one()
        return device.key
