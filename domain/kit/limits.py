"""Rate limits that hold across processes, by the `limits` library on Redis.

When Redis is away each process counts for itself: a limit then is a little looser, never absent.
"""

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.exceptions import RedisError

from domain.kit.errors import TooMany

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

    async def spend(self, limit: RateLimitItem, *who: str) -> None:
        """Count one. Raises TooMany, and counts nothing, when the limit is reached."""
        try:
            allowed = await self._shared.hit(limit, *who)
        except (RedisError, OSError):
            allowed = await self._own.hit(limit, *who)
        if not allowed:
            raise _too_many(limit)

    async def demand(self, limit: RateLimitItem, *who: str) -> None:
        """Count nothing. Raises TooMany when the limit is reached."""
        try:
            allowed = await self._shared.test(limit, *who)
        except (RedisError, OSError):
            allowed = await self._own.test(limit, *who)
        if not allowed:
            raise _too_many(limit)


def _too_many(limit: RateLimitItem) -> TooMany:
    seconds = limit.get_expiry()
    return TooMany(f"Too many requests: at most {limit.amount} in {seconds} s.", retry_after=seconds)
