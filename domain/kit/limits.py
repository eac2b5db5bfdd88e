"""Rate limits that hold across processes, by the `limits` library on Redis.

When Redis is away each process counts for itself: a limit then is a little looser, never absent.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from weakref import WeakValueDictionary

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from domain.kit.errors import TooMany, Unauthenticated

__all__ = ["Limiter", "per_minute"]


def per_minute(amount: int, name: str) -> RateLimitItem:
    """A limit of so many a minute; the name keeps its counts apart from those of other limits."""
    return RateLimitItemPerMinute(amount, namespace=name)


class Limiter:
    """Moving windows. `redis_url` as redis-py takes it; keys begin with the namespace."""

    def __init__(self, redis_url: str, namespace: str) -> None:
        storage = RedisStorage(
            f"async+{redis_url}", implementation="redispy", key_prefix=f"{namespace}:limits", socket_timeout=1
        )
        self._shared = MovingWindowRateLimiter(storage)
        self._own = MovingWindowRateLimiter(MemoryStorage())
        self._here = Windows()
        self._guesses: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    async def spend(self, limit: RateLimitItem, *who: str) -> None:
        """Count one. Raises TooMany, and counts nothing, when the limit is reached."""
        try:
            allowed = await self._shared.hit(limit, *who)
        except (RedisError, OSError):
            allowed = await self._own.hit(limit, *who)
        if not allowed:
            raise await self._too_many(limit, *who)

    def spend_here(self, limit: RateLimitItem, *who: str) -> None:
        """As `spend`, counted by this process alone: for what comes often and may come a little oftener."""
        if (seconds := self._here.hit(limit, who, time.monotonic())) is not None:
            raise _too_many(limit, time.time() + seconds)

    async def demand(self, limit: RateLimitItem, *who: str) -> None:
        """Count nothing. Raises TooMany when the limit is reached."""
        try:
            allowed = await self._shared.test(limit, *who)
        except (RedisError, OSError):
            allowed = await self._own.test(limit, *who)
        if not allowed:
            raise await self._too_many(limit, *who)

    @asynccontextmanager
    async def guess(self, limit: RateLimitItem, *guessers: tuple[str, str]) -> AsyncIterator[None]:
        """Around one guess at a secret: a wrong one (Unauthenticated) counts against each of the guessers.

        Raises TooMany when one of them has no guess left. Guesses of the first guesser wait for each other,
        so that many sent at once are no more than many sent one by one.
        """
        async with self._guesses.setdefault(guessers[0], asyncio.Lock()):
            for guesser in guessers:
                await self.demand(limit, *guesser)
            try:
                yield
            except Unauthenticated:
                for guesser in guessers:
                    with suppress(TooMany):  # somebody else took the last one meanwhile
                        await self.spend(limit, *guesser)
                raise

    async def _too_many(self, limit: RateLimitItem, *who: str) -> TooMany:
        try:
            stats = await self._shared.get_window_stats(limit, *who)
        except (RedisError, OSError):
            stats = await self._own.get_window_stats(limit, *who)
        return _too_many(limit, stats.reset_time)


class Windows:
    """Counts of one process, by moving windows: what came in this window, and of the one before the share that the
    window that ends now still covers.

    The library's own storage in memory looks through every key in a thread, again and again: a fifth of the
    processor when tens of thousands of devices report. Here whole windows are dropped.
    """

    def __init__(self) -> None:
        self._now: dict[tuple[str, int], tuple[int, _Counts, _Counts]] = {}

    def hit(self, limit: RateLimitItem, who: tuple[str, ...], now: float) -> float | None:
        """Count one at this moment (seconds of a clock that only goes on), unless the limit is reached: then the
        seconds until there is room.
        """
        length = limit.get_expiry()
        number, into = divmod(now, length)
        before, here = self._windows((limit.namespace, length), int(number))
        earlier, count = before.get(who, 0), here.get(who, 0)
        if earlier * (1 - into / length) + count + 1 <= limit.amount:
            here[who] = count + 1
            return None
        room = limit.amount - 1 - count
        if room >= 0:
            return length * (1 - room / earlier) - into
        return length - into + length * (1 - (limit.amount - 1) / count)

    def _windows(self, key: tuple[str, int], number: int) -> "tuple[_Counts, _Counts]":
        last, before, here = self._now.get(key, (number, {}, {}))
        if number != last:
            before, here = (here if number == last + 1 else {}), {}
        self._now[key] = (number, before, here)
        return before, here


_Counts = dict[tuple[str, ...], int]


def _too_many(limit: RateLimitItem, reset_time: float) -> TooMany:
    seconds = min(max(1, math.ceil(reset_time - time.time())), limit.get_expiry())
    return TooMany(f"Too many requests: at most {limit.amount} a minute.", retry_after=seconds)
