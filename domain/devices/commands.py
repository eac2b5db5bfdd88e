"""Changing devices as their operators do: registering, renaming, new tokens, deregistering."""

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import asyncpg
from sqlalchemy import Integer, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from domain.clients.commands import checked_name
from domain.clients.queries import clients_by_ids
from domain.devices.models import DEFAULT_WAKE_INTERVAL, DeviceRow, devices
from domain.devices.wakes import ReportingDevice
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.ids import new_id
from domain.kit.macs import checked_mac, mac_in
from domain.kit.scope import Scope, visible
from domain.kit.secrets import DEVICE_TOKEN, NewToken, new_token
from domain.kit.sql import Row, Statement, insertion
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

# What may be changed, and what callers and events call it.
TOLD = {
    "name": "name",
    "enabled": "enabled",
    "wake_interval_seconds": "wakeIntervalSeconds",
    "mac": "mac",
    "board": "board",
    "labels": "labels",
}
_MAY_BE_NULL = {"mac", "board"}
_LABEL = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:/=-]{0,62}[A-Za-z0-9])?")
_BOARD = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
MOST_LABELS = 50
_UNIQUE_MAC = "uq_devices_client_id_mac"
_KEY = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._:-]{0,62}[A-Za-z0-9])?")

_INSERT = Statement(
    insertion(
        devices,
        *(
            "id",
            "client_id",
            "key",
            "name",
            "mac",
            "board",
            "labels",
            "wake_interval_seconds",
            "token_hash",
            "token_prefix",
        ),
    ).values(token_created_at=func.now())
)
_HOLD = Statement(
    select(devices)
    .where(devices.c.id == bindparam("device"), devices.c.deregistered_at.is_(None), visible(devices.c.client_id))
    .with_for_update(),
    DeviceRow,
)
_SET_TOKEN = Statement(
    update(devices)
    .where(devices.c.id == bindparam("device"))
    .values(
        token_hash=bindparam("hash"),
        token_prefix=bindparam("prefix"),
        token_created_at=func.now(),
        updated_at=func.now(),
    )
)
_SET_INTERVALS = Statement(
    update(devices)
    .where(devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id))))
    .values(wake_interval_seconds=bindparam("seconds", type_=Integer), updated_at=func.now())
)
_DEREGISTER = Statement(
    update(devices)
    .where(devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id))))
    .values(
        deregistered_at=func.now(),
        token_hash=None,
        token_prefix=None,
        token_created_at=None,
        updated_at=func.now(),
    )
)


@lru_cache(maxsize=64)
def _update(columns: frozenset[str]) -> Statement[Row]:
    values: dict[str, Any] = {
        name: bindparam(f"new_{name}", type_=devices.c[name].type) for name in sorted(columns)
    }
    return Statement(
        update(devices).where(devices.c.id == bindparam("device")).values(updated_at=func.now(), **values)
    )


