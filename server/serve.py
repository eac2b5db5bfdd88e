"""`quartermaster serve`: everything on one machine, under one supervisor."""

import asyncio
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console

from server.admin import ensure_admin
from server.embedded import running
from server.embedded.keeper import keep
from server.embedded.process import Server
from server.process import migrate_database
from server.settings import Settings, with_secret_key
from server.supervisor import Child, supervise

_out = Console(soft_wrap=True)  # a URL or a password that is broken in two cannot be copied


def serve(settings: Settings) -> int:
    """Start the services that are not configured elsewhere, migrate, run the processes; returns an exit code."""
    settings = with_secret_key(settings)
    with _services(settings) as (complete, servers):
        migrate_database(complete)
        _welcome(complete)
        return asyncio.run(_supervise(complete, servers))


async def _supervise(settings: Settings, servers: Iterable[Server]) -> int:
    keeping = asyncio.create_task(keep(servers, _say), name="embedded services")
    try:
        return await supervise(_children(settings), on_event=_say)
    finally:
        keeping.cancel()


@contextmanager
def _services(settings: Settings) -> Iterator[tuple[Settings, tuple[Server, ...]]]:
    if settings.database_url and settings.redis_url:
        yield settings, ()
        return
    with running(
        settings.data_dir, postgres=settings.database_url is None, redis=settings.redis_url is None
    ) as started:
        urls = {
            "database_url": settings.database_url or started.database_url,
            "redis_url": settings.redis_url or started.redis_url,
            # Decided now, while it can still be seen which database this is.
            "introspection": settings.explorable,
        }
        yield settings.model_copy(update=urls), started.servers


def _welcome(settings: Settings) -> None:
    admin = asyncio.run(ensure_admin(settings))
    _out.print(f"[bold]Quartermaster[/] at [link]{settings.url}[/], GraphiQL at {settings.url}/graphql")
    if admin is None:
        _out.print(f"Admin: {settings.admin_email} (made earlier)", highlight=False)
    else:
        _out.print(f"Admin: {admin.email}", highlight=False)
        if admin.generated_password:
            _out.print(f"Password, shown this once: [bold]{admin.generated_password}[/]", highlight=False)
    _out.print("Ctrl-C stops everything.")


def _children(settings: Settings) -> list[Child]:
    # Files of processes that are long gone would be counted for ever. The folder may hold other things too.
    for kind in ("counter", "gauge", "histogram"):
        for path in settings.metrics_folder.glob(f"{kind}_*.db"):
            path.unlink(missing_ok=True)
    environment = {**os.environ, **settings.environment()}
    command = [sys.executable, "-m", "server"]
    return [Child(name, [*command, name], environment) for name in ("api", "worker", "relay")]


def _say(event: str) -> None:
    _out.print(f"[dim]{event}[/]", highlight=False)
