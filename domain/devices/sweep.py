"""Announcing what happens to devices by doing nothing: they fall asleep, are late, are lost, grow inactive.

Each statement takes what is due, marks it and writes the events into the outbox, all in the database: a fleet of
100,000 that goes dark at once never passes through Python. Run twice at a time, or
again, it announces nothing twice.
"""

from typing import Any

from sqlalchemy import BigInteger, Interval, bindparam, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.devices.models import devices
from domain.devices.presence import DUE_AT, SINCE, STATE, PresencePolicy
from domain.kit.scope import ActorKind, Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import NEW_ID
from domain.kit.transactions import OutboxKind, Transaction, outbox

BATCH = 5_000
"""Devices that one statement takes, so that it ends within any time limit: 0.1 ms each, when all of them change."""


def _event(type: str, changed: Any, *data: Any, conditions: tuple[Any, ...] = ()) -> Any:
    """INSERT INTO outbox of an event for each row of `changed`, which has `id` and `client_id`."""
    payload = func.jsonb_build_object(
        "id", NEW_ID,
        "occurred_at", func.now(),
        "subject_kind", "Device",
        "subject_id", changed.c.id,
        "actor_kind", ActorKind.SYSTEM.value,
        "actor_id", None,
        "data", func.jsonb_build_object(*data),
    )  # fmt: skip
    rows = select(literal(OutboxKind.EVENT.value), literal(type), changed.c.client_id, payload).where(*conditions)
    return insert(outbox).from_select(["kind", "name", "client_id", "payload"], rows).returning(outbox.c.id)


_d = devices.c
_due = (
    select(
        _d.id,
        _d.client_id,
        _d.presence.label("before"),
        STATE.label("state"),
        SINCE.label("since"),
        DUE_AT.label("due_at"),
        _d.last_seen_at,
        _d.next_wake_at,
    )
    .where(_d.presence_due_at <= func.now(), _d.deregistered_at.is_(None))
    .limit(bindparam("limit", type_=BigInteger))
    .with_for_update(skip_locked=True)
    .cte("due")
)
_moved = (
    update(devices)
    .where(_d.id == _due.c.id)
    .values(
        presence=_due.c.state,
        presence_since=case((_due.c.state == _due.c.before, _d.presence_since), else_=_due.c.since),
        presence_due_at=_due.c.due_at,
    )
    .returning(*_due.c)
    .cte("moved")
)
_announced = _event(
    "device.presence_changed",
    _moved,
    *("from", _moved.c.before, "to", _moved.c.state, "since", _moved.c.since),
    *("lastSeenAt", _moved.c.last_seen_at, "nextWakeAt", _moved.c.next_wake_at),
    conditions=(_moved.c.before != _moved.c.state,),
).cte("announced")


class Swept(Row):
    """How many devices were due, and for how many something was announced."""

    due: int
    announced: int


_SWEEP = Statement(
    select(
        select(func.count()).select_from(_moved).scalar_subquery().label("due"),
        select(func.count()).select_from(_announced).scalar_subquery().label("announced"),
    ),
    Swept,
)

_last_sign = func.coalesce(_d.last_seen_at, _d.created_at)
_long_gone = (
    select(_d.id)
    .where(
        _d.marked_inactive_at.is_(None),
        _d.deregistered_at.is_(None),
        _last_sign < func.now() - bindparam("after", type_=Interval),
    )
    # In the order in which wakes lock them, so that it may wait: what the sweep of presence holds at the same
    # moment would otherwise be left for an hour.
    .order_by(_d.id)
    .limit(bindparam("limit", type_=BigInteger))
    .with_for_update(key_share=True)
    .cte("long_gone")
)
_marked = (
    update(devices)
    .where(_d.id == _long_gone.c.id)
    .values(marked_inactive_at=func.now())
    .returning(_d.id, _d.client_id, _d.last_seen_at)
    .cte("marked")
)
_MARK_INACTIVE = Statement(
    _event("device.marked_inactive", _marked, *("lastSeenAt", _marked.c.last_seen_at)).add_cte(_marked)
)


async def sweep_presence(tx: Transaction, scope: Scope, policy: PresencePolicy, *, limit: int = BATCH) -> Swept:
    """Announce the changes of presence that are due, of at most `limit` devices; one statement."""
    swept = await tx.one(_SWEEP, limit=limit, **policy.parameters())
    assert swept is not None  # two counts
    tx.wake_relay = tx.wake_relay or swept.announced > 0
    return swept


async def mark_inactive(tx: Transaction, scope: Scope, policy: PresencePolicy, *, limit: int = BATCH) -> int:
    """Mark the devices that gave no sign for so long, at most `limit`; returns how many."""
    marked = len(await tx.all(_MARK_INACTIVE, limit=limit, after=policy.marked_inactive_after))
    tx.wake_relay = tx.wake_relay or marked > 0
    return marked
