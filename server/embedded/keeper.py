"""Keeping the embedded services up: one that ends though nobody stopped it is started again where it was.

Their clients hold the port and the password, so nothing else has to be told. How a service starts and stops
is in `process`; who runs this is `server.serve`.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterable
from typing import NoReturn

from server.embedded.process import Server

_LOOK = 0.2  # seconds between two looks at a process, which cost microseconds
_LONGEST_DELAY = 10.0
_STEADY_AFTER = 30.0  # a service that was up this long is started again without a delay


async def keep(servers: Iterable[Server], on_event: Callable[[str], None]) -> None:
    """Watch over these servers until cancelled. Run it in the thread that started them, and stop them after."""
    await asyncio.gather(*(_keep(server, on_event) for server in servers))


async def _keep(server: Server, on_event: Callable[[str], None]) -> NoReturn:
    loop = asyncio.get_running_loop()
    delay, started = 0.0, loop.time()
    while True:
        await asyncio.sleep(_LOOK)
        ending = server.ending()
        if ending is None:
            continue
        delay = 0.0 if loop.time() - started >= _STEADY_AFTER else min(max(_LOOK, delay * 2), _LONGEST_DELAY)
        on_event(f"{server.name}: {_how(ending)}; starting again in {delay:.1f} s")
        await asyncio.sleep(delay)
        try:
            server.restart()
        except OSError as error:
            on_event(f"{server.name}: could not be started ({error.strerror})")
        started = loop.time()


def _how(ending: int) -> str:
    return f"killed by {signal.Signals(-ending).name}" if ending < 0 else f"exited with code {ending}"
