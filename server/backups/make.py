"""Making a backup: one moment of the database, then the blobs, which nobody takes away meanwhile."""

import asyncio
import gzip
import hashlib
import io
import shutil
import tarfile
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from domain.kit.blobs import BlobInfo, BlobStore
from domain.kit.errors import Conflict, Invalid, NotFound, Unavailable
from domain.storage.backups import BACKUP_LOCK
from server import VERSION
from server.backups.contents import (
    ABOUT,
    BLOBS,
    DATABASE,
    FORMAT,
    MANIFEST,
    PREFIX,
    About,
    backups_in,
    check_file,
    manifest,
    name_at,
    read_about,
    sync,
    write_about,
)
from server.backups.index import BlobIndex
from server.backups.tools import find_tool, run_tool
from server.process import blob_store, derived_key
from server.settings import Settings

Progress = Callable[[int, int], None]
"""Told how many blobs are done, of how many."""

_ROOM = 1.2  # of the last backup's bytes
_LOCKED_FOR = 60_000  # milliseconds that a migration, say, may keep pg_dump from a table
_NO_LIMITS = {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",  # nothing is said while blobs are read
    "lock_timeout": "30s",
    "tcp_keepalives_idle": "60",
}
_HOLDS = (
    "SELECT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid() AND granted "
    "AND objsubid = 1 AND (classid::bigint << 32) | objid::bigint = $1)"
)
TABLES = (
    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1"
)


@dataclass(frozen=True, slots=True)
class Made:
    """Where it is, and what is wrong with later backups, of which no use could be made."""

    path: Path
    passed_over: list[str]


def key_id(settings: Settings) -> str:
    """Tells whether two systems have the same secret key, and nothing else of it."""
    return derived_key(settings, "backups: which key").hex()[:16]


