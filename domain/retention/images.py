"""Which images of a client are over, and taking them away in small steps: the row first, then its blobs.

A step is one short statement on rows that nobody else has locked: an upload never waits for it. Who dies between
rows and blobs leaves blobs that nobody names; the sweep of orphans finds them. Images that something cites stay,
and those that a worker has not finished with.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Interval,
    bindparam,
    case,
    column,
    delete,
    func,
    not_,
    or_,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.images.citations import cited
from domain.images.models import image_variants, images
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment
from domain.kit.transactions import Transaction
from domain.retention.models import RetentionKind
from domain.retention.queries import RetentionRule

_SAMPLE = 10
_i = images.c
_FINAL = text("images.status IN ('READY', 'REJECTED')")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Found(Row):
    """Of one client: images there, those that are over by kind, their originals' bytes, and those cited, kept."""

    found: int
    images: int
    deleted_images: int
    due_bytes: int
    cited: int

    @property
    def due(self) -> int:
        return int(self.images + self.deleted_images)


class _Gone(Row):
    original_key: str
    clean_key: str | None
    display_key: str | None
    thumbnail_key: str | None
    size_bytes: int
    since: datetime
    more_keys: list[str]
    more_bytes: int


@dataclass(slots=True)
class Step:
    """What one step took: rows, bytes of originals and of sizes made on demand, blobs that nobody names any more.

    `since` is how old the youngest was: the next step begins there.
    """

    rows: int = 0
    bytes: int = 0
    since: datetime = EPOCH
    keys: dict[str, list[str]] = field(default_factory=dict)  # by the original's


def _since(kind: RetentionKind) -> ColumnElement[datetime]:
    """From when on an image's days are counted."""
    return _i.deleted_at if kind is RetentionKind.DELETED_IMAGES else _i.received_at


def _over(kind: RetentionKind) -> tuple[Any, ...]:
    """Over, whether cited or not. The parameter named as the kind is how long it is kept; null is for ever."""
    kept = bindparam(kind.value, type_=Interval)
    deleted = kind is RetentionKind.DELETED_IMAGES
    return (
        _i.client_id == bindparam("client", type_=Id),
        _i.deleted_at.is_not(None) if deleted else _i.deleted_at.is_(None),
        _since(kind) < func.now() - kept,
        _FINAL,
    )


def _counted(kind: RetentionKind) -> Any:
    taken = not_(cited())
    return select(
        func.count().filter(taken).label("due"),
        func.coalesce(func.sum(case((taken, _i.size_bytes))), 0).cast(BigInteger).label("bytes"),
        func.count().filter(cited()).label("cited"),
    ).where(*_over(kind))


_live = _counted(RetentionKind.IMAGES).cte("live")
_deleted = _counted(RetentionKind.DELETED_IMAGES).cte("deleted")
_MEASURE = Statement(
    select(
        select(func.count()).where(_i.client_id == bindparam("client", type_=Id)).scalar_subquery().label("found"),
        _live.c.due.label("images"),
        _deleted.c.due.label("deleted_images"),
        (_live.c.bytes + _deleted.c.bytes).label("due_bytes"),
        (_live.c.cited + _deleted.c.cited).label("cited"),
    ).select_from(_live.join(_deleted, text("true"))),
    Found,
)


def _take(kind: RetentionKind) -> Statement[_Gone]:
    doomed = (
        select(_i.id)
        .where(*_over(kind), _since(kind) >= bindparam("since", type_=Moment), not_(cited()))
        .order_by(_since(kind))
        .limit(bindparam("limit", type_=BigInteger))
        .with_for_update(skip_locked=True, of=images)
        .cte("doomed")
    )
    keys = (_i.original_key, _i.clean_key, _i.display_key, _i.thumbnail_key, _i.size_bytes)
    gone = (
        delete(images)
        .where(_i.id.in_(select(doomed.c.id)))
        .returning(_i.id, *keys, _since(kind).label("since"))
        .cte("gone")
    )
    # The statement sees the variants as they were before the rows took them along.
    variant = image_variants.c
    of_gone = variant.image_id == gone.c.id
    made = select(variant.blob_key).where(of_gone, variant.blob_key.is_not(None)).correlate(gone)
    weight = select(func.coalesce(func.sum(variant.size_bytes), 0).cast(BigInteger)).where(of_gone).correlate(gone)
    return Statement(
        select(
            *gone.c,
            func.array(made.scalar_subquery()).label("more_keys"),
            weight.scalar_subquery().label("more_bytes"),
        ),
        _Gone,
    )


