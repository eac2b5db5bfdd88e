"""The embedded default: a real PostgreSQL and a real Redis under one data folder, while a `with` block runs.

`running` starts them, `attach` finds those that another process runs. With QM_DATABASE_URL and QM_REDIS_URL
set, nothing here is used. The data folder holds `postgres/`, `redis/`, a log, a password and a lock for each
(`postgres.log`, `postgres.password`, `postgres.lock`), its own `lock` and, while they run, `run.json`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from server.embedded import postgres as _postgres
from server.embedded import redis as _redis
from server.embedded.folder import EmbeddedError, held_by_another, make, owned, read_run, write_run
from server.embedded.process import Server

__all__ = ["EmbeddedError", "Services", "attach", "running"]


@dataclass(frozen=True)
class Services:
    """Where the services listen; "" for one that was not asked for."""

    database_url: str  # postgresql://quartermaster:<password>@127.0.0.1:<port>/quartermaster
    redis_url: str  # redis://:<password>@127.0.0.1:<port>/0
    servers: tuple[Server, ...] = field(default=(), repr=False, compare=False)  # those that this process runs


@contextmanager
def running(data_dir: Path, *, postgres: bool = True, redis: bool = True) -> Iterator[Services]:
    """Start what is asked for, yield where it listens once ready, stop it (Redis, then PostgreSQL) after.

    Enter it from the main thread: on Linux the services also stop, cleanly, when the thread that started them
    ends, even by SIGKILL. Raises EmbeddedError if another process holds `data_dir` or a service cannot run.
    """
    data_dir = data_dir.absolute()
    make(data_dir)
    with ExitStack() as stack:
        stack.enter_context(owned(data_dir))
        # Both are started before either is waited for. Left in reverse order, so Redis stops first.
        database = stack.enter_context(_postgres.started(data_dir)) if postgres else None
        queue = stack.enter_context(_redis.started(data_dir)) if redis else None
        redis_url = queue.ready() if queue else ""
        database_url = database.ready() if database else ""
        servers = {"postgres": database.server if database else None, "redis": queue.server if queue else None}
        services = Services(database_url, redis_url, tuple(server for server in servers.values() if server))

        def tell() -> None:
            pids = {name: server.pid if server else 0 for name, server in servers.items()}
            write_run(data_dir, {"database_url": database_url, "redis_url": redis_url, "pids": pids})

        tell()
        for server in services.servers:
            server.restarted = tell
        yield services


def attach(data_dir: Path) -> Services | None:
    """The services of the process that holds this data folder right now; None if none does, or they start.

    Raises EmbeddedError if they belong to another user.
    """
    if not held_by_another(data_dir):
        return None
    entries = read_run(data_dir)
    if entries is None:
        return None
    return Services(database_url=entries["database_url"], redis_url=entries["redis_url"])
