"""From the outbox to the log: events are numbered in the order in which they became visible.

Only the leading relay runs this. A sequence would number rows before they are committed, so that a
reader could pass a number that appears later; numbers given here, one transaction after another, have
neither gaps nor latecomers, and a position is all that a subscriber needs to resume.
"""

from collections.abc import Sequence

from sqlalchemy import BigInteger, Column, Text, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.events.models import EventRow, event_log, events
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Json, Moment
from domain.kit.transactions import OutboxKind, Transaction, outbox

BATCH = 500

_payload = func.jsonb_to_record(literal_column("taken.payload")).table_valued(
    Column("id", Id),
    Column("occurred_at", Moment),
    Column("subject_kind", Text),
    Column("subject_id", Id),
    Column("actor_kind", Text),
    Column("actor_id", Id),
    Column("data", Json),
)
_oldest = (
    select(outbox.c.id)
    .where(outbox.c.kind == OutboxKind.EVENT.value)
    .order_by(outbox.c.id)
    .limit(bindparam("limit", type_=BigInteger))
    .scalar_subquery()
)
_taken = delete(outbox).where(outbox.c.id.in_(_oldest)).returning(outbox).cte("taken")
_head = (
    update(event_log)
    .values(last_position=event_log.c.last_position + select(func.count()).select_from(_taken).scalar_subquery())
    .returning(event_log.c.last_position)
    .cte("head")
)
_p = _payload.render_derived(name="p", with_types=True)
_numbered = select(
    (_head.c.last_position - func.count().over() + func.row_number().over(order_by=_taken.c.id)).label("position"),
    func.clock_timestamp(),
    _p.c.id,
    _taken.c.name,
    _taken.c.client_id,
    _p.c.subject_kind,
    _p.c.subject_id,
    _p.c.actor_kind,
    _p.c.actor_id,
    _p.c.data,
    _taken.c.correlation_id,
    _p.c.occurred_at,
).select_from(_taken.join(_head, literal_column("true")).join(_p, literal_column("true")))
_COLUMNS = list(EventRow.__annotations__)
_RECORD = Statement(
    insert(events).from_select(_COLUMNS, _numbered).returning(*(events.c[name] for name in _COLUMNS)),
    EventRow,
)


class JobRow(Row):
    id: int
    name: str
    payload: dict[str, object]
    correlation_id: str | None


_JOBS = Statement(
    select(outbox.c.id, outbox.c.name, outbox.c.payload, outbox.c.correlation_id)
    .where(outbox.c.kind == OutboxKind.JOB.value, outbox.c.name == func.any(bindparam("names", type_=ARRAY(Text))))
    .order_by(outbox.c.id)
    .limit(bindparam("limit", type_=BigInteger)),
    JobRow,
)
_SENT = Statement(delete(outbox).where(outbox.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger)))))


class BacklogRow(Row):
    """What has not left the outbox yet: how many rows, and the age of the oldest in seconds."""

    waiting: int
    seconds: float


_BACKLOG = Statement(
    select(
        func.count().label("waiting"),
        func.coalesce(func.extract("epoch", func.now() - func.min(outbox.c.created_at)), 0.0).label("seconds"),
    ),
    BacklogRow,
)


async def record_events(tx: Transaction, scope: Scope) -> list[EventRow]:
    """Move the oldest events of the outbox to the log, at most 500; returns them in their order."""
    rows = await tx.all(_RECORD, limit=BATCH)
    return sorted(rows, key=lambda row: row.position)


async def unsent_jobs(db: Runner, scope: Scope, names: Sequence[str]) -> list[JobRow]:
    """The oldest jobs of these names in the outbox, at most 500. They stay there until `forget_jobs`.

    Those of other names, which another version enqueued, stay for one that knows them.
    """
    return await db.all(_JOBS, names=list(names), limit=BATCH)


async def forget_jobs(db: Runner, scope: Scope, ids: list[int]) -> None:
    """Take jobs that were sent out of the outbox."""
    await db.all(_SENT, ids=ids)


async def backlog(db: Runner, scope: Scope) -> BacklogRow:
    """How much waits in the outbox."""
    row = await db.one(_BACKLOG)
    assert row is not None  # an aggregate without GROUP BY has one row
    return row
