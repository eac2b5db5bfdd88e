"""The life of a cleanup, as a row: wanted, claimed by a worker, getting on, ended, stopped by a brake, given up.

The row holds the lease and the attempts, so a message that comes twice, late or never changes nothing. Who claimed
it last holds it; each step says so, and a worker that was thought dead learns that it has lost it.
"""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import asyncpg
from sqlalchemy import BigInteger, Interval, bindparam, cast, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.kit.errors import Conflict, Lost
from domain.kit.ids import new_id
from domain.kit.scope import SYSTEM_ID, Scope
from domain.kit.sql import Statement, insertion
from domain.kit.tables import Json
from domain.kit.transactions import Transaction
from domain.retention.models import ACTIVE, CleanupKind, CleanupRow, CleanupState, cleanup_runs

CLEAN_UP = "clean_up"
"""The job that works on a run."""
MAX_ATTEMPTS = 5
PLACE, TAKEN = "after", "taken"
"""Where in `details` a run over all clients keeps how far it came (`get_on(…, after=)`), for itself alone."""
_LEASE = text("interval '60 seconds'")
_RESENT_AT_ONCE = 100

_r = cleanup_runs.c
_COLUMNS = [_r[name] for name in CleanupRow.__annotations__]
_INSERT = Statement(
    insertion(cleanup_runs, "id", "client_id", "kind", "state", "dry_run", "max_share", "actor_kind", "actor_id")
    .values(lease_until=func.now() + _LEASE)
    .returning(*_COLUMNS),
    CleanupRow,
)
_CLAIM = Statement(
    update(cleanup_runs)
    .where(
        _r.id == bindparam("run"),
        or_(
            _r.state == CleanupState.QUEUED.value,
            (_r.state == CleanupState.RUNNING.value) & (_r.lease_until < func.now()),
        ),
    )
    .values(
        state=CleanupState.RUNNING.value,
        claims=_r.claims + 1,
        attempts=_r.attempts + 1,
        started_at=func.coalesce(_r.started_at, func.now()),
        lease_until=func.now() + _LEASE,
    )
    .returning(*_COLUMNS),
    CleanupRow,
)
_mine = (_r.id == bindparam("run"), _r.state == CleanupState.RUNNING.value, _r.claims == bindparam("claim"))
_FOUND = Statement(
    update(cleanup_runs)
    .where(_r.id == bindparam("run"))
    .values(
        {name: bindparam(f"new_{name}", type_=BigInteger) for name in ("found", "due", "due_bytes", "cited")}
        | {"details": _r.details.op("||")(bindparam("more", type_=Json))}
    )
    .returning(*_COLUMNS),
    CleanupRow,
)
_GOT_ON = Statement(
    update(cleanup_runs)
    .where(*_mine)
    .values(
        attempts=0,
        lease_until=func.now() + _LEASE,
        removed=_r.removed + cast(bindparam("rows"), BigInteger),
        removed_bytes=_r.removed_bytes + cast(bindparam("bytes"), BigInteger),
        removed_blobs=_r.removed_blobs + cast(bindparam("blobs"), BigInteger),
        details=_r.details.op("||")(bindparam("more", type_=Json)),
    )
    .returning(*_COLUMNS),
    CleanupRow,
)
_LATER = Statement(
    update(cleanup_runs)
    .where(*_mine)
    # Waiting is no failure: only attempts that did not get on are counted.
    .values(state=CleanupState.QUEUED.value, attempts=0, lease_until=func.now() + bindparam("wait", type_=Interval))
    .returning(_r.id)
)
_KEEP = Statement(update(cleanup_runs).where(*_mine).values(lease_until=func.now() + _LEASE).returning(_r.id))
_ENDED = Statement(
    update(cleanup_runs)
    .where(_r.id == bindparam("run"), _r.ended_at.is_(None))
    .values(
        state=bindparam("new_state", type_=TEXT),
        ended_at=func.now(),
        started_at=func.coalesce(_r.started_at, func.now()),
        lease_until=None,
        stop_code=bindparam("code", type_=TEXT),
        stop_message=bindparam("message", type_=TEXT),
    )
    .returning(*_COLUMNS),
    CleanupRow,
)
_overdue = (
    select(_r.id)
    .where(ACTIVE, _r.lease_until < func.now())
    .order_by(_r.lease_until)
    .limit(_RESENT_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_RESEND = Statement(
    update(cleanup_runs)
    .where(_r.id == func.any(func.array(_overdue.scalar_subquery())))
    .values(state=CleanupState.QUEUED.value, lease_until=func.now() + _LEASE)
    .returning(_r.id)
)


_PATIENT = Statement(text("SET LOCAL statement_timeout = '120s'"))


_FORGET = Statement(delete(cleanup_runs).where(_r.ended_at < func.now() - bindparam("kept", type_=Interval)))


async def be_patient(tx: Transaction, scope: Scope) -> None:
    """Let the statements of this transaction count for up to two minutes. They lock nothing."""
    await tx.all(_PATIENT)


async def begin_run(
    tx: Transaction, scope: Scope, kind: CleanupKind, client_id: str | None, *, dry_run: bool, max_share: float
) -> CleanupRow:
    """A new run; its job is sent unless it is a dry run. Raises Conflict while one of the kind is under way."""
    try:
        row = await tx.one(
            _INSERT,
            id=new_id(),
            client_id=client_id,
            kind=kind.value,
            state=(CleanupState.DONE if dry_run else CleanupState.QUEUED).value,
            dry_run=dry_run,
            max_share=max_share,
            actor_kind=scope.actor_kind.value,
            actor_id=scope.actor_id,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("Such a cleanup is under way.", code="ALREADY_RUNNING") from None
    assert row is not None  # RETURNING of one row
    if not dry_run:
        tx.enqueue(CLEAN_UP, run_id=row.id)
    return row


async def claim_run(tx: Transaction, scope: Scope, run_id: str) -> CleanupRow | None:
    """Take a run that waits. None when it has ended, or is with another worker."""
    return await tx.one(_CLAIM, run=run_id)


async def say_found(
    tx: Transaction,
    scope: Scope,
    run_id: str,
    *,
    found: int | None = None,
    due: int | None = None,
    due_bytes: int | None = None,
    cited: int | None = None,
    details: Mapping[str, Any],
) -> CleanupRow:
    """What there was before anything was taken."""
    counts = {"new_found": found, "new_due": due, "new_due_bytes": due_bytes, "new_cited": cited}
    row = await tx.one(_FOUND, run=run_id, more=dict(details), **counts)
    assert row is not None  # runs are not deleted while they run
    return row


async def get_on(
    tx: Transaction, scope: Scope, run: CleanupRow, *, rows: int, bytes: int = 0, blobs: int = 0, **more: Any
) -> CleanupRow:
    """So much more was taken, in this transaction; the lease begins anew. Raises Lost."""
    row = await tx.one(_GOT_ON, run=run.id, claim=run.claims, rows=rows, bytes=bytes, blobs=blobs, more=more)
    if row is None:
        raise Lost
    return row


async def keep_run(tx: Transaction, scope: Scope, run: CleanupRow) -> None:
    """The lease begins anew. Raises Lost."""
    if await tx.one(_KEEP, run=run.id, claim=run.claims) is None:
        raise Lost


async def go_on_later(tx: Transaction, scope: Scope, run: CleanupRow, *, wait: timedelta | None = None) -> None:
    """Give the worker back; the run goes on with its next job, at once or after `wait`. Raises Lost."""
    lease = wait or timedelta(seconds=60)
    if await tx.one(_LATER, run=run.id, claim=run.claims, wait=lease) is None:
        raise Lost
    if wait is None:
        tx.enqueue(CLEAN_UP, run_id=run.id)


async def end_cleanup(
    tx: Transaction,
    scope: Scope,
    run_id: str,
    state: CleanupState = CleanupState.DONE,
    *,
    code: str | None = None,
    message: str | None = None,
) -> CleanupRow | None:
    """It has ended, and an event says what it did; None when it had ended before."""
    row = await tx.one(_ENDED, run=run_id, new_state=state.value, code=code, message=message)
    if row is not None:
        tell(tx, scope, row)
    return row


def tell(tx: Transaction, scope: Scope, row: CleanupRow) -> None:
    """The event of a run that ended: `cleanup.done`, `cleanup.stopped` or `cleanup.failed`."""
    tx.emit(
        scope,
        f"cleanup.{row.state.lower()}",
        client_id=row.client_id,
        subject=("Client", row.client_id) if row.client_id else ("System", SYSTEM_ID),
        runId=row.id,
        kind=row.kind,
        dryRun=row.dry_run,
        found=row.found,
        due=row.due,
        dueBytes=row.due_bytes,
        cited=row.cited,
        removed=row.removed,
        removedBytes=row.removed_bytes,
        removedBlobs=row.removed_blobs,
        **{name: value for name, value in row.details.items() if name not in (PLACE, TAKEN)},
        **({"code": row.stop_code, "message": row.stop_message} if row.stop_code else {}),
    )


async def resend_overdue_runs(tx: Transaction, scope: Scope) -> int:
    """Send the jobs of runs again whose worker did not come back; returns how many."""
    rows = await tx.all(_RESEND)
    for row in rows:
        tx.enqueue(CLEAN_UP, run_id=row.id)
    return len(rows)


async def forget_runs(tx: Transaction, scope: Scope, kept: timedelta) -> None:
    """Forget runs that ended so long ago; their events have a time of their own."""
    await tx.all(_FORGET, kept=kept)
