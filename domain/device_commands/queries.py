"""Reading commands: one, many by id, and a list under each of many devices.

Time alone makes a command EXPIRED, so its status is a condition of the moment it is read; the schedule only writes
it down.
"""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Select, bindparam, case, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.device_commands.models import OPEN, CommandStatus, DeviceCommandRow, device_commands
from domain.kit.paging import Count, Order, Page, fetch_pages, given_filters, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.written import EVERYTHING, Wanted

_table = device_commands.c
_is_over = OPEN & (_table.expires_at <= func.now())
_status: Any = case((_is_over, CommandStatus.EXPIRED.value), else_=_table.status).label("status")
_told: dict[str, Any] = {
    "status": _status,
    "finished_at": case((_is_over, _table.expires_at), else_=_table.finished_at).label("finished_at"),
}
_COLUMNS: list[Any] = [_told.get(name, _table[name]) for name in DeviceCommandRow.__annotations__]
_NEWEST = Order("CREATED_AT_DESC", True, _table.id, lambda row: row.id)
_CONDITIONS = {
    "scope": _table.client_id == bindparam("scope", type_=Id),
    "statuses": _status.element == func.any(bindparam("statuses", type_=ARRAY(TEXT))),
    "types": _table.type == func.any(bindparam("types", type_=ARRAY(TEXT))),
}
_BY_IDS = Statement(
    select(*_COLUMNS).where(_table.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(_table.client_id)),
    DeviceCommandRow,
)


@lru_cache(maxsize=128)
def _list(filters: frozenset[str], after: bool, wanted: Wanted) -> Statement[DeviceCommandRow]:
    query = _filtered(select(*projected(_COLUMNS, wanted, _NEWEST)), filters)
    return Statement(paged(query, _table.id, _NEWEST, after=after, parent=_table.device_id), DeviceCommandRow)


@lru_cache(maxsize=32)
def _count(filters: frozenset[str]) -> Statement[Row]:
    query = _filtered(select(_table.device_id.label("parent_key"), func.count().label("count")), filters)
    under = _table.device_id == func.any(bindparam("parents", type_=ARRAY(Id)))
    return Statement(query.where(under).group_by(_table.device_id))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(*(_CONDITIONS[name] for name in sorted(filters)))


async def device_commands_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[DeviceCommandRow | None]:
    """The commands with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def commands_of_devices(
    db: Runner,
    scope: Scope,
    device_ids: Sequence[str],
    *,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> list[Page[DeviceCommandRow]]:
    """One page of commands for each device, the newest first, aligned; filters are those of `_CONDITIONS`."""
    given = given_filters(scope, filters)
    names = frozenset(given)

    async def count(parents: Sequence[str | None]) -> dict[str | None, int]:
        rows = await db.all(_count(names), parents=list(parents), **given)
        return {row.parent_key: row["count"] for row in rows}

    key = list_key("device commands", given)
    statement = partial(_list, names, after is not None)
    return await fetch_pages(
        db, statement, _NEWEST, lambda parent: Count(key, parent, count), device_ids, first, after, wanted, **given
    )
