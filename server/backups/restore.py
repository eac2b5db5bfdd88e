"""Bringing a backup back, into a system that holds nothing yet: blobs first, then the database at once.

Until the database's one transaction is committed there is nothing, so a restore that was cut off is begun again.
"""

import asyncio
import hashlib
import tarfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from domain.kit.blobs import BlobStore
from domain.kit.errors import Conflict, Invalid, Unavailable
from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from domain.storage.sweeps import hold_sweeps
from migrations import revisions
from server.backups.contents import BLOBS, DATABASE, About, manifest, verify
from server.backups.index import BlobIndex, Known
from server.backups.make import TABLES, Progress, count_tables, key_id
from server.backups.tools import find_tool, run_tool
from server.process import blob_store, connect_database, migrate_database
from server.settings import Settings


@dataclass(frozen=True, slots=True)
class Restored:
    """`missing` is how many blobs the backup lists and the store lacks, `such_as` one of them; `same_key` is of the
    secret key.
    """

    about: About
    rows: int
    missing: int
    such_as: str | None
    same_key: bool


async def restore_backup(settings: Settings, folder: Path, *, progress: Progress) -> Restored:
    """Bring it back. Raises Invalid for what is no whole backup, Conflict for a system that is not empty."""
    assert settings.database_url is not None
    about = await asyncio.to_thread(verify, folder)
    if about.revision not in revisions():
        raise Conflict(f"This backup is at revision {about.revision}, which is later than what this version knows.")
    store = blob_store(settings)
    async with _empty(settings, about) as major:
        program = await asyncio.to_thread(find_tool, settings, "pg_restore", major)
        if about.with_blobs:
            await _restore_blobs(store, folder, about, progress)
    whole = ("--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(folder / DATABASE))
    await run_tool(program, settings.database_url, *whole)
    await _compare(settings, about)
    # Alembic has an event loop of its own.
    await asyncio.to_thread(migrate_database, settings)
    await _hold_sweeps(settings)
    missing, such_as = await _missing(store, folder)
    return Restored(about, sum(about.tables.values()), missing, such_as, key_id(settings) == about.key_id)


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    try:
        connection = await asyncpg.connect(
            settings.database_url, server_settings={"statement_timeout": "0"}, timeout=30
        )
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error
    try:
        yield connection
    finally:
        await connection.close()


@asynccontextmanager
async def _empty(settings: Settings, about: About) -> AsyncIterator[int]:
    """The major version of the server, once the database was seen to hold no table."""
    async with _connected(settings) as connection:
        tables = await connection.fetch(TABLES)
        if tables:
            raise Conflict(
                f"The database is not empty: it has {len(tables)} tables. Restore into a new one "
                "(QM_DATABASE_URL), or with the embedded database into a new QM_DATA_DIR.",
                code="NOT_EMPTY",
            )
        major = connection.get_server_version().major
    if major < about.postgres:
        raise Conflict(
            f"The backup is of PostgreSQL {about.postgres}, and this server is {major}: use a newer one."
        )
    yield major


async def _restore_blobs(store: BlobStore, folder: Path, about: About, progress: Progress) -> None:
    with BlobIndex() as expected:
        await asyncio.to_thread(expected.fill, manifest(folder))
        async for info in store.scan(""):
            if expected.get(info.key) is None:
                raise Conflict(
                    f"The blob store is not empty: it holds {info.key}, which is not in this backup.",
                    code="NOT_EMPTY",
                )
            expected.tick(info.key, info.size)
        with tarfile.open(folder / BLOBS) as tar:
            done = 0
            while (member := await asyncio.to_thread(tar.next)) is not None:
                done += 1
                progress(done, about.blobs)
                await _restore_blob(store, tar, member, expected.get(member.name))
                tar.members.clear()  # type: ignore[attr-defined] # it would keep a note of each


async def _restore_blob(
    store: BlobStore, tar: tarfile.TarFile, member: tarfile.TarInfo, known: Known | None
) -> None:
    if known is not None and known.ticked:
        return  # an earlier attempt brought it
    file = tar.extractfile(member)
    data = await asyncio.to_thread(file.read) if file else b""
    if known is None or hashlib.sha256(data).hexdigest() != known.sha256:
        raise Invalid(f"{member.name} in {BLOBS} is not what the list says.")
    await store.put(member.name, data)


async def _hold_sweeps(settings: Settings) -> None:
    database = await connect_database(settings, "restore")
    try:
        async with transaction(database) as tx:
            await hold_sweeps(tx, SYSTEM)
    finally:
        await database.close()


async def _compare(settings: Settings, about: About) -> None:
    async with _connected(settings) as connection:
        counts = await count_tables(connection)
        await connection.execute("ANALYZE")
    different = {name for name in about.tables.keys() | counts.keys() if about.tables.get(name) != counts.get(name)}
    if different:
        raise Unavailable(f"After the restore these tables differ from the backup: {', '.join(sorted(different))}.")


async def _missing(store: BlobStore, folder: Path) -> tuple[int, str | None]:
    """How many, and one of them."""
    with BlobIndex() as expected:
        await asyncio.to_thread(expected.fill, manifest(folder))
        async for info in store.scan(""):
            expected.tick(info.key, info.size)
        return expected.unticked()