_of = func.unnest(
    bindparam("clients", type_=ARRAY(Id)),
    bindparam("live_days", type_=ARRAY(Integer)),
    bindparam("deleted_days", type_=ARRAY(Integer)),
).table_valued(column("client_id", Id), column("live_days", Integer), column("deleted_days", Integer))
_each = _of.render_derived(name="each")
_over_live = (
    (_i.client_id == _each.c.client_id)
    & _i.deleted_at.is_(None)
    & (_i.received_at < func.now() - func.make_interval(0, 0, 0, _each.c.live_days))
)
_over_deleted = (
    (_i.client_id == _each.c.client_id)
    & _i.deleted_at.is_not(None)
    & (_i.deleted_at < func.now() - func.make_interval(0, 0, 0, _each.c.deleted_days))
)
_SOME_OVER = Statement(
    select(_each.c.client_id).where(
        or_(*(select(_i.id).where(one, _FINAL, not_(cited())).exists() for one in (_over_live, _over_deleted)))
    )
)
_TAKE = {kind: _take(kind) for kind in (RetentionKind.IMAGES, RetentionKind.DELETED_IMAGES)}
_STILL_NAMED = Statement(
    select(_i.original_key).where(_i.original_key == func.any(bindparam("keys", type_=ARRAY(TEXT)))).distinct()
)
_SAMPLED = Statement(
    select(_i.original_key)
    .where(_i.client_id == bindparam("client", type_=Id), _FINAL)
    .order_by(_i.id.desc())
    .limit(_SAMPLE)
)


async def clients_with_images_over(
    db: Runner,
    scope: Scope,
    live: Mapping[str, int | None],
    deleted: Mapping[str, int | None],
) -> list[str]:
    """The clients of whose images at least one is to go; by client, for how many days each keeps them."""
    rows = await db.all(
        _SOME_OVER,
        clients=list(live),
        live_days=list(live.values()),
        deleted_days=[deleted[client] for client in live],
    )
    return [row.client_id for row in rows]


def kept_for(rules: Sequence[RetentionRule]) -> dict[str, timedelta | None]:
    """How long a client keeps what, as the statements here want it."""
    return {rule.kind.value: timedelta(days=rule.keep_days) if rule.enabled else None for rule in rules}


async def measure_images(db: Runner, scope: Scope, client_id: str, kept: dict[str, timedelta | None]) -> Found:
    """What a cleanup would take."""
    found = await db.one(_MEASURE, client=client_id, **_intervals(kept))
    assert found is not None  # counts
    return found


async def newest_keys(db: Runner, scope: Scope, client_id: str) -> list[str]:
    """Blobs that must be there if the store is what it should be; none where a client has no images."""
    return [row.original_key for row in await db.all(_SAMPLED, client=client_id)]


async def take_images(
    tx: Transaction,
    scope: Scope,
    kind: RetentionKind,
    client_id: str,
    kept: dict[str, timedelta | None],
    *,
    since: datetime,
    limit: int,
) -> Step:
    """Take the rows of the oldest that are over. Their blobs are the caller's, once this is committed."""
    given = {kind.value: kept[kind.value]}
    rows = await tx.all(_TAKE[kind], client=client_id, since=since, limit=limit, **given)
    step = Step(since=since)
    for row in rows:
        step.rows += 1
        step.bytes += row.size_bytes + row.more_bytes
        step.since = max(step.since, row.since)
        own = (row.original_key, row.clean_key, row.display_key, row.thumbnail_key)
        known = step.keys.setdefault(row.original_key, [])
        known += [key for key in (*own, *row.more_keys) if key is not None]
    return step


async def unnamed_keys(db: Runner, scope: Scope, step: Step) -> list[str]:
    """The blobs of what was taken, but for those of an original that another image names, too."""
    if not step.keys:
        return []
    named = {row.original_key for row in await db.all(_STILL_NAMED, keys=list(step.keys))}
    return list(dict.fromkeys(key for own, keys in step.keys.items() if own not in named for key in keys))


def _intervals(kept: dict[str, timedelta | None]) -> dict[str, timedelta | None]:
    return {kind.value: kept[kind.value] for kind in _TAKE}
