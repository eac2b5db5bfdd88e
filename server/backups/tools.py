"""pg_dump and pg_restore: those that fit the server, and running them so that no password is seen by others."""

import asyncio
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, unquote_plus, urlsplit, urlunsplit

from domain.kit.errors import Unavailable
from server.embedded import launch
from server.embedded.postgres import installed
from server.settings import PREFIX, Settings

_SYSTEM = "/usr/lib/postgresql/{major}/bin", "/usr/pgsql-{major}/bin", "/opt/homebrew/opt/postgresql@{major}/bin"


def find_tool(settings: Settings, name: str, major: int) -> Path:
    """The `pg_dump` or `pg_restore` of the server's own major version. Raises Unavailable with what was found."""
    seen = {}
    for path in _candidates(settings, name, major):
        if os.access(path, os.X_OK) and (found := _major(path)):
            if found == major:
                return path
            seen[str(path)] = found
    known = "; ".join(f"{path} is of {found}" for path, found in seen.items()) or "none was found"
    raise Unavailable(
        f"The database is PostgreSQL {major} and needs the {name} of that version ({known}). Install your system's "
        f"package postgresql-client-{major}, or name the folder that has it in {PREFIX}POSTGRES_BIN."
    )


def _candidates(settings: Settings, name: str, major: int) -> Iterator[Path]:
    if settings.postgres_bin is not None:
        yield settings.postgres_bin / name
        return
    yield from (binaries.folder / name for binaries in installed() if binaries.major == major)
    if found := shutil.which(name):
        yield Path(found)
    yield from (Path(folder.format(major=major), name) for folder in _SYSTEM)


def _major(path: Path) -> int | None:
    try:
        told = subprocess.run([str(path), "--version"], capture_output=True, text=True, check=False, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    return int(found[1]) if found else None


async def run_tool(program: Path, database_url: str, *arguments: str) -> None:
    """Run it against the database. Raises Unavailable with what it said last."""
    url, password = _apart(database_url)
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    # Should this process be killed, it ends as well, and lets go of what it holds in the database.
    argv = launch.command([str(program), f"--dbname={url}", "--no-password", *arguments], death=signal.SIGTERM)
    process = await asyncio.create_subprocess_exec(
        *argv,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**own, "LC_ALL": "C", **({"PGPASSWORD": password} if password else {})},
    )
    try:
        _, said = await process.communicate()
    except asyncio.CancelledError:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        raise
    if process.returncode != 0:
        lines = said.decode(errors="replace").strip().splitlines()[-3:]
        raise Unavailable(f"{program.name} failed ({process.returncode}): {' '.join(lines) or 'it said nothing'}")


def _apart(database_url: str) -> tuple[str, str | None]:
    """The URL without its password, which everybody on the machine could read in the list of processes.

    One in the query (`?password=`) counts where there is none before the host, as for the server's own connections.
    """
    parts = urlsplit(database_url)
    pairs = [pair.partition("=") for pair in parts.query.split("&")] if parts.query else []
    asked = [unquote_plus(value) for name, _, value in pairs if unquote_plus(name) == "password"]
    rest = "&".join("".join(pair) for pair in pairs if unquote_plus(pair[0]) != "password")
    user, at, host = parts.netloc.rpartition("@")
    bare = parts._replace(netloc=f"{user.partition(':')[0]}{at}{host}", query=rest)
    password = unquote(parts.password) if parts.password else next(reversed(asked), None)
    return urlunsplit(bare), password
