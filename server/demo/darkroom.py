"""Where photographs are drawn: in one thread, so that the demo leaves the server its share of the machine."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from server.demo.shelf import Shelf

_QUEUE = 8  # more that wait would make cameras stay awake for seconds


class Darkroom:
    """`is_full` when a camera had better not ask for a photograph now."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(1, "darkroom")
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        return self._waiting >= _QUEUE

    async def photograph(self, shelf: Shelf, *, at: datetime, battery_pct: float, signal: float) -> bytes:
        """The shelf as it is now, as JPEG."""

        def draw() -> bytes:
            return shelf.photograph(at=at, battery_pct=battery_pct, signal=signal)

        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, draw)
        finally:
            self._waiting -= 1

    def close(self) -> None:
        """Give up what nobody waits for any more."""
        self._thread.shutdown(wait=False, cancel_futures=True)
