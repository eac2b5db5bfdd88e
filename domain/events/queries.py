"""Reading the log: as pages for people, and onward from a position for the live feed."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Select, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.events.models import EventRow, event_floors, event_log, events
from domain.kit.errors import Invalid
from domain.kit.paging import (
    Count,
    Order,
    Page,
    decode_cursor,
    encode_cursor,
    fetch_page,
    given_filters,
    list_key,
    paged,
)
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment

_COLUMNS = [events.c[name] for name in EventRow.__annotations__]

_CONDITIONS = {
    "scope": events.c.client_id == bindparam("scope", type_=Id),
    "client_id": events.c.client_id == bindparam("client_id", type_=Id),
    "types": events.c.type == func.any(bindparam("types", type_=ARRAY(TEXT))),
    "subject_ids": events.c.subject_id == func.any(bindparam("subject_ids", type_=ARRAY(Id))),
    "subject_kind": events.c.subject_kind == bindparam("subject_kind", type_=TEXT),
    "since": events.c.recorded_at >= bindparam("since", type_=Moment),
    "until": events.c.recorded_at < bindparam("until", type_=Moment),
}

_HEAD = Statement(select(event_log.c.last_position))
_onward = (
    select(*_COLUMNS)
    .where(events.c.position > bindparam("position", type_=BigInteger))
    .order_by(events.c.position)
    .limit(bindparam("limit", type_=BigInteger))
)
_ONWARD = Statement(_onward, EventRow)
_ONWARD_OF_CLIENT = Statement(_onward.where(_CONDITIONS["scope"]), EventRow)
_OLDEST = Statement(select(func.min(events.c.position)))
_FLOOR = Statement(select(func.max(event_floors.c.position)).where(visible(event_floors.c.client_id)))


class _NewestFirst(Order):
    """The log's own order. Its cursors are those that subscriptions give and take too."""

    def cursor(self, row: Any) -> str:
        return event_cursor(row.position)

    def after(self, cursor: str | None) -> dict[str, Any]:
        return {} if cursor is None else {"after_id": position_of(cursor)}


NEWEST_FIRST = _NewestFirst("POSITION_DESC", True, events.c.position, lambda row: row.position)


def event_cursor(position: int) -> str:
    return encode_cursor("event", position)


def position_of(cursor: str) -> int:
    """The position behind an event's cursor. Raises Invalid for what is none."""
    kind, position = decode_cursor(cursor, 2)
    if kind != "event" or not isinstance(position, int) or not 0 <= position < 1 << 63:
        raise Invalid("This is not a cursor of the events log.", argument="after")
    return position


@lru_cache(maxsize=256)
def _list(filters: frozenset[str], after: bool) -> Statement[EventRow]:
    query = _filtered(select(*_COLUMNS), filters)
    return Statement(paged(query, events.c.position, NEWEST_FIRST, after=after), EventRow)


@lru_cache(maxsize=64)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(events), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(*(_CONDITIONS[name] for name in sorted(filters)))


async def list_events(db: Runner, scope: Scope, *, first: int, after: str | None, **filters: Any) -> Page[EventRow]:
    """The events in the scope, newest first. Filters are those of `_CONDITIONS`."""
    given = given_filters(scope, filters)
    names = frozenset(given)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("events", given)
    statement = _list(names, after is not None)
    return await fetch_page(db, lambda _: statement, NEWEST_FIRST, Count(key, None, count), first, after, **given)


async def log_head(db: Runner, scope: Scope) -> int:
    """The position of the newest event; 0 when there is none."""
    return await db.value(_HEAD) or 0


async def oldest_position(db: Runner, scope: Scope) -> int | None:
    """The position of the oldest event that is kept; None for an empty log."""
    position: int | None = await db.value(_OLDEST)
    return position


async def log_floor(db: Runner, scope: Scope) -> int:
    """Up to which position events that the scope sees were taken away before their month; 0 where none were."""
    return await db.value(_FLOOR, scope=scope.client_id) or 0


async def events_onward(db: Runner, scope: Scope, position: int, limit: int) -> list[EventRow]:
    """The events in the scope after a position, oldest first."""
    if scope.client_id is None:
        return await db.all(_ONWARD, position=position, limit=limit)
    return await db.all(_ONWARD_OF_CLIENT, position=position, limit=limit, scope=scope.client_id)
