"""What can wait a tenth of a second: many small writes become one.

A log line is a system call, and telling Prometheus of one request takes as long as reading a row. Both are
collected and written together. What a killed process had collected is lost, a tenth of a second's worth at most.
"""

import asyncio
import atexit
from collections.abc import Callable

_LATER = 0.1  # seconds

Work = Callable[[], None]
_waiting: set[Work] = set()


def soon(work: Work) -> None:
    """Do this within a tenth of a second, once however often it is asked for; at once where no event loop runs."""
    if work in _waiting:
        return
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    if not _waiting:
        loop.call_later(_LATER, finish)
    _waiting.add(work)


def finish() -> None:
    """Do what waits, now."""
    works = [*_waiting]
    _waiting.clear()
    for work in works:
        work()


atexit.register(finish)
