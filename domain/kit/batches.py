"""Doing together what arrives together: while one batch is under way, the next one gathers.

A lone call is handled at once; under load a transaction, its commit and its round trips are shared by all that
came meanwhile, so the cost of each falls as their number grows, and nobody waits for a timer.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextvars import Context
from typing import Generic, TypeVar

from domain.kit.errors import Unavailable

I = TypeVar("I")  # noqa: E741 - what goes in
O = TypeVar("O")  # noqa: E741 - what comes out


class Batches(Generic[I, O]):
    """`handle` takes at most `most` items of different keys and returns, aligned, results or exceptions.
    Without `key` equal items may be in one batch. `on_idle` is called when nothing is under way any more.

    A batch that fails as a whole is handled again one by one, so that one bad item never fails its neighbours;
    `handle` must therefore have no effect when it raises, which a transaction gives.
    """

    def __init__(
        self,
        handle: Callable[[list[I]], Awaitable[Sequence[O | Exception]]],
        *,
        key: Callable[[I], Hashable] | None = None,
        most: int = 100,
        waiting: int = 5_000,
        on_idle: Callable[[], object] = lambda: None,
    ) -> None:
        self._handle = handle
        self._key = key
        self._most = most
        self._most_waiting = waiting
        self._on_idle = on_idle
        self._waiting: deque[tuple[I, asyncio.Future[O]]] = deque()
        self._running: asyncio.Task[None] | None = None

    async def do(self, item: I) -> O:
        """The item's result. Raises its exception, and Unavailable when too many wait already."""
        return await self.begun(item)

    def begun(self, item: I) -> "asyncio.Future[O]":
        """The result to come, for who waits at once. Raises Unavailable when too many wait already."""
        if len(self._waiting) >= self._most_waiting:
            raise Unavailable("The server is busy: too many wait already.", code="BUSY", retry_after=5)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[O] = loop.create_future()
        self._waiting.append((item, done))
        if self._running is None:
            # In a context of its own: it serves many callers, not just the one that started it.
            self._running = loop.create_task(self._run(), context=Context())
        return done

    async def _run(self) -> None:
        batch: list[tuple[I, asyncio.Future[O]]] = []
        try:
            while batch := self._next():
                await self._settle(batch)
        finally:
            for _, done in (*batch, *self._waiting):  # none, unless this was cancelled
                _finish(done, Unavailable("The server is stopping."))
            self._waiting.clear()
            self._running = None
            self._on_idle()

    def _next(self) -> list[tuple[I, "asyncio.Future[O]"]]:
        if self._key is None:
            batch: list[tuple[I, asyncio.Future[O]]] = []
            while self._waiting and len(batch) < self._most:
                if not (one := self._waiting.popleft())[1].done():  # else its caller left
                    batch.append(one)
            return batch
        taken: dict[Hashable, tuple[I, asyncio.Future[O]]] = {}
        later = []
        while self._waiting and len(taken) < self._most:
            item, done = self._waiting.popleft()
            if done.done():  # its caller left
                continue
            if (key := self._key(item)) in taken:
                later.append((item, done))
            else:
                taken[key] = (item, done)
        self._waiting.extendleft(reversed(later))
        return list(taken.values())

    async def _settle(self, batch: list[tuple[I, "asyncio.Future[O]"]]) -> None:
        try:
            results = await self._handle([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            if len(batch) == 1:
                _finish(batch[0][1], error)
                return
            for one in batch:
                await self._settle([one])
            return
        for (_, done), result in zip(batch, results, strict=True):
            _finish(done, result)


def _finish(done: "asyncio.Future[O]", result: O | Exception) -> None:
    if done.done():
        return
    if isinstance(result, Exception):
        done.set_exception(result)
    else:
        done.set_result(result)
