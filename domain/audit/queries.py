"""Reading the audit log: events whose actor is a person or a client's token, but for what devices report."""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.clients.models import clients
from domain.events.models import AUDITED, EventRow, events
from domain.events.queries import NEWEST_FIRST
from domain.kit.errors import Invalid
from domain.kit.paging import Count, Page, fetch_page, given_filters, list_key, paged
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment
from domain.users.models import users

_COLUMNS = [events.c[name] for name in EventRow.__annotations__]
_LONGEST_ACTION = 100

_CONDITIONS = {
    "scope": events.c.client_id == bindparam("scope", type_=Id),
    "client_id": events.c.client_id == bindparam("client_id", type_=Id),
    "actor_ids": events.c.actor_id == func.any(bindparam("actor_ids", type_=ARRAY(Id))),
    "action_prefix": func.starts_with(events.c.type, bindparam("action_prefix", type_=TEXT)),
    "subject_kind": events.c.subject_kind == bindparam("subject_kind", type_=TEXT),
    "subject_ids": events.c.subject_id == func.any(bindparam("subject_ids", type_=ARRAY(Id))),
    "since": events.c.recorded_at >= bindparam("since", type_=Moment),
    "until": events.c.recorded_at < bindparam("until", type_=Moment),
}


class NameRow(Row):
    id: str
    name: str


_wanted = func.any(bindparam("ids", type_=ARRAY(Id)))
_NAMES = Statement(
    union_all(
        select(users.c.id, users.c.email.label("name")).where(users.c.id == _wanted, visible(users.c.client_id)),
        select(clients.c.id, clients.c.name).where(clients.c.id == _wanted, visible(clients.c.id)),
    ),
    NameRow,
)


@lru_cache(maxsize=256)
def _list(filters: frozenset[str], after: bool) -> Statement[EventRow]:
    query = _filtered(select(*_COLUMNS), filters)
    return Statement(paged(query, events.c.position, NEWEST_FIRST, after=after), EventRow)


@lru_cache(maxsize=64)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(events), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(AUDITED, *(_CONDITIONS[name] for name in sorted(filters)))


async def list_audit(db: Runner, scope: Scope, *, first: int, after: str | None, **filters: Any) -> Page[EventRow]:
    """The changes in the scope, newest first. Filters are those of `_CONDITIONS`; None means any."""
    given = given_filters(scope, filters)
    if len(given.get("action_prefix", "")) > _LONGEST_ACTION:
        raise Invalid(f"An action has at most {_LONGEST_ACTION} characters.", argument="actionPrefix")
    names = frozenset(given)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("audit", given)
    statement = _list(names, after is not None)
    return await fetch_page(db, lambda _: statement, NEWEST_FIRST, Count(key, None, count), first, after, **given)


async def actor_names(db: Runner, scope: Scope, ids: Sequence[str]) -> dict[str, str]:
    """The e-mails of users and the names of clients with these ids, deleted ones too, as far as the scope goes."""
    return {row.id: row.name for row in await db.all(_NAMES, ids=list(ids), scope=scope.client_id)}
