"""Devices: root operations, and the relation that leads to them."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.devices import commands, queries
from domain.devices.models import DeviceRow
from domain.kit.errors import Invalid, NotFound
from domain.kit.paging import Page, page_size
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import columns_of, operation
from schema.device_commands import DeviceCommand
from schema.devices import Device, DeviceChanges, DeviceFilter, DeviceOrder, DeviceWithToken, NewDevice
from schema.images import Image
from schema.pages import Connection
from schema.relation import answers
from schema.users import Deleted


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
        filters = vars(filter) if filter else {}
        return await queries.list_devices(
            ctx.db,
            ctx.scope,
            order=order.name,
            first=page_size(first),
            after=after,
            columns=columns_of(info),
            **filters,
        )

    @operation(Permission.DEVICES_READ, Device | None)
    async def device(
        self,
        info: Info,
        id: strawberry.ID | None = None,
        key: str | None = None,
        client_id: strawberry.ID | None = None,
    ) -> DeviceRow | None:
        """One device by its id or by its key; null when there is none that the caller may see.

        By id deregistered devices are found too. Admins add `clientId` to a key that several clients use.
        """
        ctx = info.context
        if (id is None) == (key is None):
            raise Invalid("Give either `id` or `key`.")
        if key is not None:
            return await queries.device_by_key(ctx.db, ctx.scope, key, client_id)
        return (await queries.devices_by_ids(ctx.db, ctx.scope, [str(id)]))[0]


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


async def _device(ctx: Context, device_id: str) -> DeviceRow:
    row = (await queries.devices_by_ids(ctx.db, ctx.scope, [device_id]))[0]
    if row is None:
        raise NotFound("There is no such device any more.", deviceId=device_id)
    return row


async def _with_token(ctx: Context, device_id: str, token: str) -> DeviceWithToken:
    device: Any = await _device(ctx, device_id)
    return DeviceWithToken(device=device, token=token)


@answers(DeviceCommand, "device", reads=["device_id"])
@answers(Image, "device", reads=["device_id"])
async def device_of(ctx: Context, parents: Sequence[Any]) -> list[DeviceRow | None]:
    """The device that each parent's `device_id` names."""
    ids = list({parent.device_id for parent in parents if parent.device_id is not None})
    rows = await queries.devices_by_ids(ctx.db, ctx.scope, ids) if ids else []
    found = dict(zip(ids, rows, strict=True))
    return [found.get(parent.device_id) for parent in parents]
