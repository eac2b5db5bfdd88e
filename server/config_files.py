"""A folder of JSON files, one config each, named by the MAC: `a4-cf-12-0b-9e-01.json`.

Import takes what it can and says of every other file why not. Export writes each file beside its old one and then
puts it in its place, so that whoever reads the folder meanwhile never finds half a config.
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from domain.clients.queries import client_by_name, clients_by_ids
from domain.configs.commands import save_config
from domain.configs.content import MAX_BYTES
from domain.configs.queries import list_configs
from domain.kit.errors import Invalid, NotFound, Refusal
from domain.kit.ids import is_id
from domain.kit.macs import mac_in
from domain.kit.scope import ActorKind, Scope
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from server.process import connect_database
from server.settings import Settings

_LARGEST = 4 * MAX_BYTES  # of a file: indented, a config is longer than it is kept
_PAGE = 100

Progress = Callable[[int, int], None]
"""Told how many files are done, of how many."""


class _DryRun(Exception):
    """Leaves a transaction so that nothing of it stays."""


@dataclass(slots=True)
class Imported:
    """What became of the files. `skipped` says why, by the file's name."""

    saved: int = 0
    unchanged: int = 0
    skipped: dict[str, str] = field(default_factory=dict)


async def import_configs(
    settings: Settings, folder: Path, client: str, *, dry_run: bool, note: str | None, progress: Progress
) -> Imported:
    """Save every `*.json` of a folder as a config of a client (its id or name). Raises NotFound, Invalid."""
    files = _files(folder)
    database = await connect_database(settings, "import")
    try:
        scope = Scope(ActorKind.SYSTEM, None, await _client_id(database, client))
        result = Imported()
        seen: dict[str, str] = {}
        for done, path in enumerate(files):
            progress(done, len(files))
            try:
                mac, content = _read(path, seen)
                changed = await _save(database, scope, mac, content, note, dry_run=dry_run)
            except Refusal as refusal:
                result.skipped[path.name] = _told(refusal)
            else:
                result.saved += changed
                result.unchanged += not changed
        progress(len(files), len(files))
        return result
    finally:
        await database.close()


async def export_configs(
    settings: Settings, folder: Path, client: str, *, effective: bool, progress: Progress
) -> int:
    """Write a client's configs into a folder, which is made; returns how many. Other files stay as they are."""
    database = await connect_database(settings, "export")
    try:
        scope = Scope(ActorKind.SYSTEM, None, await _client_id(database, client))
        _make(folder)
        written, after = 0, None
        while True:
            page = await list_configs(database, scope, order="MAC_ASC", first=_PAGE, after=after)
            for row in page.nodes:
                _write(folder / f"{row.mac}.json", row.effective if effective else row.content)
            written += len(page.nodes)
            progress(written, written + page.has_next)
            after = page.end_cursor
            if not page.has_next:
                _sync(folder)
                return written
    finally:
        await database.close()


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Invalid(f"The folder {folder} cannot be made: {error.strerror}.") from None


def _files(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.suffix.lower() == ".json")
    except OSError as error:
        raise Invalid(f"The folder {folder} cannot be read: {error.strerror}.") from None


async def _client_id(database: Database, client: str) -> str:
    system = Scope(ActorKind.SYSTEM, None, None)
    if is_id(client):
        found = (await clients_by_ids(database, system, [client]))[0]
    else:
        found = await client_by_name(database, system, client)
    if found is None:
        raise NotFound(f"There is no client {client!r}.")
    return found.id


def _read(path: Path, seen: dict[str, str]) -> tuple[str, Any]:
    """The MAC and content of a file. Raises Invalid."""
    mac = mac_in(path.stem)
    if mac is None:
        raise Invalid("the name is no MAC address such as a4-cf-12-0b-9e-01.json")
    if mac in seen:
        raise Invalid(f"this is the MAC address of {seen[mac]}, too")
    seen[mac] = path.name
    try:
        if not path.is_file():
            raise Invalid("this is no file")
        if path.stat().st_size > _LARGEST:
            raise Invalid(f"the file has more than {_LARGEST} bytes")
        # Not by orjson, which would round large integers and pass over keys that are there twice.
        return mac, json.loads(path.read_bytes(), object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise Invalid(f"this is no JSON: {error.msg} (line {error.lineno}, column {error.colno})") from None
    except UnicodeDecodeError:
        raise Invalid("this is no JSON: it is not in UTF-8") from None
    except (RecursionError, ValueError) as error:
        raise Invalid(f"this cannot be read: {error}") from None
    except OSError as error:
        raise Invalid(f"the file cannot be read: {error.strerror}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice[:100]!r} is there twice")
    return value


async def _save(
    database: Database, scope: Scope, mac: str, content: Any, note: str | None, *, dry_run: bool
) -> bool:
    """Whether it changed anything, or would."""
    changed = False
    try:
        async with transaction(database) as tx:
            _, changed = await save_config(tx, scope, mac=mac, content=content, note=note)
            if dry_run:
                raise _DryRun
    except _DryRun:
        pass
    return changed


def _told(refusal: Refusal) -> str:
    path = refusal.details.get("path")
    return f"{refusal.message} (at {path})" if path else refusal.message


def _write(path: Path, content: Any) -> None:
    """Write a file whole, or not at all. It is its owner's alone to read, for it may hold passwords."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}-", suffix=".tmp", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(orjson.dumps(content, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
            file.flush()
            os.fsync(handle)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _sync(folder: Path) -> None:
    """So that the new names outlast a power cut, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
