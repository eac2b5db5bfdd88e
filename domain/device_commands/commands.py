"""Sending commands to devices and taking them back. One that is sent alone is a batch of one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from sqlalchemy import Column, Interval, Text, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.device_commands.models import OPEN, CommandStatus, CommandType, DeviceCommandRow, device_commands
from domain.device_commands.queries import device_commands_by_ids
from domain.devices.commands import checked_interval, set_wake_intervals
from domain.devices.queries import ids_of_labelled_devices
from domain.devices.wakes import ReportingDevice, hold_reporting_devices
from domain.kit.errors import Conflict, Invalid, NotFound, Refusal
from domain.kit.ids import checked_id, new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction

DAY = 86_400
MOST_OPEN = 20
"""Commands that may wait for one device."""
MOST_DEVICES = 1_000
"""Devices that a command is sent to at once."""
_LARGEST_ARGUMENTS = 4096  # bytes of JSON
_LONGEST_LIFE = 30 * DAY
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,62}")
_NAMES = {
    CommandType.RESTART: "restart",
    CommandType.CAPTURE_NOW: "captureNow",
    CommandType.SET_WAKE_INTERVAL: "setWakeInterval",
}


@dataclass(frozen=True, slots=True)
class NewCommand:
    """What devices are to do. `name` is that of a CUSTOM command; `expires_in_seconds` from now on."""

    type: CommandType
    name: str | None = None
    arguments: Any = None
    expires_in_seconds: int = DAY

    def checked(self) -> "NewCommand":
        """The same, with the name that the device is told. Raises Invalid naming what is wrong."""
        if not 10 <= self.expires_in_seconds <= _LONGEST_LIFE:
            raise Invalid("A command expires within 10 seconds to 30 days.", argument="expiresInSeconds")
        arguments = _checked_arguments({} if self.arguments is None else self.arguments)
        return NewCommand(self.type, self._checked_name(), self._fitting(arguments), self.expires_in_seconds)

    def _checked_name(self) -> str:
        if self.type is not CommandType.CUSTOM:
            if self.name is not None:
                raise Invalid("Only a CUSTOM command has a name of its own.", argument="name")
            return _NAMES[self.type]
        if self.name is None or not _NAME.fullmatch(self.name):
            raise Invalid(
                "A CUSTOM command has a name: a letter, and up to 62 letters, digits and any of . _ - after it.",
                argument="name",
            )
        if self.name in _NAMES.values():
            raise Invalid("This name has a type of its own: send that.", argument="name", given=self.name)
        return self.name

    def _fitting(self, arguments: dict[str, Any]) -> dict[str, Any]:
        if self.type is CommandType.SET_WAKE_INTERVAL:
            seconds = arguments.get("seconds")
            if arguments.keys() != {"seconds"} or type(seconds) is not int:
                raise Invalid("SET_WAKE_INTERVAL takes {seconds: <whole number>}.", argument="arguments")
            checked_interval(seconds, argument="arguments.seconds")
        elif self.type is not CommandType.CUSTOM and arguments:
            raise Invalid(f"{self.type.value} takes no arguments.", argument="arguments")
        return arguments


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of the sending to one device: the command's id, or why there is none."""

    device_id: str
    command_id: str | None = None
    refusal: Refusal | None = None


_COUNT_OPEN = Statement(
    select(device_commands.c.device_id, func.count().label("count"))
    .where(
        device_commands.c.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        OPEN,
        device_commands.c.expires_at > func.now(),
    )
    .group_by(device_commands.c.device_id)
)
_new = (
    func.jsonb_to_recordset(bindparam("rows", type_=Json))
    .table_valued(Column("id", Id), Column("device_id", Id), Column("client_id", Id))
    .render_derived(name="new", with_types=True)
)
_SAME = {
    "type": bindparam("type", type_=Text),
    "name": bindparam("name", type_=Text),
    "arguments": bindparam("arguments", type_=Json),
    "expires_at": func.now() + bindparam("life", type_=Interval),
    "sender_kind": bindparam("sender_kind", type_=Text),
    "sender_id": bindparam("sender_id", type_=Id),
}
_INSERT = Statement(
    insert(device_commands).from_select(
        ["id", "device_id", "client_id", *_SAME],
        select(_new.c.id, _new.c.device_id, _new.c.client_id, *_SAME.values()),
    )
)
_CANCEL = Statement(
    update(device_commands)
    .where(
        device_commands.c.id == bindparam("command"),
        OPEN,
        device_commands.c.expires_at > func.now(),
        visible(device_commands.c.client_id),
    )
    .values(status=CommandStatus.CANCELLED.value, finished_at=func.now())
    .returning(device_commands),
    DeviceCommandRow,
)


async def send_device_command(tx: Transaction, scope: Scope, device_id: str, command: NewCommand) -> str:
    """Queue a command for one device; returns its id.

    Raises Invalid, NotFound, and Conflict (QUEUE_FULL) when 20 commands wait for the device already.
    """
    (sent,) = await _send(tx, scope, [device_id], command)
    if sent.refusal:
        raise sent.refusal
    assert sent.command_id is not None
    return sent.command_id


