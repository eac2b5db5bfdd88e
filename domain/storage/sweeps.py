"""The life of a sweep, as a row: wanted, claimed by a worker, getting on, ended or refused, given up.

The row holds the lease and the attempts, so a message that comes twice, late or never changes nothing.
"""

from dataclasses import dataclass
from datetime import timedelta

import asyncpg
from sqlalchemy import BigInteger, Interval, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.clients.models import clients
from domain.kit.errors import Conflict, Invalid, Lost
from domain.kit.ids import new_id
from domain.kit.scope import SYSTEM_ID, ActorKind, Scope
from domain.kit.sql import Statement, insertion
from domain.kit.tables import Json
from domain.kit.transactions import Transaction
from domain.storage.backups import may_take_blobs
from domain.storage.comparison import Comparison
from domain.storage.models import ACTIVE, SweepRow, SweepStatus, storage_sweeps
from domain.storage.queries import names_of, platform_only

SWEEP_STORAGE = "sweep_storage"
MAX_ATTEMPTS = 3
MAX_SHARE = 0.1
_LEASE = text("interval '90 seconds'")

_s = storage_sweeps.c
_COLUMNS = [_s[name] for name in SweepRow.__annotations__]
_INSERT = Statement(
    insertion(storage_sweeps, "id", "dry_run", "max_share", "grace_seconds", "actor_kind", "actor_id")
    .values(lease_until=func.now() + _LEASE)
    .returning(*_COLUMNS),
    SweepRow,
)
_CLAIM = Statement(
    update(storage_sweeps)
    .where(
        _s.id == bindparam("sweep"),
        or_(
            _s.status == SweepStatus.QUEUED.value,
            (_s.status == SweepStatus.RUNNING.value) & (_s.lease_until < func.now()),
        ),
    )
    .values(
        status=SweepStatus.RUNNING.value,
        attempts=_s.attempts + 1,
        started_at=func.coalesce(_s.started_at, func.now()),
        lease_until=func.now() + _LEASE,
    )
    .returning(*_COLUMNS),
    SweepRow,
)
_mine = (
    _s.id == bindparam("sweep"),
    _s.status == SweepStatus.RUNNING.value,
    _s.attempts == bindparam("attempt"),
)
_GOT_ON = Statement(
    update(storage_sweeps)
    .where(*_mine)
    .values(
        lease_until=func.now() + _LEASE,
        removed=_s.removed + bindparam("more", type_=BigInteger),
        removed_bytes=_s.removed_bytes + bindparam("more_bytes", type_=BigInteger),
    )
    .returning(*_COLUMNS),
    SweepRow,
)
_FOUND = Statement(
    update(storage_sweeps)
    .where(*_mine)
    .values(
        lease_until=func.now() + _LEASE,
        kinds=bindparam("new_kinds", type_=Json),
        named=bindparam("new_named", type_=BigInteger),
        missing=bindparam("new_missing", type_=BigInteger),
    )
    .returning(_s.id)
)
_END = Statement(
    update(storage_sweeps)
    .where(*_mine)
    .values(
        status=bindparam("new_status", type_=TEXT),
        finished_at=func.now(),
        lease_until=None,
        unfinished=bindparam("new_unfinished", type_=BigInteger),
        code=bindparam("new_code", type_=TEXT),
        message=bindparam("new_message", type_=TEXT),
    )
    .returning(*_COLUMNS),
    SweepRow,
)
_overdue = select(_s.id).where(ACTIVE, _s.lease_until < func.now()).with_for_update(skip_locked=True)
_RESEND = Statement(
    update(storage_sweeps)
    .where(_s.id == func.any(func.array(_overdue.scalar_subquery())))
    .values(status=SweepStatus.QUEUED.value, lease_until=func.now() + _LEASE)
    .returning(_s.id)
)
_RESTORED = (
    "RESTORED",
    "The database came from a backup, so photos that came later are named by no row. See what `quartermaster "
    "storage verify --report FILE` lists, keep what is worth it, then run `cleanupOrphanedBlobs(dryRun: false)`. "
    "Until such a sweep is DONE, none begins by itself.",
)
_HOLD = Statement(
    insertion(storage_sweeps, "id", "actor_kind", "actor_id", "message").values(
        status=SweepStatus.REFUSED.value,
        dry_run=False,
        max_share=MAX_SHARE,
        grace_seconds=0,
        code=_RESTORED[0],
        finished_at=func.now(),
    )
)
_CUT_OFF = Statement(
    update(storage_sweeps)
    .where(ACTIVE)
    .values(
        status=SweepStatus.REFUSED.value,
        finished_at=func.now(),
        lease_until=None,
        code=_RESTORED[0],
        message=bindparam("why", type_=TEXT),
    )
)
_held = storage_sweeps.alias()
_by_hand = (
    select(_s.id)
    .where(
        _s.actor_kind != ActorKind.SYSTEM.value,
        _s.dry_run.is_(False),
        _s.status == SweepStatus.DONE.value,
        _s.requested_at > _held.c.requested_at,
    )
    .correlate(_held)
)
_every = bindparam("every", type_=Interval)
# An installation that is younger has nothing yet that could be swept.
_DUE = Statement(
    select(
        (select(func.min(clients.c.created_at)).scalar_subquery() < func.now() - _every)
        & ~select(_s.id).where(_s.dry_run.is_(False), _s.requested_at > func.now() - _every).exists()
        & ~select(_s.id).where(ACTIVE).exists()
        & ~select(_held.c.id).where(_held.c.code == _RESTORED[0], ~_by_hand.exists()).exists()
    )
)


