"""Cleanups of telemetry and events: months that nobody keeps go whole, then the rows of clients that keep less."""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import asyncpg
import structlog

from domain.kit.partitions import Partition, drop_month
from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from domain.retention.cleanups import days_kept_of_logs, months_too_many, too_many
from domain.retention.logs import TABLES, count_rows, months_over, shorter_kept, take_rows
from domain.retention.models import CleanupKind, CleanupRow, CleanupState
from domain.retention.runs import PLACE, TAKEN, be_patient, get_on
from workers.process import parts
from workers.steps import end, later, pause

_TRIES = 5  # to lock a table that is in use
_log = structlog.get_logger(__name__)


async def clean_logs(run: CleanupRow, until: float) -> None:
    """Work on a run until its end, or until that time has come."""
    kind, database = CleanupKind(run.kind), parts().database
    kept, default = await days_kept_of_logs(database, SYSTEM, kind, parts().retention)
    months = await months_over(database, SYSTEM, kind, kept, default)
    if why := months_too_many(months, run.max_share):
        await end(run, CleanupState.STOPPED, "SHARE_EXCEEDED", why)
        return
    run = await _drop(run, kind, months.over)
    for client_id, days in sorted(shorter_kept(kept, default).items()):
        if client_id <= str(run.details.get(PLACE, "")):
            continue
        going = await _clean_client(run, kind, client_id, days, until)
        if going is None:
            return
        run = going
    await end(run)


async def _drop(run: CleanupRow, kind: CleanupKind, over: Sequence[Partition]) -> CleanupRow:
    for partition in over:
        for _ in range(_TRIES):
            try:
                async with transaction(parts().database) as tx:
                    await drop_month(tx, SYSTEM, TABLES[kind], partition)
                    names = [*run.details.get("months", []), partition.name]
                    run = await get_on(tx, SYSTEM, run, rows=0, bytes=partition.bytes, months=names)
                break
            except asyncpg.LockNotAvailableError:
                _log.info("a month is in use and waits", month=partition.name)
                await asyncio.sleep(1)
    return run


async def _clean_client(
    run: CleanupRow, kind: CleanupKind, client_id: str, days: int, until: float
) -> CleanupRow | None:
    """Take the rows of a client that are over; None when the time has come and the run goes on later."""
    async with transaction(parts().database) as tx:
        await be_patient(tx, SYSTEM)
        found, due = await count_rows(tx, SYSTEM, kind, client_id, days)
    if why := too_many(found, due, run.max_share):
        return await _skip(run, client_id, {"found": found, "due": due, "message": why})
    started, (of, so_far) = time.monotonic(), run.details.get(TAKEN, ("", 0))
    so_far = so_far if of == client_id else 0
    async for taken in take_rows(parts().database, SYSTEM, kind, client_id, days):
        so_far += taken
        async with transaction(parts().database) as tx:
            run = await get_on(tx, SYSTEM, run, rows=taken, taken=[client_id, so_far])
        if time.monotonic() > until:
            await later(run)
            return None
        await pause(started)
        started = time.monotonic()
    return await _told(run, client_id, so_far)


async def _skip(run: CleanupRow, client_id: str, said: dict[str, Any]) -> CleanupRow:
    """A brake holds this client's rows; the others' go on."""
    stopped = {**run.details.get("stopped", {}), client_id: said}
    async with transaction(parts().database) as tx:
        data = {"runId": run.id, "kind": run.kind, "code": "SHARE_EXCEEDED", **said}
        tx.emit(SYSTEM, "cleanup.stopped", client_id=client_id, subject=("Client", client_id), **data)
        return await get_on(tx, SYSTEM, run, rows=0, stopped=stopped, after=client_id)


async def _told(run: CleanupRow, client_id: str, removed: int) -> CleanupRow:
    async with transaction(parts().database) as tx:
        if removed:
            data = {"runId": run.id, "kind": run.kind, "removed": removed}
            tx.emit(SYSTEM, "cleanup.done", client_id=client_id, subject=("Client", client_id), **data)
        return await get_on(tx, SYSTEM, run, rows=0, after=client_id)
