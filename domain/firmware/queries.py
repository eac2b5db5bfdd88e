"""Reading artifacts and rollouts, the progress of rollouts, and what is under way for devices."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import Select, Table, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, distinct_on

from domain.firmware.models import (
    FirmwareRow,
    RolloutDeviceRow,
    RolloutRow,
    firmwares,
    rollout_devices,
    rollouts,
)
from domain.kit.paging import Count, Order, Page, fetch_page, fetch_pages, given_filters, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import R, Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.written import EVERYTHING, Wanted

_FIRMWARE = [firmwares.c[name] for name in FirmwareRow.__annotations__]
_ROLLOUT = [rollouts.c[name] for name in RolloutRow.__annotations__]
_DEVICE: list[Any] = [
    rollout_devices.c.device_id.label("id") if name == "id" else rollout_devices.c[name]
    for name in RolloutDeviceRow.__annotations__
]
_there = firmwares.c.deleted_at.is_(None)

_POSITION = Order("POSITION_ASC", False, rollout_devices.c.position, lambda row: row.position)
_NEWEST = {
    table.name: Order(f"{table.name.upper()}_DESC", True, table.c.id, lambda row: row.id)
    for table in (firmwares, rollouts)
}


def _any_of(column: Any, name: str) -> Any:
    return column == func.any(bindparam(name, type_=ARRAY(TEXT)))


def _owned(table: Table) -> dict[str, Any]:
    return {name: table.c.client_id == bindparam(name, type_=Id) for name in ("scope", "client_id")}


FIRMWARE_CONDITIONS = {
    **_owned(firmwares),
    "versions": _any_of(firmwares.c.version, "versions"),
    "boards": _any_of(firmwares.c.board, "boards"),
}
ROLLOUT_CONDITIONS = {
    **_owned(rollouts),
    "firmware_id": rollouts.c.firmware_id == bindparam("firmware_id", type_=Id),
    "statuses": _any_of(rollouts.c.status, "statuses"),
}


def _by_ids(columns: Sequence[Any], table: Table, row: type[R]) -> Statement[R]:
    found = table.c.id == func.any(bindparam("ids", type_=ARRAY(Id)))
    return Statement(select(*columns).where(found, visible(table.c.client_id)), row)


_FIRMWARES_BY_IDS = _by_ids(_FIRMWARE, firmwares, FirmwareRow)
_ROLLOUTS_BY_IDS = _by_ids(_ROLLOUT, rollouts, RolloutRow)
_PROGRESS = Statement(
    select(rollout_devices.c.rollout_id, rollout_devices.c.state, func.count().label("count"))
    .where(
        rollout_devices.c.rollout_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        visible(rollout_devices.c.client_id),
    )
    .group_by(rollout_devices.c.rollout_id, rollout_devices.c.state)
)
_LATEST = Statement(
    select(*_DEVICE)
    .where(
        rollout_devices.c.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        visible(rollout_devices.c.client_id),
    )
    .ext(distinct_on(rollout_devices.c.device_id))
    .order_by(rollout_devices.c.device_id, rollout_devices.c.rollout_id.desc()),
    RolloutDeviceRow,
)


@lru_cache(maxsize=256)
def _list(table: Table, filters: frozenset[str], after: bool, wanted: Wanted) -> Statement[Any]:
    given, row = (_FIRMWARE, FirmwareRow) if table is firmwares else (_ROLLOUT, RolloutRow)
    order = _NEWEST[table.name]
    query = _filtered(select(*projected(given, wanted, order)), table, filters)
    return Statement(paged(query, table.c.id, order, after=after), row)


@lru_cache(maxsize=64)
def _count(table: Table, filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(table), table, filters))


def _filtered(query: Select[Any], table: Table, filters: frozenset[str]) -> Select[Any]:
    conditions = FIRMWARE_CONDITIONS if table is firmwares else ROLLOUT_CONDITIONS
    query = query.where(*(conditions[name] for name in sorted(filters)))
    return query.where(_there) if table is firmwares else query


async def firmwares_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[FirmwareRow | None]:
    """The artifacts with these ids, deleted ones too, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_FIRMWARES_BY_IDS, scope, ids)


