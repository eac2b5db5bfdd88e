"""Reading devices."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import Any

from orjson import Fragment
from sqlalchemy import BigInteger, Boolean, Float, Select, bindparam, cast, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.devices.models import SEARCHED, DeviceRow, devices
from domain.devices.presence import DEFAULT_POLICY, STATE, STATUS, PresencePolicy
from domain.kit.errors import Invalid
from domain.kit.paging import Count, Order, Page, fetch_by_id, fetch_page, given_filters, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment
from domain.kit.written import EVERYTHING, Wanted, chosen

_COLUMNS = [devices.c[name] for name in DeviceRow.__annotations__]
_registered = devices.c.deregistered_at.is_(None)
_NEVER = datetime(1970, 1, 1, tzinfo=UTC)
_seen: Any = literal_column("coalesce(devices.last_seen_at, 'epoch'::timestamptz)", Moment)
_name: Any = literal_column("lower(devices.name)", TEXT)

ORDERS = {
    order.name: order
    for descending in (False, True)
    for direction in ["DESC" if descending else "ASC"]
    for order in (
        Order(f"KEY_{direction}", descending, devices.c.key, lambda row: row.key),
        # Folded by the database on both sides: Python's idea of lower case differs (ΟΔΟΣ, İ).
        Order(f"NAME_{direction}", descending, _name, lambda row: row.name, func.lower, "name"),
        Order(f"CREATED_AT_{direction}", descending, devices.c.id, lambda row: row.id),
        Order(
            f"LAST_SEEN_AT_{direction}",
            descending,
            _seen,
            lambda row: row.last_seen_at or _NEVER,
            column="last_seen_at",
        ),
    )
}

_CONDITIONS = {
    "scope": devices.c.client_id == bindparam("scope", type_=Id),
    "client_id": devices.c.client_id == bindparam("client_id", type_=Id),
    "keys": devices.c.key == func.any(bindparam("keys", type_=ARRAY(TEXT))),
    "enabled": devices.c.enabled == bindparam("enabled", type_=Boolean),
    "seen_since": _seen >= bindparam("seen_since", type_=Moment),
    "not_seen_since": _seen < bindparam("not_seen_since", type_=Moment),
    # `any` stands on the right, whatever SQLAlchemy makes of a comparison with CASE.
    "presence": STATE.bool_op("=")(func.any(bindparam("presence", type_=ARRAY(TEXT)))),
    "status": STATUS.bool_op("=")(func.any(bindparam("status", type_=ARRAY(TEXT)))),
    "labels": devices.c.labels.contains(bindparam("labels", type_=ARRAY(TEXT))),
    "firmware": devices.c.firmware == func.any(bindparam("firmware", type_=ARRAY(TEXT))),
    "battery_below": devices.c.battery_pct < bindparam("battery_below", type_=Float),
    "search": SEARCHED.bool_op("@@")(
        func.to_tsquery(literal_column("'simple'::regconfig"), cast(bindparam("search"), TEXT))
    ),
}

_MATCHED_BY = _CONDITIONS | {"ids": devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id)))}
_BY_KEY = Statement(
    select(*_COLUMNS).where(devices.c.key == bindparam("key"), _registered, visible(devices.c.client_id)).limit(2),
    DeviceRow,
)
_LABELLED = Statement(
    select(devices.c.id)
    .where(
        devices.c.client_id == bindparam("owner"),
        visible(devices.c.client_id),
        devices.c.labels.contains(bindparam("labels", type_=ARRAY(TEXT))),
        _registered,
    )
    .order_by(devices.c.id)
    .limit(bindparam("most", type_=BigInteger))
)


@lru_cache(maxsize=512)
def _by_ids(wanted: Wanted) -> Statement[DeviceRow]:
    found = devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id)))
    return Statement(select(*chosen(_COLUMNS, wanted)).where(found, visible(devices.c.client_id)), DeviceRow)


@lru_cache(maxsize=512)
def _list(filters: frozenset[str], order: str, after: bool, wanted: Wanted) -> Statement[DeviceRow]:
    query = _filtered(select(*projected(_COLUMNS, wanted, ORDERS[order])), filters)
    return Statement(paged(query, devices.c.id, ORDERS[order], after=after), DeviceRow)


@lru_cache(maxsize=128)
def _matching(filters: frozenset[str], hold: bool) -> Statement[DeviceRow]:
    # By id: two transactions that hold some of the same never wait for each other.
    query = _filtered(select(*_COLUMNS), filters).order_by(devices.c.id).limit(bindparam("most", type_=BigInteger))
    return Statement(query.with_for_update() if hold else query, DeviceRow)


@lru_cache(maxsize=128)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(devices), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(_registered, *(_MATCHED_BY[name] for name in sorted(filters)))


async def devices_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[DeviceRow | None]:
    """The devices with these ids, deregistered ones too, aligned; None where there is none in the scope."""
    return await db.by_ids(_by_ids(EVERYTHING), scope, ids)


async def device_by_id(
    db: Runner, scope: Scope, device_id: str, wanted: Wanted = EVERYTHING
) -> DeviceRow | Fragment | None:
    """One of `devices_by_ids`, with at least what is wanted, or the JSON of that."""
    return await fetch_by_id(db, _by_ids, scope, device_id, wanted)


async def device_by_key(db: Runner, scope: Scope, key: str, client_id: str | None = None) -> DeviceRow | None:
    """The registered device with this key. Raises Invalid when several clients in the scope use the key."""
    rows = await db.all(_BY_KEY, key=key, scope=client_id or scope.client_id)
    if len(rows) > 1:
        raise Invalid("Several clients have a device with this key: name the client.", argument="clientId")
    return rows[0] if rows and scope.client_id in (None, rows[0].client_id) else None


async def list_devices(
    db: Runner,
    scope: Scope,
    *,
    order: str,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    policy: PresencePolicy = DEFAULT_POLICY,
    **filters: Any,
) -> Page[DeviceRow]:
    """The registered devices in the scope, with at least what is wanted.

    `order` is a name in ORDERS; filters are those of `_CONDITIONS`, absent or None meaning any.
    """
    names, given = _given(scope, policy, filters)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("devices", given)
    statement = partial(_list, names, order, after is not None)
    return await fetch_page(db, statement, ORDERS[order], Count(key, None, count), first, after, wanted, **given)


async def matching_devices(
    db: Runner,
    scope: Scope,
    *,
    most: int,
    hold: bool,
    policy: PresencePolicy = DEFAULT_POLICY,
    **filters: Any,
) -> list[DeviceRow]:
    """The registered devices in the scope that match, by id, so many at most; locked, if they are to be held.

    Filters as those of `list_devices`, and `ids`.
    """
    names, given = _given(scope, policy, filters)
    return await db.all(_matching(names, hold), most=most, **given)


def _given(
    scope: Scope, policy: PresencePolicy, filters: Mapping[str, Any]
) -> tuple[frozenset[str], dict[str, Any]]:
    """The names of the conditions that are asked for, and their parameters."""
    given = given_filters(scope, filters)
    if "search" in given:
        given["search"] = prefix_query(given["search"])
    names = frozenset(given)
    if "presence" in given or "status" in given:
        given |= policy.parameters() | {"inactive_after": policy.inactive_after}
    return names, given


async def ids_of_labelled_devices(
    db: Runner, scope: Scope, client_id: str, labels: Sequence[str], *, most: int
) -> list[str]:
    """The ids of a client's registered devices that have all of these labels, so many at most.

    Raises Invalid for no label at all, which every device would have.
    """
    if not labels:
        raise Invalid("Name at least one label.", argument="labels")
    rows = await db.all(_LABELLED, owner=client_id, scope=scope.client_id, labels=list(labels), most=most)
    return [row["id"] for row in rows]


def prefix_query(words: str) -> str:
    """A full-text query for rows with words that begin as these do. Raises Invalid when there is no word."""
    found = re.findall(r"[^\W_]+", words)
    if not found:
        raise Invalid("Search for at least one letter or digit.", argument="search")
    return " & ".join(f"{word}:*" for word in found[:10])
