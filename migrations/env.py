"""How Alembic reaches the database: over asyncpg, one run at a time, never waiting long for locks."""

import asyncio

from alembic import context
from sqlalchemy import Connection, make_url, pool, text
from sqlalchemy.ext.asyncio import create_async_engine

import domain.clients.models
import domain.configs.models
import domain.device_commands.models
import domain.devices.models
import domain.events.models
import domain.firmware.models
import domain.idempotency.models
import domain.images.models
import domain.kit.transactions
import domain.users.models  # noqa: F401 - each fills the metadata
from domain.kit.tables import metadata

_ONE_AT_A_TIME = 5_704_911_301  # an advisory lock's key, for several servers that start together

# PostgreSQL says these expressions in other words than we do, so a comparison would always differ.
_SAID_OTHERWISE = {
    "ix_devices_client_seen",
    "ix_devices_all_seen",
    "ix_devices_search",
    "ix_configs_client_device_name",
    "ix_configs_all_device_name",
    "ix_configs_search",
}


def _is_ours(_: object, name: str | None, kind: str, reflected: bool, compared: object) -> bool:
    # Monthly partitions are made by a job, not by migrations.
    is_partition = (
        name is not None and name.startswith(("events_", "device_telemetry_")) and reflected and compared is None
    )
    return not (kind in ("table", "index") and (is_partition or name in _SAID_OTHERWISE))


def _migrate(connection: Connection) -> None:
    context.configure(
        connection=connection,
        target_metadata=metadata,
        include_object=_is_ours,
        compare_type=True,
        transaction_per_migration=False,
    )
    with context.begin_transaction():
        connection.execute(text("SET LOCAL lock_timeout = '10s'"))
        connection.execute(text(f"SELECT pg_advisory_xact_lock({_ONE_AT_A_TIME})"))
        context.run_migrations()


async def _run() -> None:
    url = make_url(context.config.attributes["database_url"]).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, poolclass=pool.NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(_migrate)
        await connection.commit()
    await engine.dispose()


asyncio.run(_run())
