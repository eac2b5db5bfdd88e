"""Making a backup: one moment of the database, then the blobs, which nobody takes away meanwhile."""

import asyncio
import gzip
import hashlib
import io
import shutil
import tarfile
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg
import orjson

from domain.kit.blobs import BlobInfo, BlobStore
from domain.kit.errors import Conflict, NotFound, Unavailable
from domain.storage.backups import BACKUP_LOCK
from server import VERSION
from server.backups.contents import (
    BLOBS,
    DATABASE,
    FORMAT,
    MANIFEST,
    About,
    backups_in,
    check_file,
    manifest,
    name_at,
    read_about,
    sync,
    write_about,
)
from server.backups.tools import find_tool, run_tool
from server.process import blob_store, derived_key
from server.settings import Settings

Progress = Callable[[int, int], None]
"""Told how many blobs are done, of how many."""

_ROOM = 1.2  # of the last backup's bytes
TABLES = (
    "SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class AS c "
    "JOIN pg_namespace AS n ON n.oid = c.relnamespace "
    "WHERE c.relkind = 'r' AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema' ORDER BY 1"
)


def key_id(settings: Settings) -> str:
    """Tells whether two systems have the same secret key, and nothing else of it."""
    return derived_key(settings, "backups: which key").hex()[:16]


async def make_backup(settings: Settings, folder: Path, *, with_blobs: bool, progress: Progress) -> Path:
    """Make one in this folder, an absolute path. Raises Unavailable, and Conflict while another is being made."""
    before = await asyncio.to_thread(_prepare, folder)
    name = name_at(datetime.now(UTC))
    partial = folder / f".{name}.partial"
    if (folder / name).exists():
        raise Conflict("Another backup was made this very second.", code="ALREADY_RUNNING")
    try:
        partial.mkdir(mode=0o700)
        async with _alone(settings) as connection:
            about = await _dump(settings, connection, partial)
            about.with_blobs = with_blobs
            known = await asyncio.to_thread(_hashes, before)
            await _write_blobs(blob_store(settings), partial, about, known, progress)
        await asyncio.to_thread(_finish, partial, folder / name, about)
    except OSError as error:
        raise Unavailable(f"The backup could not be written to {folder}: {error.strerror or error}.") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder / name


def _prepare(folder: Path) -> list[Path]:
    """The folder is there and has room; the backups that it holds."""
    before = backups_in(folder)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Unavailable(f"The folder {folder} cannot be made: {error.strerror}.") from None
    needed = read_about(before[0]).bytes * _ROOM if before else 0
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Unavailable(
            f"{folder} has {free:,} bytes left, and the last backup took {needed / _ROOM:,.0f}: make room, or keep "
            "fewer backups."
        )
    return before


@asynccontextmanager
async def _alone(settings: Settings) -> AsyncIterator["asyncpg.Connection[asyncpg.Record]"]:
    """A connection in a snapshot, while no other backup is made and no cleanup takes blobs away."""
    no_limits = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0", "lock_timeout": "30s"}
    try:
        connection = await asyncpg.connect(settings.database_url, server_settings=no_limits, timeout=30)
    except (OSError, asyncpg.PostgresError) as error:
        raise Unavailable(f"The database cannot be reached: {error}") from error
    try:
        try:
            await connection.execute("SELECT pg_advisory_lock($1)", BACKUP_LOCK)
        except asyncpg.LockNotAvailableError:
            raise Conflict("Another backup is being made.", code="ALREADY_RUNNING") from None
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            yield connection
    finally:
        await connection.close()


async def _dump(settings: Settings, connection: "asyncpg.Connection[asyncpg.Record]", partial: Path) -> About:
    """The database as it is in the connection's snapshot, and how many rows that are."""
    assert settings.database_url is not None
    major = connection.get_server_version().major
    program = await asyncio.to_thread(find_tool, settings, "pg_dump", major)
    snapshot = await connection.fetchval("SELECT pg_export_snapshot()")
    target = f"--file={partial / DATABASE}"
    plain = ("--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot}", target)
    await run_tool(program, settings.database_url, *plain)
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


def _hashes(before: list[Path]) -> dict[tuple[str, int, float], str]:
    """Of the last backup's blobs: those that did not change since need not be read again."""
    if not before:
        return {}
    try:
        return {(one["key"], one["size"], one["modified"]): one["sha256"] for one in manifest(before[0])}
    except (OSError, ValueError, KeyError, EOFError):
        return {}


async def _write_blobs(
    store: BlobStore, partial: Path, about: About, known: dict[tuple[str, int, float], str], progress: Progress
) -> None:
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
    store: BlobStore, info: BlobInfo, known: dict[tuple[str, int, float], str], tar: tarfile.TarFile | None
) -> dict[str, Any] | None:
    """The line of one blob, which goes into the archive, too; None when it has gone since it was listed."""
    digest = known.get((info.key, info.size, info.modified))
    size = info.size
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


def _finish(partial: Path, target: Path, about: About) -> None:
    for path in sorted(partial.iterdir()):
        path.chmod(0o600)
        sync(path)
        about.files[path.name] = check_file(path)
    write_about(partial, about)
    sync(partial / "backup.json")
    sync(partial)
    partial.rename(target)
    sync(target.parent)
