"""Desired and reported: what a device that wakes is told of its config, and what is remembered of what it said.

A device reports the revision that it runs, or one that it refuses and why. As long as that is not the desired one
the answer carries the config. What it refused is offered again a day later, or when there is another revision: an
offer costs it energy, and it has said what it thinks of this one.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Interval,
    Text,
    and_,
    bindparam,
    case,
    cast,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.configs.models import configs, device_config_states
from domain.devices.models import devices
from domain.devices.wakes import Wake
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction

REFUSED_FOR = timedelta(days=1)
"""How long a refused revision is not offered again."""
OVERDUE_AFTER = 3
"""After so many wake intervals in which a device that was offered a config came and did not confirm it."""
_MOST = 2**31 - 1  # of an Int in GraphQL
_CHANGING = (
    "reported_version",
    "reported_at",
    "offered_version",
    "offered_at",
    "in_sync_since",
    "overdue_at",
    "refused_version",
    "refused_error",
    "refused_at",
)

_s = device_config_states.c
_wake = (
    func.unnest(
        bindparam("devices", type_=ARRAY(Id)),
        bindparam("clients", type_=ARRAY(Id)),
        bindparam("macs", type_=ARRAY(Text)),
        bindparam("versions", type_=ARRAY(BigInteger)),
    )
    .table_valued(
        Column("device_id", Id), Column("client_id", Id), Column("mac", Text), Column("version", BigInteger)
    )
    .render_derived(name="wake")
)
_just_refused = and_(
    func.coalesce(_s.refused_version == configs.c.revision, False),
    _s.refused_at > func.now() - bindparam("refused_for", type_=Interval),
)
_is_offered = and_(configs.c.revision.is_distinct_from(_wake.c.version), ~func.coalesce(_just_refused, False))
_LOOK = Statement(
    select(
        _wake.c.device_id,
        configs.c.revision,
        case((_is_offered, configs.c.effective)).label("offer"),
        func.now().label("now"),
        *(_s[name] for name in _CHANGING),
    )
    .select_from(
        _wake.outerjoin(
            configs,
            and_(
                configs.c.client_id == _wake.c.client_id,
                configs.c.mac == _wake.c.mac,
                configs.c.deleted_at.is_(None),
            ),
        ).outerjoin(device_config_states, _s.device_id == _wake.c.device_id)
    )
    .where(visible(_wake.c.client_id), or_(configs.c.id.is_not(None), _wake.c.version.is_not(None)))
)
_FIELDS = ("device_id", "client_id", *_CHANGING)
_changed = (
    func.jsonb_to_recordset(bindparam("rows", type_=Json))
    .table_valued(*(Column(name, _s[name].type) for name in _FIELDS))
    .render_derived(name="changed", with_types=True)
)
_insert = insert(device_config_states).from_select(list(_FIELDS), select(*(_changed.c[name] for name in _FIELDS)))
_REMEMBER = Statement(
    _insert.on_conflict_do_update(
        index_elements=["device_id"], set_={name: _insert.excluded[name] for name in _CHANGING}
    )
)
_OVERDUE_AT_ONCE = 5_000
_patience = func.make_interval(0, 0, 0, 0, 0, 0, cast(OVERDUE_AFTER * devices.c.wake_interval_seconds, Float))
# Rows that a wake holds just now are left for the next time: waiting for them might be a deadlock.
_late = (
    select(_s.device_id)
    .join(devices, _s.device_id == devices.c.id)
    .join(configs, and_(configs.c.client_id == devices.c.client_id, configs.c.mac == devices.c.mac))
    .where(
        _s.in_sync_since.is_(None),
        _s.overdue_at.is_(None),
        _s.offered_at.is_not(None),
        devices.c.deregistered_at.is_(None),
        devices.c.last_seen_at > _s.offered_at + _patience,
        configs.c.deleted_at.is_(None),
        configs.c.revision == _s.offered_version,
        _s.refused_version.is_distinct_from(_s.offered_version),
        visible(_s.client_id),
    )
    .limit(_OVERDUE_AT_ONCE)
    .with_for_update(of=device_config_states, skip_locked=True)
    .cte("late")
)
_MARK_OVERDUE = Statement(
    update(device_config_states)
    .where(_s.device_id == _late.c.device_id)
    .values(overdue_at=func.now())
    .returning(_s.device_id, _s.client_id, _s.offered_version, _s.offered_at)
)


async def answer_wakes(tx: Transaction, scope: Scope, wakes: Sequence[Wake]) -> dict[str, dict[str, Any]]:
    """By device: `configVersion` and `config`, for those that do not run what they are to run.

    What they said is remembered, in one more statement, and only where it is news.
    """
    concerned = {wake.device.id: wake for wake in wakes if wake.device.mac or _reported(wake) is not None}
    if not concerned:
        return {}
    rows = await tx.all(
        _LOOK,
        devices=list(concerned),
        clients=[wake.device.client_id for wake in concerned.values()],
        macs=[wake.device.mac for wake in concerned.values()],
        versions=[_reported(wake) for wake in concerned.values()],
        refused_for=REFUSED_FOR,
        scope=scope.client_id,
    )
    changed = [state for row in rows if (state := _next_state(tx, concerned[row.device_id], row))]
    if changed:
        await tx.all(_REMEMBER, rows=changed)
    return {
        row.device_id: {"configVersion": row.revision, "config": row.offer} for row in rows if row.offer is not None
    }


async def mark_overdue(tx: Transaction, scope: Scope) -> int:
    """Tell of devices that were offered a config and did not confirm it though they came; returns how many.

    A change of a template may make a whole fleet overdue at once: the rest is told the next time.
    """
    rows = await tx.all(_MARK_OVERDUE, scope=scope.client_id)
    for row in rows:
        tx.emit(
            scope,
            "device.config_overdue",
            client_id=row.client_id,
            subject=("Device", row.device_id),
            version=row.offered_version,
            offeredAt=row.offered_at,
        )
    return len(rows)


def _reported(wake: Wake) -> int | None:
    version = wake.report.config_version
    return version if version is not None and 0 <= version <= _MOST else None


def _next_state(tx: Transaction, wake: Wake, row: Row) -> dict[str, Any] | None:
    """The row to write after this wake; None when it would say what it says already."""
    known = {name: row[name] for name in _CHANGING}
    state = dict(known)
    version = _reported(wake)
    if version is not None and wake.report.config_error is not None:
        _refuse(tx, wake, state, version, row.now)
    elif version is not None:
        _confirm(tx, wake, state, version, row.revision, row.now)
    if row.offer is not None and state["offered_version"] != row.revision:
        state |= {"offered_version": row.revision, "offered_at": row.now, "in_sync_since": None, "overdue_at": None}
    if state == known:
        return None
    return {"device_id": wake.device.id, "client_id": wake.device.client_id, **state}


def _refuse(tx: Transaction, wake: Wake, state: dict[str, Any], version: int, now: datetime) -> None:
    error = _sentence(wake.report.config_error or "")
    is_news = (state["refused_version"], state["refused_error"]) != (version, error)
    if is_news:
        wake.emit(tx, "device.config_refused", version=version, error=error)
    if is_news or state["refused_at"] < now - REFUSED_FOR:
        state |= {"refused_version": version, "refused_error": error, "refused_at": now}
    if state["reported_version"] == version:  # it ran this once, and does not any more
        state |= {"reported_version": None, "reported_at": None, "in_sync_since": None}


def _confirm(
    tx: Transaction, wake: Wake, state: dict[str, Any], version: int, desired: int | None, now: datetime
) -> None:
    if state["reported_version"] != version:
        state |= {"reported_version": version, "reported_at": now, "in_sync_since": None}
    if version != desired:
        state["in_sync_since"] = None
    elif state["in_sync_since"] is None:
        state |= {"in_sync_since": now, "overdue_at": None}
        state |= {"refused_version": None, "refused_error": None, "refused_at": None}
        wake.emit(tx, "device.config_applied", version=version)


def _sentence(text: str) -> str:
    """What a device said, as far as it can be kept: one line of at most 500 characters."""
    printable = "".join(character if character.isprintable() else " " for character in text[:1000])
    return " ".join(printable.split())[:500] or "no reason given"
