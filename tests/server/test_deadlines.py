"""The time limit of operations: who takes too long is told so, who does not is left alone."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.conftest import StackOf
from tests.support.api import Api, Organisation
from tests.support.stack import Stack

_DEVICES = "{ devices { nodes { key } } }"
_CLIENTS = "{ viewer { client { name } } }"


@pytest.fixture(scope="module")
def stack(stack_of: StackOf) -> Iterator[Stack]:
    """Operations may take a second here."""
    with stack_of(QM_OPERATION_TIMEOUT="1") as stack:
        yield stack


@asynccontextmanager
async def _locked(stack: Stack, table: str) -> AsyncIterator[None]:
    """Nobody can read the table meanwhile."""
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    try:
        async with connection.transaction():
            await connection.execute(f"LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


async def _codes(api: Api, query: str, count: int) -> list[str]:
    return list(await asyncio.gather(*(api.code(query) for _ in range(count))))


async def test_each_operation_that_takes_too_long_is_told_so(stack: Stack, org: Organisation) -> None:
    async with _locked(stack, "devices"):
        first = asyncio.create_task(_codes(org.viewer, _DEVICES, 3))
        # They begin and end while the others wait, so that limits end in another order than they began.
        for _ in range(20):
            assert (await org.viewer.run(_CLIENTS))["viewer"]["client"]["name"] == org.name
        second = asyncio.create_task(_codes(org.viewer, _DEVICES, 2))
        assert await first == ["TIMEOUT"] * 3
        assert await second == ["TIMEOUT"] * 2
    assert (await org.viewer.run(_DEVICES))["devices"]["nodes"] == []


async def test_a_timer_that_has_rung_is_set_again(stack: Stack, org: Organisation) -> None:
    for _ in range(2):
        async with _locked(stack, "devices"):
            assert await org.viewer.code(_DEVICES) == "TIMEOUT"
        assert (await org.viewer.run(_DEVICES))["devices"]["nodes"] == []
