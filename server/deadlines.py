"""One time limit for all who have the same, with one timer of the event loop.

`asyncio.timeout` sets and cancels a timer for each use, nearly none of which ever rings. Here whoever begins first
is over first, so that the only timer is set for the oldest who is still at work, and set again when it has rung.
"""

import asyncio
from collections import deque
from types import TracebackType


class Deadlines:
    """Of one event loop. `with deadlines.limit():` raises TimeoutError after so many seconds."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._limits: deque[_Limit] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def limit(self) -> "_Limit":
        """For the block that the current task is about to enter."""
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        limit = _Limit(task, loop.time() + self._seconds)
        self._limits.append(limit)
        if self._timer is None:
            self._timer = loop.call_at(limit.at, self._ring, loop)
        elif self._limits[0].task is None:
            self._forget_ended()
        return limit

    def _ring(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        self._forget_ended()
        while self._limits and self._limits[0].at <= loop.time():
            self._limits.popleft().expire()
            self._forget_ended()
        if self._limits:
            self._timer = loop.call_at(self._limits[0].at, self._ring, loop)

    def _forget_ended(self) -> None:
        limits = self._limits
        while limits and limits[0].task is None:
            limits.popleft()


class _Limit:
    """One use. `task` is None when its block has ended."""

    __slots__ = ("_cancelling", "_expired", "at", "task")

    def __init__(self, task: "asyncio.Task[object]", at: float) -> None:
        self.task: asyncio.Task[object] | None = task
        self.at = at
        self._cancelling = task.cancelling()
        self._expired = False

    def expire(self) -> None:
        assert self.task is not None
        self._expired = True
        self.task.cancel()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        task, self.task = self.task, None
        assert task is not None
        # Somebody else may have cancelled the task as well: then it is cancelled.
        if self._expired and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
