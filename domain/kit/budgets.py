"""What a caller may spend: a token bucket for each, in Redis, shared by all processes.

Asking Redis takes longer than many a query. So a process takes more tokens than it needs, a *lease*, and
spends from that without asking. Tokens leave the bucket before they are spent: all processes together never
spend more than it held. What is left of a lease is put back with the next question.

When Redis is away each process fills a bucket of its own: the limit is looser then, never absent.
"""

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import NamedTuple

from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.kit.errors import TooMany

_CALLERS = 10_000
_LEASES = 20  # a lease is so small a part of the bucket
_LEASE_LASTS = 10.0  # seconds; a caller that moved to another process gets back what the first one holds

# Time is Redis' own: those of several machines differ. Tokens are kept as they were at the time beside them.
_TAKE = """
local now = redis.call('TIME')
now = now[1] + now[2] / 1000000
local capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2])
local need, wish, back = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local kept = redis.call('HMGET', KEYS[1], 'tokens', 'at')
local tokens = capacity
if kept[1] then
  tokens = math.min(capacity, kept[1] + math.max(0, now - kept[2]) * rate + back)
end
local taken = 0
if tokens >= need then
  taken = math.min(math.floor(tokens), math.max(need, wish))
  tokens = tokens - taken
end
redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', tostring(now))
redis.call('EXPIRE', KEYS[1], math.ceil(capacity / rate) + 1)
return {taken, math.floor(tokens)}
"""


class Throttled(TooMany):
    """The caller has spent its budget for now; `retry_after` says when there is enough again."""

    code = "THROTTLED"


class Spent(NamedTuple):
    """What an operation cost, what is left of the budget, and in how many seconds it is full again."""

    requested: int
    remaining: int
    limit: int
    reset: int


@dataclass(slots=True)
class _Lease:
    """`tokens` are held here; `elsewhere` were in the bucket `at` a time of the monotonic clock."""

    tokens: int = 0
    elsewhere: float = 0.0
    at: float = 0.0
    asking: asyncio.Lock = field(default_factory=asyncio.Lock)


class Budgets:
    """The budgets of all callers, as one process sees them: `capacity` tokens, refilled within a minute."""

    def __init__(self, redis: Redis, namespace: str, capacity: int) -> None:
        self._take = redis.register_script(_TAKE)
        self._prefix = f"{namespace}:budget:"
        self._capacity = capacity
        self._rate = capacity / 60
        self._leases: OrderedDict[str, _Lease] = OrderedDict()

    def spend_now(self, who: str, cost: int) -> Spent | None:
        """Spend from what this process holds for the caller; None when Redis has to be asked."""
        lease = self._leases.get(who)
        now = time.monotonic()
        if lease is None or lease.tokens < cost or now - lease.at > _LEASE_LASTS:
            return None
        self._leases.move_to_end(who)
        lease.tokens -= cost
        return self._spent(lease, cost, now)

    async def spend(self, who: str, cost: int) -> Spent:
        """Spend, asking Redis if need be. Raises Throttled, and spends nothing, when there is not enough."""
        spent = self.spend_now(who, cost)
        if spent is not None:
            return spent
        lease = self._leases.setdefault(who, _Lease())
        if len(self._leases) > _CALLERS:
            self._leases.popitem(last=False)
        async with lease.asking:  # requests of one caller that come together share a lease
            spent = self.spend_now(who, cost)
            if spent is None:
                await self._ask(lease, who, cost)
                spent = self.spend_now(who, cost)
        if spent is None:
            raise self._throttled(lease, cost)
        return spent

    async def _ask(self, lease: _Lease, who: str, cost: int) -> None:
        wish = max(1, self._capacity // _LEASES)
        back, lease.tokens = lease.tokens, 0
        try:
            taken, left = await self._take(
                keys=[self._prefix + who], args=[self._capacity, self._rate, cost, wish, back]
            )
        except (RedisError, OSError):
            left = self._refilled(lease, time.monotonic()) + back
            taken = max(cost, min(wish, math.floor(left))) if left >= cost else 0
            left -= taken
        lease.tokens, lease.elsewhere, lease.at = taken, left, time.monotonic()

    def _refilled(self, lease: _Lease, now: float) -> float:
        if not lease.at:  # a caller that was never seen
            return float(self._capacity)
        return min(self._capacity, lease.elsewhere + (now - lease.at) * self._rate)

    def _spent(self, lease: _Lease, cost: int, now: float) -> Spent:
        remaining = min(self._capacity, int(self._refilled(lease, now)) + lease.tokens)
        return Spent(cost, remaining, self._capacity, math.ceil((self._capacity - remaining) / self._rate))

    def _throttled(self, lease: _Lease, cost: int) -> Throttled:
        remaining = int(self._refilled(lease, time.monotonic()))
        seconds = max(1, math.ceil((cost - remaining) / self._rate))
        message = f"This costs {cost}, and {remaining} of {self._capacity} a minute are left."
        return Throttled(message, retry_after=seconds, requested=cost, remaining=remaining, limit=self._capacity)