async def rollouts_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[RolloutRow | None]:
    """The rollouts with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_ROLLOUTS_BY_IDS, scope, ids)


async def list_firmwares(db: Runner, scope: Scope, **asked: Any) -> Page[FirmwareRow]:
    """The artifacts in the scope, the newest first; arguments as for `_listed`."""
    return await _listed(db, scope, firmwares, **asked)


async def list_rollouts(db: Runner, scope: Scope, **asked: Any) -> Page[RolloutRow]:
    """The rollouts in the scope, the newest first; arguments as for `_listed`."""
    return await _listed(db, scope, rollouts, **asked)


async def _listed(
    db: Runner,
    scope: Scope,
    table: Table,
    *,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> Page[Any]:
    """Filters are those of the table's conditions, absent or None meaning any."""
    given = given_filters(scope, filters)
    names = frozenset(given)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(table, names), **given)}

    key = list_key(table.name, given)
    statement = partial(_list, table, names, after is not None)
    counted = Count(key, None, count)
    return await fetch_page(db, statement, _NEWEST[table.name], counted, first, after, wanted, **given)


async def progress_of_rollouts(db: Runner, scope: Scope, ids: Sequence[str]) -> list[dict[str, int]]:
    """How many devices of each rollout are in each state; aligned with the ids."""
    found: dict[str, dict[str, int]] = {rollout_id: {} for rollout_id in ids}
    for row in await db.all(_PROGRESS, ids=list(found), scope=scope.client_id):
        found[row["rollout_id"]][row["state"]] = row["count"]
    return [found[rollout_id] for rollout_id in ids]


async def updates_of_devices(db: Runner, scope: Scope, ids: Sequence[str]) -> list[RolloutDeviceRow | None]:
    """What the newest rollout that each device was in did with it; aligned with the ids."""
    rows = await db.all(_LATEST, ids=list(set(ids)), scope=scope.client_id)
    found = {row.device_id: row for row in rows}
    return [found.get(device_id) for device_id in ids]


@lru_cache(maxsize=64)
def _devices(state: bool, scoped: bool, after: bool, wanted: Wanted) -> Statement[RolloutDeviceRow]:
    query = _of_state(select(*projected(_DEVICE, wanted, _POSITION)), state, scoped)
    parent = rollout_devices.c.rollout_id
    return Statement(
        paged(query, rollout_devices.c.device_id, _POSITION, after=after, parent=parent), RolloutDeviceRow
    )


@lru_cache(maxsize=8)
def _devices_count(state: bool, scoped: bool) -> Statement[Row]:
    parent = rollout_devices.c.rollout_id
    query = _of_state(select(parent.label("parent_key"), func.count().label("count")), state, scoped)
    return Statement(query.where(parent == func.any(bindparam("parents", type_=ARRAY(Id)))).group_by(parent))


def _of_state(query: Select[Any], state: bool, scoped: bool) -> Select[Any]:
    if state:
        query = query.where(rollout_devices.c.state == bindparam("state", type_=TEXT))
    return query.where(rollout_devices.c.client_id == bindparam("scope", type_=Id)) if scoped else query


async def devices_of_rollouts(
    db: Runner,
    scope: Scope,
    rollout_ids: Sequence[str],
    *,
    state: str | None,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
) -> list[Page[RolloutDeviceRow]]:
    """One page of devices for each rollout, in the order in which stages take them; aligned with the ids."""
    given = given_filters(scope, {"state": state})
    has = (state is not None, scope.client_id is not None)

    async def count(parents: Sequence[str | None]) -> dict[str | None, int]:
        rows = await db.all(_devices_count(*has), parents=list(parents), **given)
        return {row.parent_key: row["count"] for row in rows}

    statement = partial(_devices, *has, after is not None)
    key = list_key("rollout devices", given)
    return await fetch_pages(
        db,
        statement,
        _POSITION,
        lambda parent: Count(key, parent, count),
        rollout_ids,
        first,
        after,
        wanted,
        **given,
    )
