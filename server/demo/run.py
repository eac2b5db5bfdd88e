"""`quartermaster demo`: simulated pantry cameras against a running server, through its public routes only."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx
from rich.console import Console
from rich.markup import escape

from domain.kit.tasks import end
from server.demo.camera import Camera
from server.demo.client import DemoError, GraphQLError, Server
from server.demo.darkroom import Darkroom
from server.demo.fleet import WAKE_INTERVAL, muster
from server.demo.screen import show, totals

_LAST_LOOKS = 100  # each after 50 ms, at what was accepted and is not processed yet


async def run_demo(*, url: str, email: str, password: str, devices: int, seconds: float | None) -> int:
    """Run until Ctrl-C, or for so many seconds; returns the exit code: 0, or 1 with a sentence why not."""
    console = Console()
    try:
        async with Server.signed_in(url, email, password) as server:
            cameras = await muster(server, devices)
            await _run(console, server, cameras, seconds)
    except (DemoError, httpx.TransportError, GraphQLError) as error:
        Console(stderr=True).print(f"[bold red]No demo.[/] {escape(str(error))}", highlight=False, soft_wrap=True)
        return 1
    return 0


async def _run(console: Console, server: Server, cameras: Sequence[Camera], seconds: float | None) -> None:
    console.print(
        f"{len(cameras)} cameras of the client “Demo pantry” report to {server.http.base_url}", soft_wrap=True
    )
    started, darkroom = time.monotonic(), Darkroom()
    updates = await server.photo_updates()
    watching = [
        asyncio.create_task(_watch(updates, {camera.key: camera for camera in cameras})),
        asyncio.create_task(show(console, cameras, started)),
    ]
    living = [asyncio.create_task(camera.live(server.http, darkroom, WAKE_INTERVAL)) for camera in cameras]
    try:
        with _stop_on_signal() as stop:
            await _first_of(stop.wait(), seconds, watching + living)
        await end(*living)
        await _processed(cameras)
    finally:
        darkroom.close()
        await end(*living, *watching)
    console.print(f"After {time.monotonic() - started:.0f} s: {totals(cameras)}.", highlight=False, soft_wrap=True)


async def _watch(updates: AsyncIterator[dict[str, Any]], cameras: dict[str, Camera]) -> None:
    async for update in updates:
        image = update["image"]
        camera = cameras.get(image["device"]["key"]) if image and image["device"] else None
        if camera is not None:
            camera.saw(image["id"], image["status"])


async def _first_of(stop: Any, seconds: float | None, tasks: Sequence[asyncio.Task[None]]) -> None:
    """Wait for the signal or the time. Raises what a task raises: none of them ends by itself."""
    stopping = asyncio.ensure_future(stop)
    done, _ = await asyncio.wait({stopping, *tasks}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in done - {stopping}:
        task.result()


async def _processed(cameras: Sequence[Camera]) -> None:
    for _ in range(_LAST_LOOKS):
        if not any(camera.waiting for camera in cameras):
            return
        await asyncio.sleep(0.05)


@contextmanager
def _stop_on_signal() -> Iterator[asyncio.Event]:
    """Set by the first Ctrl-C; the next one is not caught any more."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM)
    for number in signals:
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
