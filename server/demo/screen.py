"""What a person sees of the demonstration: a live table on a terminal, plain lines elsewhere."""

import asyncio
import statistics
import time
from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from server.demo.camera import Camera

_FRAME = 0.25
_LINE_EVERY = 5.0  # seconds, where there is no terminal
_WIDE = 100  # columns, from which on the last answer has room too
_AROUND_TABLE = 8  # lines of the screen that are not for rows


async def show(console: Console, cameras: Sequence[Camera], started: float) -> None:
    """Until cancelled."""
    if not console.is_terminal:
        while True:
            await asyncio.sleep(_LINE_EVERY)
            console.print(
                f"{time.monotonic() - started:4.0f} s: {totals(cameras)}", highlight=False, soft_wrap=True
            )
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(_picture(console, cameras, started), refresh=True)
            await asyncio.sleep(_FRAME)


def totals(cameras: Sequence[Camera]) -> str:
    """The sums, in one line."""
    sent, accepted, processed, rejected = (
        sum(getattr(camera, name) for camera in cameras) for name in ("sent", "accepted", "processed", "rejected")
    )
    delays = [delay for camera in cameras for delay in camera.delays]
    half = f", half of them READY within {statistics.median(delays):.2f} s of the 201" if delays else ""
    return f"{sent} photos sent, {accepted} accepted, {processed} processed, {rejected} rejected{half}"


def _picture(console: Console, cameras: Sequence[Camera], started: float) -> Group:
    now = time.monotonic()
    wide = console.width >= _WIDE
    table = Table(title="Demo pantry", title_justify="left", box=SIMPLE_HEAD, padding=(0, 1 if wide else 0))
    for name in ("device", "now", "battery", "signal"):
        table.add_column(name, no_wrap=True)
    for name in ("sent", "accepted", "processed", "rejected"):
        table.add_column(name, justify="right")
    if wide:
        table.add_column("last answer", no_wrap=True)
    shown = cameras[: max(1, console.height - _AROUND_TABLE)]
    for camera in shown:
        table.add_row(*_row(camera, now), *([camera.last] if wide else []))
    more = f"… and {len(cameras) - len(shown)} more devices. " if len(shown) < len(cameras) else ""
    return Group(table, Text(f"{more}{now - started:.0f} s: {totals(cameras)}."), Text("Ctrl-C ends.", "dim"))


def _row(camera: Camera, now: float) -> tuple[Text | str, ...]:
    asleep = camera.doing == "asleep"
    doing = f"asleep {max(0.0, camera.asleep_until - now):.0f} s" if asleep else camera.doing
    counts = (camera.sent, camera.accepted, camera.processed, camera.rejected)
    return (
        camera.key,
        Text(doing, "dim" if asleep else "bold"),
        _battery(camera.battery),
        f"{camera.rssi:.0f} dBm",
        *(str(count) for count in counts),
    )


def _battery(percent: float) -> Text:
    full = round(percent / 20)
    style = "red" if percent < 15 else "yellow" if percent < 40 else "green"
    return Text.assemble(("█" * full, style), ("░" * (5 - full), "dim"), f" {percent:3.0f} %")