@dataclass(frozen=True, slots=True)
class SweepPolicy:
    """How often the store is swept by itself (zero: never), and from which age on a blob must have a name."""

    every: timedelta
    grace: timedelta


async def begin_sweep(
    tx: Transaction, scope: Scope, *, dry_run: bool, grace: timedelta, max_share: float | None = None
) -> SweepRow:
    """Have the store compared with the database, and what nobody names taken away unless it is a dry run.

    Raises Denied to a client, Invalid for a share that is none, Conflict while a sweep is under way.
    """
    platform_only(scope)
    share = MAX_SHARE if max_share is None else max_share
    if not 0 < share <= 1:
        raise Invalid("A share is more than 0 and at most 1.", argument="maxShare")
    try:
        row = await tx.one(
            _INSERT,
            id=new_id(),
            dry_run=dry_run,
            max_share=share,
            grace_seconds=int(grace.total_seconds()),
            actor_kind=scope.actor_kind.value,
            actor_id=scope.actor_id,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("A sweep of the store is under way.", code="ALREADY_RUNNING") from None
    assert row is not None  # RETURNING of one row
    tx.enqueue(SWEEP_STORAGE, sweep_id=row.id)
    tx.emit(
        scope,
        "storage.sweep_requested",
        client_id=None,
        subject=("System", SYSTEM_ID),
        sweepId=row.id,
        dryRun=dry_run,
        maxShare=share,
    )
    return row


async def begin_due_sweep(tx: Transaction, scope: Scope, *, every: timedelta, grace: timedelta) -> bool:
    """Begin one when the last is so long ago; says whether it did. None begins while `hold_sweeps` holds them."""
    if not await tx.value(_DUE, every=every):
        return False
    await begin_sweep(tx, scope, dry_run=False, grace=grace)
    return True


async def hold_sweeps(tx: Transaction, scope: Scope) -> None:
    """After a restore: end what was under way in the backup, and let none begin until one by hand was done.

    The store may hold what devices were told is safe, while the database is too old to name it.
    """
    platform_only(scope)
    _, message = _RESTORED
    await tx.all(_CUT_OFF, why=message)
    await tx.all(_HOLD, id=new_id(), actor_kind=scope.actor_kind.value, actor_id=scope.actor_id, message=message)


async def claim_sweep(tx: Transaction, scope: Scope, sweep_id: str) -> SweepRow | None:
    """Take a sweep that waits. None when it has ended, or is with another worker."""
    return await tx.one(_CLAIM, sweep=sweep_id)


async def keep_sweep(
    tx: Transaction, scope: Scope, sweep: SweepRow, *, removed: int = 0, bytes: int = 0
) -> SweepRow:
    """So much more was taken; the lease begins anew. Raises Lost."""
    row = await tx.one(_GOT_ON, sweep=sweep.id, attempt=sweep.attempts, more=removed, more_bytes=bytes)
    if row is None:
        raise Lost
    return row


async def say_found(tx: Transaction, scope: Scope, sweep: SweepRow, found: Comparison) -> None:
    """Write down what there is. Raises Lost."""
    row = await tx.one(
        _FOUND,
        sweep=sweep.id,
        attempt=sweep.attempts,
        new_kinds=[dict(kind.items()) for kind in found.kinds],
        new_named=found.totals.named,
        new_missing=found.totals.missing,
    )
    if row is None:
        raise Lost


async def orphans_among(tx: Transaction, scope: Scope, keys: list[str]) -> list[str] | None:
    """Those of the keys that still no row names; None while a backup holds all blobs."""
    if not await may_take_blobs(tx, scope):
        return None
    named = await names_of(tx, scope, keys)
    return [key for key in keys if key not in named]


async def end_sweep(
    tx: Transaction,
    scope: Scope,
    sweep: SweepRow,
    status: SweepStatus,
    *,
    unfinished: int = 0,
    why: tuple[str, str] | None = None,
) -> None:
    """It has ended, and an event says what it found and did. Raises Lost."""
    code, message = why or (None, None)
    row = await tx.one(
        _END,
        sweep=sweep.id,
        attempt=sweep.attempts,
        new_status=status.value,
        new_unfinished=unfinished,
        new_code=code,
        new_message=message,
    )
    if row is None:
        raise Lost
    tx.emit(
        scope,
        f"storage.sweep_{status.lower()}",
        client_id=None,
        subject=("System", SYSTEM_ID),
        sweepId=row.id,
        dryRun=row.dry_run,
        blobs=sum(kind["blobs"] for kind in row.kinds),
        orphans=sum(kind["orphans"] for kind in row.kinds),
        orphanBytes=sum(kind["orphan_bytes"] for kind in row.kinds),
        missing=row.missing,
        removed=row.removed,
        removedBytes=row.removed_bytes,
        unfinished=row.unfinished,
        **({"code": code, "message": message} if code else {}),
    )


async def resend_overdue_sweeps(tx: Transaction, scope: Scope) -> int:
    """Send the jobs of sweeps again whose worker did not come back; returns how many."""
    rows = await tx.all(_RESEND)
    for row in rows:
        tx.enqueue(SWEEP_STORAGE, sweep_id=row.id)
    return len(rows)
