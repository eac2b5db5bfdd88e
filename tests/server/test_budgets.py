"""A budget in Redis as several processes spend from it, each through an instance of its own."""

import asyncio
import uuid
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from domain.kit.budgets import Budgets, Throttled
from tests.support.log import eventually
from tests.support.stack import Stack

CAPACITY = 600  # ten a second


@pytest.fixture
async def redis(stack: Stack) -> AsyncIterator[Redis]:
    async with Redis.from_url(stack.environment["QM_REDIS_URL"]) as redis:
        yield redis


@pytest.fixture
def namespace() -> str:
    return f"budgets-{uuid.uuid4().hex}"


async def _spent(budgets: Budgets, cost: int, times: int) -> int:
    """How much of so many operations was granted."""
    granted = 0
    for _ in range(times):
        try:
            granted += (await budgets.spend("somebody", cost)).requested
        except Throttled:
            await asyncio.sleep(0)
    return granted


async def test_processes_share_what_a_caller_may_spend(redis: Redis, namespace: str) -> None:
    clock = asyncio.get_running_loop().time
    started = clock()
    processes = [Budgets(redis, namespace, CAPACITY) for _ in range(3)]
    granted = sum(await asyncio.gather(*(_spent(budgets, 7, 60) for budgets in processes for _ in range(2))))
    refilled = (clock() - started) * CAPACITY / 60 + 1
    assert CAPACITY - 3 * CAPACITY // 20 - 7 <= granted <= CAPACITY + refilled


async def test_callers_have_budgets_of_their_own(redis: Redis, namespace: str) -> None:
    budgets = Budgets(redis, namespace, CAPACITY)
    await budgets.spend("somebody", CAPACITY)
    assert (await budgets.spend("somebody else", CAPACITY)).remaining == 0


async def test_who_comes_back_in_time_may_spend_again(redis: Redis, namespace: str) -> None:
    budgets = Budgets(redis, namespace, CAPACITY)
    await budgets.spend("somebody", CAPACITY)
    with pytest.raises(Throttled) as refusal:
        await budgets.spend("somebody", 10)
    assert refusal.value.details["requested"] == 10
    assert refusal.value.retry_after == 1

    async def again() -> bool:
        return await _spent(budgets, 10, 1) == 10

    assert await eventually(again, what="the refill")


async def test_what_costs_more_than_there_ever_is_is_refused(redis: Redis, namespace: str) -> None:
    with pytest.raises(Throttled):
        await Budgets(redis, namespace, CAPACITY).spend("somebody", CAPACITY + 1)


async def test_without_redis_each_process_counts_by_itself(namespace: str) -> None:
    # As the server connects (`server/process.py`): without trying again.
    async with Redis(host="127.0.0.1", port=1, retry=Retry(NoBackoff(), 0)) as nowhere:
        budgets = Budgets(nowhere, namespace, CAPACITY)
        assert CAPACITY - 7 <= await _spent(budgets, 7, 100) <= CAPACITY + 10
