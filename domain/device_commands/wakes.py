"""What a wake means for commands: results are taken, and what is still to be done is told."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Column, Text, bindparam, func, update
from sqlalchemy.dialects.postgresql import ARRAY

from domain.device_commands.commands import described
from domain.device_commands.models import OPEN, CommandStatus, CommandType, DeviceCommandRow, device_commands
from domain.devices.wakes import Wake
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction

_said = (
    func.jsonb_to_recordset(bindparam("results", type_=Json))
    .table_valued(Column("id", Id), Column("device_id", Id), Column("status", Text), Column("message", Text))
    .render_derived(name="said", with_types=True)
)
# What was delivered and has expired since was perhaps done in time by a device that then slept for long: its word
# on it is taken late as well. What never left cannot have been done.
_may_be_confirmed = device_commands.c.delivered_at.is_not(None) & (
    device_commands.c.status == func.any(bindparam("confirmable", ["DELIVERED", "EXPIRED"], type_=ARRAY(Text)))
)
_CONFIRM = Statement(
    update(device_commands)
    .where(device_commands.c.id == _said.c.id, device_commands.c.device_id == _said.c.device_id, _may_be_confirmed)
    .values(status=_said.c.status, message=_said.c.message, finished_at=func.now())
    .returning(device_commands),
    DeviceCommandRow,
)
# As cheap as a SELECT when nothing is open, which is nearly always: no row, no write.
_DELIVER = Statement(
    update(device_commands)
    .where(
        device_commands.c.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        OPEN,
        device_commands.c.expires_at > func.now(),
    )
    .values(
        status=CommandStatus.DELIVERED.value,
        delivered_at=func.coalesce(device_commands.c.delivered_at, func.now()),
        deliveries=device_commands.c.deliveries + 1,
    )
    .returning(device_commands),
    DeviceCommandRow,
)


async def answer_wakes(tx: Transaction, scope: Scope, wakes: Sequence[Wake]) -> dict[str, dict[str, Any]]:
    """Take the results that devices tell, and give each its open commands, the oldest first.

    Results of unknown commands, of other devices' and of those that are over are ignored.
    """
    by_device = {wake.device.id: wake for wake in wakes}
    if any(wake.report.command_results for wake in wakes):
        await _confirm(tx, by_device)
    commands: dict[str, list[dict[str, Any]]] = {}
    for command in sorted(await tx.all(_DELIVER, ids=list(by_device)), key=lambda row: row.id):
        wake = by_device[command.device_id]
        commands.setdefault(command.device_id, []).append(_told(command, wake))
        if command.deliveries == 1:
            wake.emit(tx, "device_command.delivered", **described(command))
    return {device_id: {"commands": told} for device_id, told in commands.items()}


async def _confirm(tx: Transaction, wakes: Mapping[str, Wake]) -> None:
    results = {(device_id, result.id): result for device_id, wake in wakes.items() for result in _results(wake)}
    rows = [
        {
            "id": command_id,
            "device_id": device_id,
            "status": CommandStatus.DONE.value if result.done else CommandStatus.FAILED.value,
            "message": result.message,
        }
        for (device_id, command_id), result in results.items()
    ]
    for command in await tx.all(_CONFIRM, results=rows):
        event = "device_command.done" if command.status == CommandStatus.DONE else "device_command.failed"
        told = described(command) | ({"message": command.message} if command.message else {})
        wakes[command.device_id].emit(tx, event, **told)


def _results(wake: Wake) -> Any:
    """Of two that contradict each other the first counts."""
    return reversed(wake.report.command_results)


def _told(command: DeviceCommandRow, wake: Wake) -> dict[str, Any]:
    arguments = command.arguments
    if command.type == CommandType.SET_WAKE_INTERVAL:
        # Its operator may have changed the interval otherwise meanwhile: the device's row is the one truth.
        arguments = {"seconds": wake.device.wake_interval_seconds}
    return {
        "id": command.id,
        "type": command.name,
        "arguments": arguments,
        "expiresAt": f"{command.expires_at:%Y-%m-%dT%H:%M:%SZ}",
    }
