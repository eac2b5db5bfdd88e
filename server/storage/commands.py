"""`quartermaster storage …`, as it is typed and what it prints."""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from domain.kit.blobs.places import Place, read_place
from domain.kit.errors import Invalid
from server.settings import Settings, load_settings

if TYPE_CHECKING:
    from server.storage.verify import Progress, Verified

_SHOWN = 20

Attached = Callable[..., AbstractContextManager[Settings]]
Shown = Callable[[str], AbstractContextManager["Progress"]]
Address = Annotated[str, typer.Argument(help="folder:///absolute/path or s3://bucket/prefix?endpoint=…")]


def storage_app(out: Console, err: Console, attached: Attached, progress: Shown) -> typer.Typer:
    """The commands; `attached` and `progress` are the command line's own ways to connect and to show."""
    app = typer.Typer(no_args_is_help=True, help="Look after the blob store.")

    @app.command()
    def verify(
        repair: Annotated[
            bool,
            typer.Option("--repair", help="Take away what no row names; make again what can be made."),
        ] = False,
        deep: Annotated[bool, typer.Option("--deep", help="Read every blob whose hash is known.")] = False,
        max_share: Annotated[
            float, typer.Option(help="Take nothing away if more than this share is named by nobody.", min=0, max=1)
        ] = 0.1,
        report: Annotated[Path | None, typer.Option(help="Write every finding here, as JSON lines.")] = None,
    ) -> None:
        """Compare blobs and rows both ways. Ends with 1 when something is wrong, and stays so."""
        with attached(load_settings(), start=True) as settings, progress("Verifying") as show:
            from server.storage.verify import verify as run

            found = asyncio.run(run(settings, repair=repair, deep=deep, max_share=max_share, progress=show))
        _print(out, err, found, repair)
        if report is not None:
            report.write_text("".join(_lines(found)))
        sys.exit(0 if found.is_well else 1)

    @app.command()
    def move(
        source: Address,
        target: Address,
        deep: Annotated[bool, typer.Option("--deep", help="Read and compare what is there already, too.")] = False,
        delete: Annotated[
            bool, typer.Option("--delete", help="Delete from the source what has arrived, if everything has.")
        ] = False,
    ) -> None:
        """Copy every blob, and read it back. Run it again to go on after a stop, and for what came meanwhile."""
        with progress("Moving") as show:
            from server.settings import with_secret_key
            from server.storage.apart import looks_like
            from server.storage.move import move as run

            settings = with_secret_key(load_settings())
            places = _place(source), _place(target)
            if delete and looks_like(places[0], settings.storage) and places[1] != settings.storage:
                err.print(
                    "[bold yellow]The source is the store that QM_STORAGE_URL names[/], and will be empty: set it "
                    "to the target before the server starts.",
                    highlight=False,
                    soft_wrap=True,
                )
            moved = asyncio.run(run(settings, *places, deep=deep, delete=delete, progress=show))
        for key, reason in list(moved.failed.items())[:_SHOWN]:
            err.print(f"[bold red]Failed[/] {key}: {escape(reason)}", highlight=False, soft_wrap=True)
        out.print(
            f"{moved.copied} blobs ({moved.bytes} bytes) copied, {moved.already} were there already, "
            f"{moved.deleted} deleted from the source, {len(moved.failed)} failed.",
            highlight=False,
            soft_wrap=True,
        )
        sys.exit(1 if moved.failed else 0)

    return app


def _place(address: str) -> Place:
    try:
        return read_place(address)
    except ValueError as error:
        raise Invalid(f"This is no address of a store: {error}.") from None


def _print(out: Console, err: Console, found: "Verified", repair: bool) -> None:
    table = Table("Kind", "Blobs", "Bytes", "Named by nobody", "Too young to tell")
    for kind in found.kinds:
        unnamed = f"{kind.orphans} ({kind.orphan_bytes} bytes)" if kind.known else "left alone"
        table.add_row(kind.kind, str(kind.blobs), str(kind.bytes), unnamed, str(kind.young))
    out.print(table)
    for words, keys in _findings(found):
        for key in keys[:_SHOWN]:
            err.print(f"[bold yellow]{words}[/] {key}", highlight=False, soft_wrap=True)
        if len(keys) > _SHOWN:
            err.print(f"… and {len(keys) - _SHOWN} more.", highlight=False)
    counts = ", ".join(f"{len(keys)} {words.lower()}" for words, keys in _findings(found))
    out.print(f"{found.named} blobs are named by rows; {counts}.", highlight=False, soft_wrap=True)
    if repair:
        _print_repair(out, err, found)


def _print_repair(out: Console, err: Console, found: "Verified") -> None:
    if found.refused:
        err.print(f"[bold red]Nothing was mended.[/] {escape(found.refused)}", highlight=False, soft_wrap=True)
        return
    if found.held:
        err.print(
            f"[bold red]Nothing more was taken away.[/] {escape(found.held)}", highlight=False, soft_wrap=True
        )
    elif found.orphans_left:
        err.print(f"{found.orphans_left} more are named by nobody: run it again.", highlight=False)
    if found.not_whole:
        err.print(
            f"[bold yellow]Not made again:[/] {found.not_whole} images, whose originals are gone or other bytes.",
            highlight=False,
            soft_wrap=True,
        )
    out.print(
        f"{found.removed} taken away, {found.made_again} images are made again, {found.forgotten} sizes are when "
        "somebody asks for them.",
        highlight=False,
        soft_wrap=True,
    )


def _findings(found: "Verified") -> list[tuple[str, list[str]]]:
    return [
        ("Named by nobody", [one.key for one in found.orphans]),
        ("Missing", [one.key for one in found.missing]),
        ("Lost", [one.key for one in found.lost]),
        ("Of the wrong size", [one.key for one in found.wrong_size]),
        ("With other bytes", found.wrong_hash),
    ]


def _lines(found: "Verified") -> Iterable[str]:
    for words, keys in _findings(found):
        for key in keys:
            yield json.dumps({"finding": words, "key": key}) + "\n"
