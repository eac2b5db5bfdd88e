"""Devices: root operations, and the relation that leads to them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import strawberry
from orjson import Fragment

from domain.devices import commands, health, queries, summary, telemetry
from domain.devices.models import DeviceRow
from domain.devices.presence import (
    PRESENCE_READS,
    STATUS_READS,
    Presence,
    StatusState,
    presence_of,
    status_of,
)
from domain.kit.errors import Invalid, NotFound
from domain.kit.paging import Page, page_size
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.device_commands import DeviceCommand
from schema.device_health import DeviceSummary
from schema.devices import Device, DeviceChanges, DeviceFilter, DeviceOrder, DeviceWithToken, NewDevice
from schema.firmware import RolloutDevice
from schema.images import Image
from schema.pages import Connection
from schema.relation import answers
from schema.users import Deleted

_MOST_POINTS = 20_000


@strawberry.type
class DeviceQuery:
    @operation(Permission.DEVICES_READ, Connection[Device])
    async def devices(
        self,
        info: Info,
        filter: DeviceFilter | None = None,
        order: DeviceOrder = DeviceOrder.KEY_ASC,
        first: int = 20,
        after: str | None = None,
    ) -> Page[DeviceRow]:
        """The registered devices that the caller may see. `first` is at most 100."""
        ctx = info.context
        return await queries.list_devices(
            ctx.db,
            ctx.scope,
            policy=ctx.services.presence,
            order=order.name,
            first=page_size(first),
            after=after,
            wanted=wanted_of(info),
            **filters_of(filter),
        )

    @operation(Permission.DEVICES_READ, Device | None)
    async def device(
        self,
        info: Info,
        id: strawberry.ID | None = None,
        key: str | None = None,
        client_id: strawberry.ID | None = None,
    ) -> DeviceRow | Fragment | None:
        """One device by its id or by its key; null when there is none that the caller may see.

        By id deregistered devices are found too. Admins add `clientId` to a key that several clients use.
        """
        ctx = info.context
        if (id is None) == (key is None):
            raise Invalid("Give either `id` or `key`.")
        if key is not None:
            return await queries.device_by_key(ctx.db, ctx.scope, key, client_id)
        return await queries.device_by_id(ctx.db, ctx.scope, str(id), wanted_of(info))

    @operation(Permission.DEVICES_READ, DeviceSummary)
    async def device_summary(self, info: Info, client_id: strawberry.ID | None = None) -> summary.DeviceSummary:
        """The registered devices that the caller may see, in numbers; those of one client, if it is named."""
        ctx = info.context
        return await summary.summarize(ctx.db, ctx.scope, ctx.services.presence, client_id)


@strawberry.type
class DeviceMutation:
    @operation(Permission.DEVICES_WRITE, DeviceWithToken)
    async def register_device(self, info: Info, device: NewDevice) -> DeviceWithToken:
        """Register a device. The answer holds its token, which is shown this once."""
        ctx = info.context
        async with ctx.transaction() as tx:
            device_id, token = await commands.register_device(tx, ctx.scope, **vars(device))
        return await _with_token(ctx, device_id, token.secret)

    @operation(Permission.DEVICES_WRITE, Device)
    async def update_device(self, info: Info, id: strawberry.ID, changes: DeviceChanges) -> DeviceRow:
        """Rename, enable, disable or retime a device. What is absent stays as it is."""
        ctx = info.context
        given = {name: value for name, value in vars(changes).items() if value is not strawberry.UNSET}
        async with ctx.transaction() as tx:
            await commands.update_device(tx, ctx.scope, id, **given)
        return await _device(ctx, id)

    @operation(Permission.DEVICES_WRITE, DeviceWithToken)
    async def rotate_device_token(self, info: Info, id: strawberry.ID) -> DeviceWithToken:
        """Give a device a new token. The old one stops working at once."""
        ctx = info.context
        async with ctx.transaction() as tx:
            token = await commands.rotate_device_token(tx, ctx.scope, id)
        return await _with_token(ctx, id, token.secret)

    @operation(Permission.DEVICES_WRITE, Deleted)
    async def deregister_device(self, info: Info, id: strawberry.ID) -> Deleted:
        """Take a device out of service: its token stops at once, its images stay, its key is free again."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.deregister_device(tx, ctx.scope, id)
        return Deleted(id=id)


def filters_of(filter: DeviceFilter | None) -> dict[str, Any]:
    """A filter as the domain takes it: enums as their values."""
    filters = dict(vars(filter)) if filter else {}
    for name in ("presence", "status"):
        if filters.get(name) is not None:
            filters[name] = [state.value for state in filters[name]]
    return filters


@answers(Device, "presence", reads=PRESENCE_READS)
async def presence_of_devices(ctx: Context, devices: Sequence[DeviceRow]) -> list[Presence]:
    return [presence_of(device, ctx.services.presence) for device in devices]


@answers(Device, "status", reads=STATUS_READS)
async def status_of_devices(ctx: Context, devices: Sequence[DeviceRow]) -> list[StatusState]:
    return [status_of(device, ctx.services.presence) for device in devices]


@answers(Device, "health", reads=health.HEALTH_READS)
async def health_of_devices(ctx: Context, devices: Sequence[DeviceRow]) -> list[health.DeviceHealth]:
    return await health.health_of(ctx.db, ctx.scope, devices, ctx.services.presence)


@answers(Device, "telemetry", reads=["id"])
async def telemetry_of_devices(
    ctx: Context, devices: Sequence[DeviceRow], *, from_: datetime | None, to: datetime | None, points: int
) -> list[telemetry.Telemetry]:
    asked = telemetry.window(from_, to, points)
    if len(devices) * points > _MOST_POINTS:
        raise Invalid(f"At most {_MOST_POINTS} points of all devices together.", argument="points")
    return await telemetry.telemetry_of(ctx.db, ctx.scope, [device.id for device in devices], asked)


async def _device(ctx: Context, device_id: str) -> DeviceRow:
    row = (await queries.devices_by_ids(ctx.db, ctx.scope, [device_id]))[0]
    if row is None:
        raise NotFound("There is no such device any more.", deviceId=device_id)
    return row


async def _with_token(ctx: Context, device_id: str, token: str) -> DeviceWithToken:
    device: Any = await _device(ctx, device_id)
    return DeviceWithToken(device=device, token=token)


@answers(DeviceCommand, "device", reads=["device_id"])
@answers(RolloutDevice, "device", reads=["device_id"])
@answers(Image, "device", reads=["device_id"])
async def device_of(ctx: Context, parents: Sequence[Any]) -> list[DeviceRow | None]:
    """The device that each parent's `device_id` names."""
    ids = list({parent.device_id for parent in parents if parent.device_id is not None})
    rows = await queries.devices_by_ids(ctx.db, ctx.scope, ids) if ids else []
    found = dict(zip(ids, rows, strict=True))
    return [found.get(parent.device_id) for parent in parents]
