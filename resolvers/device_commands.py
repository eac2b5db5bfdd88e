"""Commands for devices: root operations, and the lists of them under devices."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.device_commands import commands, queries
from domain.device_commands.commands import NewCommand, Sent
from domain.device_commands.models import DeviceCommandRow
from domain.devices.models import DeviceRow
from domain.kit.errors import NotFound
from domain.kit.paging import Page, page_size
from domain.kit.written import EVERYTHING, Wanted
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.device_commands import (
    DeviceCommand,
    DeviceCommandFilter,
    DeviceCommandResult,
    NewDeviceCommand,
    SentDeviceCommands,
)
from schema.devices import Device
from schema.relation import answers


@strawberry.type
class DeviceCommandQuery:
    @operation(Permission.DEVICES_READ, DeviceCommand | None)
    async def device_command(self, info: Info, id: strawberry.ID) -> DeviceCommandRow | None:
        """One command; null when there is none that the caller may see."""
        ctx = info.context
        return (await queries.device_commands_by_ids(ctx.db, ctx.scope, [id]))[0]


@strawberry.type
class DeviceCommandMutation:
    @operation(Permission.DEVICES_WRITE, DeviceCommand)
    async def send_device_command(
        self, info: Info, device_id: strawberry.ID, command: NewDeviceCommand
    ) -> DeviceCommandRow:
        """Queue a command that a device is told when it wakes. At most 20 wait for one device (`QUEUE_FULL`)."""
        ctx = info.context
        async with ctx.transaction() as tx:
            command_id = await commands.send_device_command(tx, ctx.scope, device_id, NewCommand(**vars(command)))
        return await _command(ctx, command_id)

    @operation(Permission.DEVICES_WRITE, SentDeviceCommands)
    async def send_device_commands(
        self,
        info: Info,
        command: NewDeviceCommand,
        device_ids: list[strawberry.ID] | None = None,
        labels: list[str] | None = None,
        client_id: strawberry.ID | None = None,
    ) -> SentDeviceCommands:
        """Queue a command for each of these devices, or for a client's devices with all of these labels.

        At most 1,000 devices. What goes wrong with one of them is told in its result and leaves the others alone.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            sent = await commands.send_device_commands(
                tx,
                ctx.scope,
                NewCommand(**vars(command)),
                device_ids=device_ids,
                labels=labels,
                client_id=client_id,
            )
        ids = [one.command_id for one in sent if one.command_id is not None]
        rows = {
            row.id: row for row in await queries.device_commands_by_ids(ctx.db, ctx.scope, ids) if row is not None
        }
        return SentDeviceCommands(queued=len(ids), results=[_result(one, rows) for one in sent])

    @operation(Permission.DEVICES_WRITE, DeviceCommand)
    async def cancel_device_command(self, info: Info, id: strawberry.ID) -> DeviceCommandRow:
        """Take a command back. A device that was told of it already may have done it all the same."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.cancel_device_command(tx, ctx.scope, id)
        return await _command(ctx, id)


async def _command(ctx: Context, command_id: str) -> DeviceCommandRow:
    row = (await queries.device_commands_by_ids(ctx.db, ctx.scope, [command_id]))[0]
    if row is None:
        raise NotFound("There is no such command any more.", commandId=command_id)
    return row


def _result(sent: Sent, rows: dict[str, DeviceCommandRow]) -> DeviceCommandResult:
    command: Any = None if sent.command_id is None else rows.get(sent.command_id)
    refusal = sent.refusal
    return DeviceCommandResult(
        device_id=strawberry.ID(sent.device_id),
        command=command,
        code=refusal.code if refusal else None,
        message=refusal.message if refusal else None,
    )


@answers(Device, "commands", reads=["id"])
async def commands_of(
    ctx: Context,
    devices: Sequence[DeviceRow],
    *,
    filter: DeviceCommandFilter | None,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
) -> list[Page[DeviceCommandRow]]:
    filters = {
        name: None if values is None else [value.value for value in values]
        for name, values in (vars(filter) if filter else {}).items()
    }
    return await queries.commands_of_devices(
        ctx.db,
        ctx.scope,
        [device["id"] for device in devices],
        first=page_size(first),
        after=after,
        wanted=wanted,
        **filters,
    )
