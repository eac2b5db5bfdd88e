"""The job of cleanups: what retention policies let go is taken away, in steps with pauses, under brakes.

A run gives its thread back after half a minute and goes on with its next job, so that one that takes hours neither
fills a worker nor is lost with one. What is taken, and in which order, is `domain/retention/`'s to say.
"""

import time
from datetime import timedelta

import dramatiq
import structlog

from domain.kit.errors import Conflict, Lost
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.retention.cleanups import allowed, clients_to_clean, too_many
from domain.retention.images import (
    EPOCH,
    kept_for,
    measure_images,
    newest_keys,
    take_images,
    unnamed_keys,
)
from domain.retention.models import CleanupKind, CleanupRow, CleanupState, RetentionDefaults, RetentionKind
from domain.retention.queries import rules_of
from domain.retention.runs import (
    MAX_ATTEMPTS,
    be_patient,
    begin_run,
    claim_run,
    end_cleanup,
    get_on,
    keep_run,
    say_found,
)
from domain.storage.backups import may_take_blobs
from workers.broker import CLEANUPS
from workers.leases import kept
from workers.log_cleanup import clean_logs
from workers.process import parts, wait_for
from workers.steps import end, later, pause

_SLICE = 30.0  # seconds
_AT_ONCE = 100  # images
_AFTER_BACKUP = timedelta(seconds=20)
_KINDS = (RetentionKind.IMAGES, RetentionKind.DELETED_IMAGES)

_log = structlog.get_logger(__name__)


@dramatiq.actor(queue_name=CLEANUPS, time_limit=600_000)
def clean_up(run_id: str) -> None:
    """Work on a run for a while."""
    wait_for(_clean_up(run_id))


async def begin_image_cleanups(database: Database, defaults: RetentionDefaults) -> None:
    """A run for each client that has images to lose; those that have one under way keep it."""
    async with transaction(database) as tx:
        await be_patient(tx, SYSTEM)
        clients = await clients_to_clean(tx, SYSTEM, defaults)
    for client_id in clients:
        await _begin(database, CleanupKind.IMAGES, client_id, defaults)


async def begin_log_cleanup(database: Database, kind: CleanupKind, defaults: RetentionDefaults) -> None:
    """One run for all clients together."""
    await _begin(database, kind, None, defaults)


async def _begin(database: Database, kind: CleanupKind, client_id: str | None, defaults: RetentionDefaults) -> None:
    try:
        async with transaction(database) as tx:
            await begin_run(tx, SYSTEM, kind, client_id, dry_run=False, max_share=defaults.max_share)
    except Conflict:
        _log.info("a cleanup is still under way", kind=kind, client=client_id)


async def _clean_up(run_id: str) -> None:
    async with transaction(parts().database) as tx:
        run = await claim_run(tx, SYSTEM, run_id)
        if run is not None and run.attempts > MAX_ATTEMPTS:
            why = f"It did not get on {MAX_ATTEMPTS} times; the workers' logs say why."
            await end_cleanup(tx, SYSTEM, run.id, CleanupState.FAILED, code="GAVE_UP", message=why)
            run = None
    if run is None:
        return
    try:
        async with kept(lambda tx: keep_run(tx, SYSTEM, run)):
            if run.kind == CleanupKind.IMAGES:
                await _clean_images(run, time.monotonic() + _SLICE)
            else:
                await clean_logs(run, time.monotonic() + _SLICE)
    except Lost:
        _log.warning("another worker has taken over this cleanup", run=run.id)


async def _clean_images(run: CleanupRow, until: float) -> None:
    client_id = run.client_id
    assert client_id is not None  # images are cleaned client by client
    if run.found is None:
        run = await _measured(run, client_id)
    # At each claim: whoever measured may have died before this, and the store may be another one since.
    if (why := await _brake(run, client_id)) is not None:
        await end(run, CleanupState.STOPPED, *why)
        return
    for kind in _KINDS:
        done = await _clean_kind(run, client_id, kind, until)
        if done is None:
            return
        run = done
    await end(run)


async def _measured(run: CleanupRow, client_id: str) -> CleanupRow:
    async with transaction(parts().database) as tx:
        await be_patient(tx, SYSTEM)
        kept = kept_for(await rules_of(tx, SYSTEM, client_id, parts().retention))
        found = await measure_images(tx, SYSTEM, client_id, kept)
        return await say_found(
            tx,
            SYSTEM,
            run.id,
            found=found.found,
            due=found.due,
            due_bytes=found.due_bytes,
            cited=found.cited,
            details={},
        )


async def _brake(run: CleanupRow, client_id: str) -> tuple[str, str] | None:
    """The code and the sentence of what holds this run; None when it may go on."""
    assert run.found is not None
    assert run.due is not None
    if why := too_many(run.found, run.due, run.max_share):
        return "SHARE_EXCEEDED", why
    keys = await newest_keys(parts().database, SYSTEM, client_id)
    if keys and run.due and not any([await parts().blobs.exists(key) for key in keys]):
        return "STORE_LOOKS_EMPTY", (
            f"None of the newest {len(keys)} images has its file in the blob store: see that it is the right one."
        )
    return None


async def _clean_kind(run: CleanupRow, client_id: str, kind: RetentionKind, until: float) -> CleanupRow | None:
    """Take what is over of one kind. None when the run ended here, or goes on later."""
    since = EPOCH
    while True:
        if time.monotonic() > until:
            await later(run)
            return None
        started = time.monotonic()
        left = allowed(run.found or 0, run.max_share) - run.removed
        if left <= 0:
            await _at_the_limit(run, client_id)
            return None
        async with transaction(parts().database) as tx:
            free = await may_take_blobs(tx, SYSTEM)
            # Asked each time: who lengthens a policy or switches it off is heard at once.
            kept = kept_for(await rules_of(tx, SYSTEM, client_id, parts().retention))
            if free and kept[kind] is not None:
                limit = min(_AT_ONCE, left)
                step = await take_images(tx, SYSTEM, kind, client_id, kept, since=since, limit=limit)
            else:
                step = None
            if step and step.rows:
                run = await get_on(tx, SYSTEM, run, rows=step.rows, bytes=step.bytes)
        if not free:
            await later(run, wait=_AFTER_BACKUP)
            return None
        if step is None or not step.rows:
            return run
        since = step.since
        run = await _delete_blobs(run, await unnamed_keys(parts().database, SYSTEM, step))
        await pause(started)


async def _at_the_limit(run: CleanupRow, client_id: str) -> None:
    """As much went as may; more became due meanwhile, or not."""
    async with transaction(parts().database) as tx:
        await be_patient(tx, SYSTEM)
        kept = kept_for(await rules_of(tx, SYSTEM, client_id, parts().retention))
        found = await measure_images(tx, SYSTEM, client_id, kept)
    if found.due:
        why = f"{run.removed} went, which is all that may go at once; {found.due} more are due."
        await end(run, CleanupState.STOPPED, "SHARE_EXCEEDED", why)
    else:
        await end(run)


async def _delete_blobs(run: CleanupRow, keys: list[str]) -> CleanupRow:
    deleted = await parts().blobs.delete_many(keys)
    async with transaction(parts().database) as tx:
        return await get_on(tx, SYSTEM, run, rows=0, blobs=deleted)
