"""The job that sweeps the blob store: it is compared with the database, and what nobody names is taken away."""

import time

import dramatiq
import structlog

from domain.kit.errors import Lost, Refusal
from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from domain.storage.comparison import Comparison, brake, compare
from domain.storage.listing import listed
from domain.storage.models import SweepRow, SweepStatus
from domain.storage.sweeps import (
    MAX_ATTEMPTS,
    claim_sweep,
    end_sweep,
    keep_sweep,
    say_found,
)
from workers.broker import STORAGE
from workers.leases import kept
from workers.orphans import remove_orphans
from workers.process import parts, wait_for

_log = structlog.get_logger(__name__)


@dramatiq.actor(queue_name=STORAGE, time_limit=6 * 3_600_000)
def sweep_storage(sweep_id: str) -> None:
    """Work on a sweep to its end."""
    wait_for(_sweep(sweep_id))


async def _sweep(sweep_id: str) -> None:
    async with transaction(parts().database) as tx:
        sweep = await claim_sweep(tx, SYSTEM, sweep_id)
        if sweep is not None and sweep.attempts > MAX_ATTEMPTS:
            why = ("GAVE_UP", f"It did not come to an end {MAX_ATTEMPTS} times; the workers' logs say why.")
            await end_sweep(tx, SYSTEM, sweep, SweepStatus.FAILED, why=why)
            return
    if sweep is None:
        return
    try:
        async with kept(lambda tx: keep_sweep(tx, SYSTEM, sweep)):
            await _work(sweep)
    except Lost:
        _log.warning("another worker has taken over this sweep", sweep=sweep.id)
    except Refusal as refusal:
        # A store that is away now may be there at the next attempt, when the lease has run out.
        _log.warning("a sweep of the store could not go on", sweep=sweep.id, error=str(refusal))


async def _work(sweep: SweepRow) -> None:
    async with listed(parts().blobs) as listing, transaction(parts().database) as tx:
        found = await compare(tx, SYSTEM, listing, grace=sweep.grace_seconds)
        await say_found(tx, SYSTEM, sweep, found)
    why = brake(found, sweep.max_share)
    if why is None and not sweep.dry_run:
        why = await _remove(sweep, found)
    unfinished = 0
    if why is None and not sweep.dry_run:
        unfinished = await parts().blobs.clear_unfinished(time.time() - sweep.grace_seconds)
    status = SweepStatus.REFUSED if why and not sweep.dry_run else SweepStatus.DONE
    async with transaction(parts().database) as tx:
        await end_sweep(tx, SYSTEM, sweep, status, unfinished=unfinished, why=why)


async def _remove(sweep: SweepRow, found: Comparison) -> tuple[str, str] | None:
    async def removed(blobs: int, size: int) -> None:
        async with transaction(parts().database) as tx:
            await keep_sweep(tx, SYSTEM, sweep, removed=blobs, bytes=size)

    return await remove_orphans(parts().database, parts().blobs, found.orphans, removed)
