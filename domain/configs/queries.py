"""Reading configs, their versions and templates, the schema of a client, and what devices run."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from jsonpatch import JsonPatch
from sqlalchemy import Boolean, Integer, Select, and_, bindparam, exists, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.configs.models import (
    SEARCHED,
    ConfigRow,
    DeviceConfigRow,
    SchemaRow,
    VersionRow,
    config_schemas,
    config_versions,
    configs,
    device_config_states,
)
from domain.devices.models import DeviceRow, devices
from domain.devices.queries import prefix_query
from domain.kit.errors import Invalid
from domain.kit.paging import Count, Order, Page, fetch_page, fetch_pages, given_filters, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.written import EVERYTHING, Wanted

_COLUMNS = [configs.c[name] for name in ConfigRow.__annotations__]
_VERSION_COLUMNS = [config_versions.c[name] for name in VersionRow.__annotations__]
_live = configs.c.deleted_at.is_(None)
_device_name: Any = literal_column("lower(coalesce(configs.device_name, ''))", TEXT)

ORDERS = {
    order.name: order
    for descending in (False, True)
    for direction in ["DESC" if descending else "ASC"]
    for order in (
        Order(f"MAC_{direction}", descending, configs.c.mac, lambda row: row.mac),
        Order(
            f"DEVICE_NAME_{direction}",
            descending,
            _device_name,
            lambda row: row.device_name or "",
            func.lower,
            "device_name",
        ),
        Order(f"UPDATED_AT_{direction}", descending, configs.c.updated_at, lambda row: row.updated_at),
    )
}
_NEWEST = Order("NUMBER_DESC", True, config_versions.c.number, lambda row: row.number)

_runs = and_(
    devices.c.client_id == configs.c.client_id,
    devices.c.mac == configs.c.mac,
    devices.c.deregistered_at.is_(None),
)
_confirmed = exists().where(
    _runs,
    device_config_states.c.device_id == devices.c.id,
    device_config_states.c.reported_version == configs.c.revision,
    device_config_states.c.in_sync_since.is_not(None),
)
_CONDITIONS = {
    "scope": configs.c.client_id == bindparam("scope", type_=Id),
    "client_id": configs.c.client_id == bindparam("client_id", type_=Id),
    "macs": configs.c.mac == func.any(bindparam("macs", type_=ARRAY(TEXT))),
    "template_id": configs.c.template_id == bindparam("template_id", type_=Id),
    "device_name": _device_name == func.lower(bindparam("device_name", type_=TEXT)),
    "enable_ota": configs.c.enable_ota == bindparam("enable_ota", type_=Boolean),
    "in_sync": _confirmed,
    "deleted": configs.c.deleted_at.is_not(None),
    "search": SEARCHED.bool_op("@@")(
        func.to_tsquery(literal_column("'simple'::regconfig"), bindparam("search", type_=TEXT))
    ),
}

_BY_IDS = Statement(
    select(*_COLUMNS).where(
        configs.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(configs.c.client_id)
    ),
    ConfigRow,
)
_BY_MAC = Statement(
    select(*_COLUMNS).where(configs.c.mac == bindparam("mac"), _live, visible(configs.c.client_id)).limit(2),
    ConfigRow,
)
_VERSIONS = {
    after: Statement(
        paged(
            select(*_VERSION_COLUMNS).where(visible(config_versions.c.client_id)),
            config_versions.c.id,
            _NEWEST,
            after=after,
            parent=config_versions.c.document_id,
        ),
        VersionRow,
    )
    for after in (False, True)
}
_COUNT_VERSIONS = Statement(
    select(config_versions.c.document_id, func.count().label("count"))
    .where(
        config_versions.c.document_id == func.any(bindparam("parents", type_=ARRAY(Id))),
        visible(config_versions.c.client_id),
    )
    .group_by(config_versions.c.document_id)
)
_NUMBERED = Statement(
    select(*_VERSION_COLUMNS).where(
        config_versions.c.document_id == func.any(bindparam("documents", type_=ARRAY(Id))),
        config_versions.c.number == func.any(bindparam("numbers", type_=ARRAY(Integer))),
        visible(config_versions.c.client_id),
    ),
    VersionRow,
)
_OTA_REFUSED = Statement(
    select(devices.c.id)
    .select_from(devices.join(configs, _runs))
    .where(
        devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id))),
        _live,
        configs.c.enable_ota.is_(False),
        visible(devices.c.client_id),
    )
)
_SCHEMA = Statement(
    select(*(config_schemas.c[name] for name in SchemaRow.__annotations__)).where(
        config_schemas.c.client_id == bindparam("client"), visible(config_schemas.c.client_id)
    ),
    SchemaRow,
)
_states = device_config_states.c
_OF_DEVICES = Statement(
    select(
        devices.c.id.label("device_id"),
        configs.c.id.label("config_id"),
        configs.c.revision.label("desired"),
        configs.c.revised_at,
        *(_states[name] for name in list(DeviceConfigRow.__annotations__)[4:]),
    )
    .select_from(
        devices.outerjoin(
            configs,
            and_(devices.c.client_id == configs.c.client_id, devices.c.mac == configs.c.mac, _live),
        ).outerjoin(device_config_states, _states.device_id == devices.c.id)
    )
    .where(
        devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id))),
        devices.c.deregistered_at.is_(None),
        visible(devices.c.client_id),
        (configs.c.id.is_not(None)) | (_states.device_id.is_not(None)),
    ),
    DeviceConfigRow,
)
_DESIRED = Statement(
    select(configs.c.id, configs.c.revision, configs.c.effective, devices.c.enabled)
    .join(devices, and_(_runs, _live))
    .where(devices.c.id == bindparam("device"), visible(configs.c.client_id)),
    ConfigRow,
)
_DEVICES = Statement(
    select(configs.c.id.label("config_id"), *(devices.c[name] for name in DeviceRow.__annotations__))
    .join(devices, _runs)
    .where(configs.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(configs.c.client_id)),
    DeviceRow,
)


@lru_cache(maxsize=512)
def _list(filters: frozenset[str], order: str, after: bool, wanted: Wanted) -> Statement[ConfigRow]:
    query = _filtered(select(*projected(_COLUMNS, wanted, ORDERS[order])), filters)
    return Statement(paged(query, configs.c.id, ORDERS[order], after=after), ConfigRow)


@lru_cache(maxsize=128)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(configs), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    conditions = [~_CONDITIONS[name[1:]] if name.startswith("~") else _CONDITIONS[name] for name in sorted(filters)]
    return query.where(*conditions) if "deleted" in filters else query.where(_live, *conditions)


async def configs_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[ConfigRow | None]:
    """The configs with these ids, deleted ones too, aligned; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def config_by_mac(db: Runner, scope: Scope, mac: str, client_id: str | None = None) -> ConfigRow | None:
    """The config of this MAC, unless it is deleted. Raises Invalid when several clients in the scope have one."""
    rows = await db.all(_BY_MAC, mac=mac, scope=client_id or scope.client_id)
    if len(rows) > 1:
        raise Invalid("Several clients have a config of this MAC: name the client.", argument="clientId")
    return rows[0] if rows and scope.client_id in (None, rows[0].client_id) else None