async def send_device_commands(
    tx: Transaction,
    scope: Scope,
    command: NewCommand,
    *,
    device_ids: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    client_id: str | None = None,
) -> list[Sent]:
    """Queue a command for each of these devices, or of a client's registered devices with all of these labels.

    Raises Invalid for a command that is wrong, and for more than 1,000 devices; what concerns one device only is
    told of that one.
    """
    if (device_ids is None) == (labels is None):
        raise Invalid("Give either `deviceIds` or `labels`.", argument="deviceIds")
    if device_ids is None:
        owner = scope.owner(client_id)
        device_ids = await ids_of_labelled_devices(tx, scope, owner, list(labels or ()), most=MOST_DEVICES + 1)
    if len(device_ids) > MOST_DEVICES:
        raise Invalid(f"A command is sent to at most {MOST_DEVICES} devices at once.", argument="deviceIds")
    return await _send(tx, scope, list(dict.fromkeys(map(checked_id, device_ids))), command)


async def cancel_device_command(tx: Transaction, scope: Scope, command_id: str) -> None:
    """Take a command back. The device may have done it already when it was delivered.

    Raises Conflict (COMMAND_OVER) for one that is over.
    """
    cancelled = await tx.one(_CANCEL, command=command_id, scope=scope.client_id)
    if cancelled is None:
        (found,) = await device_commands_by_ids(tx, scope, [command_id])
        if found is None:
            raise NotFound("There is no such command.", commandId=command_id)
        raise Conflict("This command is over.", code="COMMAND_OVER", commandId=command_id, status=found.status)
    tell(tx, scope, "device_command.cancelled", cancelled)


def tell(tx: Transaction, scope: Scope, event: str, command: DeviceCommandRow, **data: Any) -> None:
    """Emit an event of a command; its subject is the device."""
    subject = ("Device", command.device_id)
    tx.emit(scope, event, client_id=command.client_id, subject=subject, **described(command), **data)


def described(command: DeviceCommandRow) -> dict[str, Any]:
    """What events say of a command."""
    return {"commandId": command.id, "commandType": command.type, "name": command.name}


async def _send(tx: Transaction, scope: Scope, device_ids: Sequence[str], command: NewCommand) -> list[Sent]:
    command = command.checked()
    held = await hold_reporting_devices(tx, scope, device_ids)
    waiting = {row["device_id"]: row["count"] for row in await tx.all(_COUNT_OPEN, ids=list(held))}
    sent = [_sent(device_id, held, waiting) for device_id in device_ids]
    taking = [(one.command_id, held[one.device_id]) for one in sent if one.command_id is not None]
    if taking:
        await _queue(tx, scope, taking, command)
    return sent


def _sent(device_id: str, held: Mapping[str, ReportingDevice], waiting: Mapping[str, int]) -> Sent:
    if device_id not in held:
        return Sent(device_id, refusal=NotFound("There is no such device.", deviceId=device_id))
    if waiting.get(device_id, 0) >= MOST_OPEN:
        message = f"{MOST_OPEN} commands wait for this device already: cancel some, or let it wake."
        return Sent(device_id, refusal=Conflict(message, code="QUEUE_FULL", deviceId=device_id))
    return Sent(device_id, new_id())


async def _queue(
    tx: Transaction, scope: Scope, taking: Sequence[tuple[str, ReportingDevice]], command: NewCommand
) -> None:
    await tx.all(
        _INSERT,
        rows=[{"id": new, "device_id": device.id, "client_id": device.client_id} for new, device in taking],
        type=command.type.value,
        name=command.name,
        arguments=command.arguments,
        life=timedelta(seconds=command.expires_in_seconds),
        sender_kind=scope.actor_kind.value,
        sender_id=scope.actor_id,
    )
    if command.type is CommandType.SET_WAKE_INTERVAL:
        # The row of the device is what everybody reads, the answers of its wakes too: it is the one truth.
        await set_wake_intervals(tx, scope, [device for _, device in taking], command.arguments["seconds"])
    for new, device in taking:
        told = {"commandId": new, "commandType": command.type.value, "name": command.name}
        subject = ("Device", device.id)
        tx.emit(scope, "device_command.queued", client_id=device.client_id, subject=subject, **told)


def _checked_arguments(arguments: Any) -> dict[str, Any]:
    if not isinstance(arguments, dict):
        raise Invalid("The arguments are a JSON object.", argument="arguments")
    try:
        written = orjson.dumps(arguments)
    except TypeError:  # too deep, too large a number, half a surrogate pair
        written = b""
    # What reads otherwise than it was written would reach the device as something else: infinity is null in JSON.
    if not written or orjson.loads(written) != arguments or b"\\u0000" in written:
        raise Invalid("These arguments cannot be told in JSON.", argument="arguments")
    if len(written) > _LARGEST_ARGUMENTS:
        raise Invalid(f"Arguments have at most {_LARGEST_ARGUMENTS} bytes of JSON.", argument="arguments")
    return arguments
