"""Stepping: run coroutines as far as they get without waiting, so that only what waits costs a task.

Nearly everything in the engine is `async def`, because any field may turn out to be answered later. A
coroutine is therefore first stepped by hand. Before it waits for anything of the caller's it pauses, which
hands control back to whoever steps it; what did not pause is finished and needed no task. What paused is
continued in earnest, within the caller's task or in a task of its own beside its siblings.

No foreign awaitable is ever started while stepping, so each runs entirely within the task that awaits it,
as timeouts and cancel scopes require.
"""

import asyncio
from collections.abc import Awaitable, Coroutine, Generator, Sequence
from types import coroutine
from typing import Any, TypeVar

from graphql.pyutils import gather_with_cancel, is_awaitable
from graphql.type.definition import GraphQLResolveInfoHelpers

T = TypeVar("T")


class Stepper:
    """Steps the coroutines of one execution."""

    __slots__ = ("_stepping",)

    def __init__(self) -> None:
        self._stepping = False

    def drive(self, work: Coroutine[Any, Any, T]) -> T | Awaitable[T]:
        """The result of a coroutine if it never waits, otherwise an awaitable of it."""
        finished, result = self._step(work)
        return result if finished else _finish(work)

    async def together(self, works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
        """Run coroutines concurrently. They may pause, but raise only what ends the whole execution."""
        stepped = [self._step(work) for work in works]
        results = [result for _, result in stepped]
        waiting = [index for index, (finished, _) in enumerate(stepped) if not finished]
        if waiting:
            if self._stepping:
                await self._pause()
            if len(waiting) == 1:
                results[waiting[0]] = await _finish(works[waiting[0]])
            else:
                finished = await _in_tasks([works[index] for index in waiting])
                for index, result in zip(waiting, finished, strict=True):
                    results[index] = result
        return results

    async def in_earnest(self, awaitable: Awaitable[T]) -> T:
        """The result of an awaitable of the caller's."""
        if self._stepping:
            await self._pause()
        return await awaitable

    async def settle(self, awaitables: Sequence[Awaitable[Any]]) -> list[Any]:
        """The results of awaitables; an exception where one raised."""
        if len(awaitables) == 1:
            try:
                return [await self.in_earnest(awaitables[0])]
            except Exception as error:  # noqa: BLE001 - it is the field's error
                return [error]
        if self._stepping:
            await self._pause()
        results = await asyncio.gather(*awaitables, return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException) and not isinstance(result, Exception):
                raise result
        return results

    def _step(self, work: Coroutine[Any, Any, T]) -> tuple[bool, Any]:
        before, self._stepping = self._stepping, True
        try:
            work.send(None)
        except StopIteration as stop:
            return True, stop.value
        finally:
            self._stepping = before
        return False, None

    @coroutine
    def _pause(self) -> Generator[None, None, None]:
        yield


async def _finish(work: Coroutine[Any, Any, T]) -> T:
    result: T = await _rest(work)
    return result


@coroutine
def _rest(work: Coroutine[Any, Any, T]) -> Generator[Any, Any, T]:
    # `await work` is refused for a coroutine that has begun.
    return (yield from work.__await__())


async def _in_tasks(works: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    tasks = [asyncio.ensure_future(_finish(work)) for work in works]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        raise


_background: set[asyncio.Future[Any]] = set()


def _track(values: Sequence[Any]) -> None:
    """Let awaitables that a resolver gave up settle in the background."""
    awaitables = [value for value in values if is_awaitable(value)]
    try:
        asyncio.get_running_loop()
    except RuntimeError:  # they can never run
        for awaitable in awaitables:
            if isinstance(awaitable, Coroutine):
                awaitable.close()
        return
    future = asyncio.gather(*awaitables, return_exceptions=True)
    _background.add(future)
    future.add_done_callback(_background.discard)


def _gather(values: Sequence[Awaitable[Any]]) -> Awaitable[list[Any]]:
    return gather_with_cancel(*values)


HELPERS = GraphQLResolveInfoHelpers(gather=_gather, track=_track)
"""What `info.async_helpers` offers to resolvers."""
