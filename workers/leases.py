"""Leases of long jobs: made longer all the time, however long a single step takes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from domain.kit.errors import Lost, Refusal
from domain.kit.tasks import end
from domain.kit.transactions import Transaction, transaction
from workers.process import parts

_EVERY = 20.0  # seconds

_log = structlog.get_logger(__name__)


@asynccontextmanager
async def kept(extend: Callable[[Transaction], Awaitable[object]]) -> AsyncIterator[None]:
    """Call `extend` now and again until the block ends, or until it raises Lost."""
    keeping = asyncio.create_task(_keep(extend), name="lease")
    try:
        yield
    finally:
        await end(keeping)


async def _keep(extend: Callable[[Transaction], Awaitable[object]]) -> None:
    while True:
        await asyncio.sleep(_EVERY)
        try:
            async with transaction(parts().database) as tx:
                await extend(tx)
        except Lost:
            return  # whoever works finds out with the next step that it takes
        except Refusal as refusal:
            _log.warning("a long job could not say that it lives", error=str(refusal))
