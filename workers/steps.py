"""What every cleanup's job does between its steps: end, go on later, leave the disk to others for a while."""

import asyncio
import time
from datetime import timedelta

from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from domain.retention.models import CleanupRow, CleanupState
from domain.retention.runs import end_cleanup, go_on_later
from workers.process import parts

_REST = 3  # times what was worked


async def end(
    run: CleanupRow, state: CleanupState = CleanupState.DONE, code: str | None = None, message: str | None = None
) -> None:
    """It is over, and an event says so."""
    async with transaction(parts().database) as tx:
        await end_cleanup(tx, SYSTEM, run.id, state, code=code, message=message)


async def later(run: CleanupRow, *, wait: timedelta | None = None) -> None:
    """Give the thread back; the run goes on with its next job. Raises Lost."""
    async with transaction(parts().database) as tx:
        await go_on_later(tx, SYSTEM, run, wait=wait)


async def pause(started: float) -> None:
    """Three times as long as the step took since then: whoever uploads meanwhile hardly notices."""
    await asyncio.sleep(_REST * (time.monotonic() - started))