async def list_configs(
    db: Runner,
    scope: Scope,
    *,
    order: str,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> Page[ConfigRow]:
    """The configs in the scope, with at least what is wanted.

    `order` is a name in ORDERS; filters are those of `_CONDITIONS`, absent or None meaning any. Deleted ones are
    listed for `deleted` True alone, and nothing else is then.
    """
    given = given_filters(scope, filters)
    chosen = {"deleted"} if given.pop("deleted", False) else set()
    if "in_sync" in given:  # two conditions, not a comparison: with that the whole table would be looked through
        chosen.add("in_sync" if given.pop("in_sync") else "~in_sync")
    if "search" in given:
        given["search"] = prefix_query(given["search"])
    names = frozenset(chosen.union(given))

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("configs", given, names)
    statement = partial(_list, names, order, after is not None)
    return await fetch_page(db, statement, ORDERS[order], Count(key, None, count), first, after, wanted, **given)


async def versions_of(
    db: Runner, scope: Scope, document_ids: Sequence[str], *, first: int, after: str | None
) -> list[Page[VersionRow]]:
    """One page of versions, the newest first, for each config or template."""

    async def count(parents: Sequence[str | None]) -> dict[str | None, int]:
        rows = await db.all(_COUNT_VERSIONS, parents=list(parents), scope=scope.client_id)
        return {row.document_id: row["count"] for row in rows}

    statement = _VERSIONS[after is not None]
    return await fetch_pages(
        db,
        lambda _: statement,
        _NEWEST,
        lambda parent: Count("config versions", parent, count),
        document_ids,
        first,
        after,
        scope=scope.client_id,
    )


async def versions_numbered(
    db: Runner, scope: Scope, document_ids: Sequence[str], numbers: Sequence[int]
) -> dict[tuple[str, int], VersionRow]:
    """Those versions of these configs or templates that there are, by document and number."""
    rows = await db.all(_NUMBERED, documents=list(document_ids), numbers=list(numbers), scope=scope.client_id)
    return {(row.document_id, row.number): row for row in rows}


async def schema_of(db: Runner, scope: Scope, client_id: str) -> SchemaRow | None:
    """The schema of a client's configs."""
    return await db.one(_SCHEMA, client=client_id, scope=scope.client_id)


async def configs_of_devices(db: Runner, scope: Scope, device_ids: Sequence[str]) -> list[DeviceConfigRow | None]:
    """What each device is to run and what it made of it; None for one that has no config and never told of one."""
    rows = {row.device_id: row for row in await db.all(_OF_DEVICES, ids=list(device_ids), scope=scope.client_id)}
    return [rows.get(device_id) for device_id in device_ids]


async def devices_of_configs(db: Runner, scope: Scope, config_ids: Sequence[str]) -> list[DeviceRow | None]:
    """The registered device that has each config's MAC; None where there is none."""
    rows = await db.all(_DEVICES, ids=list(config_ids), scope=scope.client_id)
    found = {row["config_id"]: row for row in rows}
    return [found.get(config_id) for config_id in config_ids]


async def desired_config(db: Runner, scope: Scope, device_id: str) -> ConfigRow | None:
    """`revision` and `effective` of the config that a registered device is to run; None when it has none."""
    return await db.one(_DESIRED, device=device_id, scope=scope.client_id)


async def ota_refused(db: Runner, scope: Scope, device_ids: Sequence[str]) -> set[str]:
    """Those of the devices whose config, with all that it inherits, says `enableOTA: false`."""
    return {row.id for row in await db.all(_OTA_REFUSED, ids=list(device_ids), scope=scope.client_id)}


def patch_between(before: dict[str, Any], after: dict[str, Any]) -> list[dict[str, Any]]:
    """The JSON Patch (RFC 6902) that makes `after` of `before`. Pure, and slow for large arrays: use a thread."""
    operations: list[dict[str, Any]] = JsonPatch.from_diff(before, after).patch
    return operations
