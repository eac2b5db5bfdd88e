"""The `quartermaster` command. Each subcommand reads the settings, then imports what it needs and runs it."""

import asyncio
import os
import signal
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from server.settings import PREFIX, Settings, SettingsError, load_settings, with_secret_key
from server.storage.commands import storage_app

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
out = Console()
err = Console(stderr=True)

EX_CONFIG = 78

T = TypeVar("T")

Host = Annotated[str | None, typer.Option(help="Address to listen on (QM_HOST).")]
Port = Annotated[int | None, typer.Option(help="Port to listen on (QM_PORT).")]
DataDir = Annotated[Path | None, typer.Option(help="Data folder (QM_DATA_DIR).")]

Folder = Annotated[Path, typer.Argument(help="The folder of the files.", file_okay=False)]
ClientName = Annotated[str, typer.Option("--client", help="Name or id of the client whose configs they are.")]


def main() -> None:
    """The entry point: runs the command and turns what is the operator's to mend into one sentence."""
    from domain.kit.errors import Refusal
    from server.embedded import EmbeddedError

    try:
        app()
    except (SettingsError, EmbeddedError) as error:
        err.print(f"[bold red]Cannot start.[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        sys.exit(EX_CONFIG)
    except Refusal as refusal:
        err.print(f"[bold red]Refused.[/] {escape(refusal.message)}", highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run everything: the embedded services (unless configured otherwise), API, worker and relay."""
    from server.serve import serve as run

    sys.exit(run(load_settings(host=host, port=port, data_dir=data_dir)))


@app.command()
def api(
    workers: Annotated[int, typer.Option(help="API processes.", min=1)] = 1, host: Host = None, port: Port = None
) -> None:
    """Run the API alone."""
    with _attached(load_settings(host=host, port=port)):
        from server.api import run

        run(load_settings(), workers)


@app.command()
def worker() -> None:
    """Run one worker process alone."""
    with _attached(load_settings()):
        from server.background import run_worker_process

        run_worker_process(load_settings(), _stop_on_signal())


@app.command()
def relay() -> None:
    """Run a relay with the schedule. Several may run; one leads."""
    with _attached(load_settings()):
        from server.background import run_relay

        asyncio.run(run_relay(load_settings()))


@app.command()
def migrate() -> None:
    """Bring the database to the newest revision."""
    with _attached(load_settings(), start=True) as settings:
        from migrations import newest_revision
        from server.process import migrate_database

        migrate_database(settings)
        out.print(f"The database is at revision {newest_revision()}.")


@app.command()
def create_admin(
    email: Annotated[str | None, typer.Option(help="E-mail (QM_ADMIN_EMAIL).")] = None,
    password: Annotated[
        str | None, typer.Option(help="Password (QM_ADMIN_PASSWORD); generated when absent.")
    ] = None,
) -> None:
    """Make another admin of the platform."""
    with _attached(load_settings(admin_email=email, admin_password=password), start=True) as settings:
        from server.admin import create_admin as create

        made = asyncio.run(create(settings))
        out.print(f"Admin {made.email} was made.")
        if made.generated_password:
            out.print(f"Its password, shown this once: {made.generated_password}", highlight=False)


@app.command()
def export_schema(
    path: Annotated[Path | None, typer.Argument(help="Where to write; standard output when absent.")] = None,
) -> None:
    """Print the GraphQL schema (SDL)."""
    from resolvers.root import build_schema

    sdl = build_schema().as_str() + "\n"
    if path is None:
        sys.stdout.write(sdl)
    else:
        path.write_text(sdl)


@app.command()
def import_configs(
    folder: Folder,
    client: ClientName,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would happen, and change nothing.")] = False,
    note: Annotated[str | None, typer.Option(help="Why, for the versions that are made.")] = None,
) -> None:
    """Save a folder of JSON files, named by MAC address, as configs. Ends with 1 when a file was skipped."""
    with _attached(load_settings(), start=True) as settings, _progress("Importing") as progress:
        from server.config_files import import_configs as run

        result = asyncio.run(run(settings, folder, client, dry_run=dry_run, note=note, progress=progress))
    for name, reason in result.skipped.items():
        err.print(f"[bold yellow]Skipped[/] {escape(name)}: {escape(reason)}", highlight=False, soft_wrap=True)
    would = "would be " if dry_run else ""
    counts = f"{result.saved} {would}saved, {result.unchanged} unchanged, {len(result.skipped)} skipped."
    out.print(counts, highlight=False)
    sys.exit(1 if result.skipped else 0)


@app.command()
def export_configs(
    folder: Folder,
    client: ClientName,
    effective: Annotated[
        bool, typer.Option("--effective", help="What devices get, templates included, not configs' own content.")
    ] = False,
) -> None:
    """Write a client's configs as JSON files, named by MAC address. Nobody ever finds half a file."""
    with _attached(load_settings(), start=True) as settings, _progress("Exporting") as progress:
        from server.config_files import export_configs as run

        written = asyncio.run(run(settings, folder, client, effective=effective, progress=progress))
    out.print(f"{written} configs written to {folder}.", highlight=False, soft_wrap=True)


@app.command()
def backup(
    to: Annotated[Path | None, typer.Option(help="Folder of backups (QM_BACKUP_DIR).", file_okay=False)] = None,
    with_blobs: Annotated[
        bool | None, typer.Option("--with-blobs/--without-blobs", help="The blobs, too (QM_BACKUP_BLOBS).")
    ] = None,
    thin_out: Annotated[
        bool, typer.Option("--thin-out", help="Then remove all but the newest QM_BACKUPS_KEPT.")
    ] = False,
) -> None:
    """Make a backup: the database, a list of the blobs, perhaps the blobs. The secret key is not in it."""
    given = load_settings(backup_dir=to, backup_blobs=with_blobs)
    with _attached(given, start=True) as settings, _progress("Backing up") as progress:
        from server.backups.contents import thin_out as thin
        from server.backups.make import make_backup

        folder, blobs = settings.backup_folder.absolute(), settings.backup_blobs
        made = _stoppable(make_backup(settings, folder, with_blobs=blobs, progress=progress))
        gone = thin(folder, settings.backups_kept) if thin_out else []
    for problem in made.passed_over:
        err.print(f"[bold yellow]Passed over:[/] {escape(problem)}", highlight=False, soft_wrap=True)
    out.print(f"{made.path} was made; {len(gone)} older ones were removed.", highlight=False, soft_wrap=True)


@app.command()
def backups(
    folder: Annotated[Path | None, typer.Argument(help="Folder of backups; QM_BACKUP_DIR when absent.")] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read all of each, and compare its checksums.")] = False,
) -> None:
    """List the backups of a folder, the newest first. Ends with 1 when one is damaged."""
    from server.backups.contents import listed

    found = listed(folder or load_settings().backup_folder, verified=verify)
    table = Table("Backup", "Revision", "Rows", "Blobs", "Bytes", "State")
    for one in found:
        about = one.about
        if about is None:
            table.add_row(one.path.name, "", "", "", "", f"DAMAGED: {one.problem}")
            continue
        blobs = f"{about.blobs:,}" + ("" if about.with_blobs else " (list)")
        state = "verified" if verify else "whole"
        rows = f"{sum(about.tables.values()):,}"
        table.add_row(one.path.name, about.revision, rows, blobs, f"{about.bytes:,}", state)
    (out if sys.stdout.isatty() else Console(width=200)).print(table)
    sys.exit(1 if any(one.problem for one in found) else 0)


@app.command()
def restore(
    folder: Annotated[Path, typer.Argument(help="The backup.", exists=True, file_okay=False)],
) -> None:
    """Bring a backup back, into an empty database (and, if it holds blobs, an empty blob store) only."""
    with _attached(load_settings(), start=True) as settings, _progress("Restoring") as progress:
        from server.backups.restore import restore_backup

        done = asyncio.run(restore_backup(settings, folder.absolute(), progress=progress))
    out.print(f"{done.rows} rows and {done.about.blobs} blobs of {done.about.made_at}.", highlight=False)
    if not done.same_key:
        err.print(
            f"[bold yellow]Another secret key:[/] {PREFIX}SECRET_KEY is not that of the system that was backed up. "
            "Everybody signs in again, and links that were given out do not work.",
            soft_wrap=True,
        )
    if done.missing:
        err.print(
            f"[bold yellow]Blobs are missing:[/] {done.missing}, such as {escape(done.such_as or '')}.",
            highlight=False,
            soft_wrap=True,
        )
    out.print(
        "The store is not swept by itself from now on: it may hold photos that came after the backup. When "
        "`storage verify` shows nothing that you want to keep, run `cleanupOrphanedBlobs(dryRun: false)`.",
        highlight=False,
        soft_wrap=True,
    )


@app.command()
def settings() -> None:
    """List every setting: its environment variable, its default, what it means."""
    table = Table("Variable", "Default", "Meaning", show_lines=False, expand=True)
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, []) else str(field.default)
        table.add_row(f"{PREFIX}{name.upper()}", default, field.description)
    (out if sys.stdout.isatty() else Console(width=160)).print(table)


@app.command()
def demo(
    devices: Annotated[int, typer.Option(help="Simulated cameras.", min=1, max=500)] = 20,
    url: Annotated[str | None, typer.Option(help="The server; the settings' when absent.")] = None,
    email: Annotated[str | None, typer.Option(help="An admin's e-mail (QM_ADMIN_EMAIL).")] = None,
    password: Annotated[
        str | None, typer.Option(help="Its password; asked for when absent.", envvar="QM_ADMIN_PASSWORD")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Stop after so long; never when absent.")] = None,
) -> None:
    """Register simulated pantry cameras on a running server and watch what becomes of their photos."""
    from server.demo.run import run_demo

    chosen = load_settings(admin_email=email)
    given = password or typer.prompt(f"Password of {chosen.admin_email}", hide_input=True)
    sys.exit(
        asyncio.run(
            run_demo(
                url=url or chosen.url, email=chosen.admin_email, password=given, devices=devices, seconds=seconds
            )
        )
    )


@contextmanager
def _progress(doing: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on the terminal, where there is one; a function that moves it."""
    from rich.progress import Progress

    with Progress(console=err, transient=True, disable=not err.is_terminal) as progress:
        task = progress.add_task(doing)
        yield lambda done, total: progress.update(task, completed=done, total=total)


@contextmanager
def _attached(settings: Settings, *, start: bool = False) -> Iterator[Settings]:
    """Settings with real URLs: those given, or those of the embedded services that run (or are started)."""
    from server.embedded import EmbeddedError, attach, running

    settings = with_secret_key(settings)
    if settings.database_url and settings.redis_url:
        yield _publish(settings, {})
        return
    services = attach(settings.data_dir)
    if services is not None:
        yield _publish(settings, {"database_url": services.database_url, "redis_url": services.redis_url})
    elif start:
        with running(settings.data_dir, redis=False) as started:
            yield _publish(settings, {"database_url": settings.database_url or started.database_url})
    else:
        raise EmbeddedError(
            f"Set {PREFIX}DATABASE_URL and {PREFIX}REDIS_URL, or run `quartermaster serve`, which starts both."
        )


def _publish(settings: Settings, urls: dict[str, Any]) -> Settings:
    """Put the settings into the environment, where this process and those that it starts read them."""
    found = {name: url for name, url in urls.items() if getattr(settings, name) is None}
    settings = settings.model_copy(update=found)
    os.environ.update(settings.environment())
    settings.metrics_folder.mkdir(parents=True, exist_ok=True)
    # Read by prometheus_client when it is imported; see server/metrics.py.
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(settings.metrics_folder)
    return settings


def _stoppable(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end. SIGTERM and SIGINT (which shells ignore for what they run behind) cancel it, so that it
    cleans up, and are as Ctrl-C then."""

    async def run() -> T:
        task = asyncio.current_task()
        assert task is not None  # it runs
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
        return await work

    try:
        return asyncio.run(run())
    except asyncio.CancelledError:
        raise KeyboardInterrupt from None


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    return stop


app.add_typer(storage_app(out, err, _attached, _progress), name="storage")