async def make_backup(settings: Settings, folder: Path, *, with_blobs: bool, progress: Progress) -> Made:
    """Make one in this folder, an absolute path. Raises Unavailable, and Conflict while another is being made."""
    try:
        async with _alone(settings) as connection:
            last, passed_over = await asyncio.to_thread(_prepare, folder)
            made = await _make(settings, connection, folder, last, with_blobs=with_blobs, progress=progress)
            return Made(made, passed_over)
    except OSError as error:
        raise Unavailable(f"The backup could not be written to {folder}: {error.strerror or error}.") from error
    except (asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise Unavailable(f"The database did not let the backup come to its end: {error}") from error


def _prepare(folder: Path) -> tuple[Path | None, list[str]]:
    """The folder is there and has room: its newest backup that can be read, and what is wrong with later ones.

    Whoever calls has the lock, so that what is half made, or half removed, is nobody's any more.
    """
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be made: {error.strerror}.") from None
    for path in folder.glob(f".{PREFIX}*"):
        shutil.rmtree(path, ignore_errors=True)
    last, took, passed_over = None, 0, []
    for path in backups_in(folder):
        try:
            last, took = path, read_about(path).bytes
            break
        except Invalid as error:
            passed_over.append(error.message)
    free = shutil.disk_usage(folder).free
    if free < took * _ROOM:
        raise Unavailable(
            f"{folder} has {free:,} bytes left, and the last backup took {took:,}: make room, or keep fewer "
            "backups."
        )
    return last, passed_over


async def _make(
    settings: Settings,
    connection: "asyncpg.Connection[asyncpg.Record]",
    folder: Path,
    last: Path | None,
    *,
    with_blobs: bool,
    progress: Progress,
) -> Path:
    name = name_at(datetime.now(UTC))
    while (folder / name).exists():  # one was made this very second
        await asyncio.sleep(0.1)
        name = name_at(datetime.now(UTC))
    partial, target = folder / f".{name}.partial", folder / name
    partial.mkdir(mode=0o700)
    try:
        # The blobs take hours, perhaps. No transaction is open meanwhile: migrations and VACUUM would wait for it.
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            about = await _dump(settings, connection, partial)
        about.with_blobs = with_blobs
        with BlobIndex() as known:
            await asyncio.to_thread(_recall, known, last)
            await _write_blobs(blob_store(settings), partial, about, known, progress)
        await _still_alone(connection)
        await asyncio.to_thread(_seal, partial, about)
        # Not in a thread: when this is cancelled, a thread would go on, and name what is removed meanwhile.
        partial.rename(target)
        sync(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return target


@asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection, while no other backup is made and no cleanup takes blobs away."""
    try:
        connection = await asyncpg.connect(settings.database_url, server_settings=_NO_LIMITS, timeout=30)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error
    try:
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", BACKUP_LOCK)
        except asyncpg.LockNotAvailableError:
            raise Conflict("Another backup is being made.", code="ALREADY_RUNNING") from None
        yield connection
    finally:
        await connection.close()


async def _still_alone(connection: "asyncpg.Connection[asyncpg.Record]") -> None:
    """Raises Unavailable when the lock was lost since: blobs may have gone that the database's copy names."""
    try:
        if await connection.fetchval(_HOLDS, BACKUP_LOCK):
            return
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        pass
    raise Unavailable("The connection that held the lock of backups was lost; the backup is to be made again.")


async def _dump(settings: Settings, connection: "asyncpg.Connection[asyncpg.Record]", partial: Path) -> About:
    """The database as it is in the connection's snapshot, and how many rows that are."""
    assert settings.database_url is not None
    major = connection.get_server_version().major
    program = await asyncio.to_thread(find_tool, settings, "pg_dump", major)
    snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
    target = f"--file={partial / DATABASE}"
    plain = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", target)
    await run_tool(program, settings.database_url, *plain, f"--lock-wait-timeout={_LOCKED_FOR}")
    return About(
        format=FORMAT,
        made_at=datetime.now(UTC).isoformat(timespec="seconds"),
        version=VERSION,
        revision=await connection.fetchval("SELECT version_num FROM alembic_version"),
        postgres=major,
        key_id=key_id(settings),
        tables=await count_tables(connection),
        blobs=0,
        blob_bytes=0,
        with_blobs=False,
    )


async def count_tables(connection: "asyncpg.Connection[asyncpg.Record]") -> dict[str, int]:
    """The rows of every table, partitions apart."""
    names = [row[0] for row in await connection.fetch(TABLES)]
    return {name: await connection.fetchval(f"SELECT count(*) FROM {name}") for name in names}  # noqa: S608 - quoted


def _recall(known: BlobIndex, last: Path | None) -> None:
    """Fill in the last backup's blobs: those that did not change since need not be read again."""
    if last is not None:
        # Of a list that is damaged nothing is believed, and each blob is read again.
        with suppress(OSError, ValueError, KeyError, TypeError, EOFError, zlib.error, Unavailable):
            known.fill(manifest(last))


async def _write_blobs(store: BlobStore, partial: Path, about: About, known: BlobIndex, progress: Progress) -> None:
    total = (await store.stats()).blobs
    with ExitStack() as stack:
        lines = stack.enter_context(gzip.open(partial / MANIFEST, "wb"))
        tar = stack.enter_context(tarfile.open(partial / BLOBS, "w")) if about.with_blobs else None
        async for info in store.scan(""):
            entry = await _entry(store, info, known, tar)
            if entry is not None:
                lines.write(orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE))
                about.blobs += 1
                about.blob_bytes += entry["size"]
                progress(about.blobs, max(total, about.blobs))


async def _entry(
    store: BlobStore, info: BlobInfo, known: BlobIndex, tar: tarfile.TarFile | None
) -> dict[str, Any] | None:
    """The line of one blob, which goes into the archive, too; None when it has gone since it was listed."""
    before, size = known.get(info.key), info.size
    digest = before.sha256 if before and (before.size, before.modified) == (size, info.modified) else None
    if tar is not None or digest is None:
        try:
            data = await store.get(info.key)
        except NotFound:
            return None
        size, digest = len(data), hashlib.sha256(data).hexdigest()
        if tar is not None:
            await asyncio.to_thread(_add, tar, info, data)
    return {"key": info.key, "size": size, "modified": info.modified, "sha256": digest}


def _add(tar: tarfile.TarFile, info: BlobInfo, data: bytes) -> None:
    member = tarfile.TarInfo(info.key)
    member.size, member.mtime, member.mode = len(data), int(info.modified), 0o600
    tar.addfile(member, io.BytesIO(data))


def _seal(partial: Path, about: About) -> None:
    """Write down what it is, and see that all of it is on the disk."""
    for path in sorted(partial.iterdir()):
        path.chmod(0o600)
        sync(path)
        about.files[path.name] = check_file(path)
    write_about(partial, about)
    sync(partial / ABOUT)
    sync(partial)
