"""Reading generations: by id, and a list, the newest first."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.generation.models import GenerationRow, generations
from domain.kit.paging import Count, Order, Page, fetch_page, given_filters, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment
from domain.kit.written import EVERYTHING, Wanted

_table = generations.c
_COLUMNS = [_table[name] for name in GenerationRow.__annotations__]
_NEWEST = Order("REQUESTED_AT_DESC", True, _table.id, lambda row: row.id)
_CONDITIONS = {
    "scope": _table.client_id == bindparam("scope", type_=Id),
    "client_id": _table.client_id == bindparam("client_id", type_=Id),
    "statuses": _table.status == func.any(bindparam("statuses", type_=ARRAY(TEXT))),
    "kinds": _table.kind == func.any(bindparam("kinds", type_=ARRAY(TEXT))),
    "failure_codes": _table.failure_code == func.any(bindparam("failure_codes", type_=ARRAY(TEXT))),
    "requester_id": _table.requester_id == bindparam("requester_id", type_=Id),
    "requested_since": _table.requested_at >= bindparam("requested_since", type_=Moment),
    "requested_until": _table.requested_at < bindparam("requested_until", type_=Moment),
}
_BY_IDS = Statement(
    select(*_COLUMNS).where(_table.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(_table.client_id)),
    GenerationRow,
)


@lru_cache(maxsize=256)
def _list(filters: frozenset[str], after: bool, wanted: Wanted) -> Statement[GenerationRow]:
    query = _filtered(select(*projected(_COLUMNS, wanted, _NEWEST)), filters)
    return Statement(paged(query, _table.id, _NEWEST, after=after), GenerationRow)


@lru_cache(maxsize=64)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count().label("count")).select_from(generations), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(*(_CONDITIONS[name] for name in sorted(filters)))


async def generations_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[GenerationRow | None]:
    """The generations with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def list_generations(
    db: Runner,
    scope: Scope,
    *,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> Page[GenerationRow]:
    """The generations in the scope, the newest first, with at least what is wanted.

    Filters are those of `_CONDITIONS`.
    """
    given = given_filters(scope, filters)
    names = frozenset(given)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("generations", given)
    statement = partial(_list, names, after is not None)
    return await fetch_page(db, statement, _NEWEST, Count(key, None, count), first, after, wanted, **given)