async def register_device(
    tx: Transaction,
    scope: Scope,
    *,
    key: str,
    name: str | None = None,
    client_id: str | None = None,
    mac: str | None = None,
    board: str | None = None,
    labels: Sequence[str] = (),
    wake_interval_seconds: int = DEFAULT_WAKE_INTERVAL,
) -> tuple[str, NewToken]:
    """Make a device; returns its id and its token, whose secret is shown this once. A key that is a MAC is its MAC.

    Raises Invalid for a key that is not 1 to 64 of `A-Z a-z 0-9 . _ : -`, Conflict when key or MAC is taken.
    """
    if not _KEY.fullmatch(key):
        raise Invalid("A key has 1 to 64 letters, digits, dots, colons, hyphens or underscores.", argument="key")
    owner = scope.owner(client_id)
    if (await clients_by_ids(tx, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    device_id, token = new_id(), new_token(DEVICE_TOKEN)
    given: dict[str, Any] = {
        "name": checked_name(name or key),
        "mac": mac_in(key) if mac is None else checked_mac(mac),
        "board": None if board is None else checked_board(board),
        "labels": checked_labels(labels),
    }
    try:
        await tx.all(
            _INSERT,
            id=device_id,
            client_id=owner,
            key=key,
            **given,
            wake_interval_seconds=checked_interval(wake_interval_seconds),
            token_hash=token.hash,
            token_prefix=token.prefix,
        )
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == _UNIQUE_MAC:
            raise _mac_taken() from None
        raise Conflict("There is already a device with this key.", code="KEY_TAKEN", argument="key") from None
    after = {"key": key, **given, "wakeIntervalSeconds": wake_interval_seconds}
    tx.emit(scope, "device.registered", client_id=owner, subject=("Device", device_id), key=key, after=after)
    return device_id, token


async def update_device(tx: Transaction, scope: Scope, device_id: str, **changes: Any) -> None:
    """Set `name`, `enabled`, `wake_interval_seconds`, `mac`, `board`, `labels`: those that are given, no others.

    Raises Invalid for None where that says nothing (only MAC and board can be taken away), Conflict for a MAC that
    is taken.
    """
    for name, value in changes.items():
        if value is None and name not in _MAY_BE_NULL:
            raise Invalid("This cannot be null: leave it out to keep it.", argument=TOLD[name])
    held = await _hold(tx, scope, device_id)
    if "name" in changes:
        changes["name"] = checked_name(changes["name"])
    if "wake_interval_seconds" in changes:
        checked_interval(changes["wake_interval_seconds"])
    if changes.get("mac") is not None:
        changes["mac"] = checked_mac(changes["mac"])
    if changes.get("board") is not None:
        changes["board"] = checked_board(changes["board"])
    if "labels" in changes:
        changes["labels"] = checked_labels(changes["labels"])
    changed = {name: value for name, value in changes.items() if getattr(held, name) != value}
    if not changed:
        return
    try:
        await tx.all(
            _update(frozenset(changed)),
            device=device_id,
            **{f"new_{name}": value for name, value in changed.items()},
        )
    except asyncpg.UniqueViolationError:
        raise _mac_taken() from None
    tell_updated(tx, scope, held, changed)


async def set_wake_intervals(tx: Transaction, scope: Scope, held: Sequence[ReportingDevice], seconds: int) -> None:
    """Let held devices sleep so long between wakes, as `update_device` does with one."""
    changed = [device for device in held if device.wake_interval_seconds != checked_interval(seconds)]
    if not changed:
        return
    await tx.all(_SET_INTERVALS, ids=[device.id for device in changed], seconds=seconds)
    for device in changed:
        tx.emit(
            scope,
            "device.updated",
            client_id=device.client_id,
            subject=("Device", device.id),
            before={"wakeIntervalSeconds": device.wake_interval_seconds},
            after={"wakeIntervalSeconds": seconds},
        )


async def rotate_device_token(tx: Transaction, scope: Scope, device_id: str) -> NewToken:
    """Give a device a new token, whose secret is shown this once; the old one stops working at once."""
    held = await _hold(tx, scope, device_id)
    token = new_token(DEVICE_TOKEN)
    await tx.all(_SET_TOKEN, device=device_id, hash=token.hash, prefix=token.prefix)
    tx.emit(scope, "device.token_rotated", client_id=held.client_id, subject=("Device", device_id))
    return token


async def deregister_device(tx: Transaction, scope: Scope, device_id: str) -> None:
    """Take a device out of service: its token stops at once, its images stay, its key is free again."""
    await deregister_held(tx, scope, [await _hold(tx, scope, device_id)])


async def deregister_held(tx: Transaction, scope: Scope, held: Sequence[DeviceRow]) -> None:
    """As `deregister_device`, of devices that are locked already."""
    await tx.all(_DEREGISTER, ids=[device.id for device in held])
    for device in held:
        tx.emit(
            scope,
            "device.deregistered",
            client_id=device.client_id,
            subject=("Device", device.id),
            key=device.key,
            name=device.name,
            before=_as_told(device),
        )


def tell_updated(tx: Transaction, scope: Scope, held: DeviceRow, changed: Mapping[str, Any]) -> None:
    """Emit the event of a changed device; `changed` are the new values by column."""
    tx.emit(
        scope,
        "device.updated",
        client_id=held.client_id,
        subject=("Device", held.id),
        before={TOLD[name]: getattr(held, name) for name in changed},
        after={TOLD[name]: value for name, value in changed.items()},
    )


async def _hold(tx: Transaction, scope: Scope, device_id: str) -> DeviceRow:
    held = await tx.one(_HOLD, device=device_id, scope=scope.client_id)
    if held is None:
        raise NotFound("There is no such device.", deviceId=device_id)
    return held


def _as_told(held: DeviceRow) -> dict[str, Any]:
    """What an operator set of a device, as events tell it."""
    return {"key": held.key, **{told: getattr(held, name) for name, told in TOLD.items()}}


def _mac_taken() -> Conflict:
    return Conflict("There is already a device with this MAC address.", code="MAC_TAKEN", argument="mac")


def checked_board(board: str) -> str:
    """The name of a kind of hardware. Raises Invalid for one that cannot be."""
    if not _BOARD.fullmatch(board):
        raise Invalid("A board has 1 to 64 letters, digits and any of . _ - between them.", argument="board")
    return board


def checked_labels(labels: Sequence[str], *, argument: str = "labels") -> list[str]:
    """Each once, in alphabetical order. Raises Invalid, naming the argument."""
    for label in labels:
        if not _LABEL.fullmatch(label):
            raise Invalid(
                "A label has 1 to 64 letters, digits and any of . _ : / = - between them.",
                argument=argument,
                given=label[:100],
            )
    if len(set(labels)) > MOST_LABELS:
        raise Invalid(f"A device has at most {MOST_LABELS} labels.", argument=argument)
    return sorted(set(labels))


def checked_interval(seconds: int, *, argument: str = "wakeIntervalSeconds") -> int:
    """The interval itself. Raises Invalid, naming the argument."""
    if not 10 <= seconds <= 2_592_000:
        raise Invalid("A wake interval is between 10 seconds and 30 days.", argument=argument)
    return seconds
