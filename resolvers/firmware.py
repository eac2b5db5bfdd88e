"""Firmware: root operations on artifacts and rollouts, and the relations around them."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.devices.models import DeviceRow
from domain.firmware import commands, queries, rollouts
from domain.firmware.models import FirmwareRow, RolloutDeviceRow, RolloutRow, UpdateState
from domain.kit.errors import NotFound
from domain.kit.paging import Page, page_size
from domain.kit.written import EVERYTHING, Wanted
from domain.storage.backups import may_take_blobs
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.devices import Device
from schema.firmware import (
    Firmware,
    FirmwareFilter,
    FirmwareUpdate,
    NewRollout,
    Rollout,
    RolloutFilter,
    RolloutProgress,
    RolloutStage,
)
from schema.pages import Connection
from schema.relation import answers
from schema.users import Deleted


@strawberry.type
class FirmwareQuery:
    @operation(Permission.FIRMWARE_READ, Connection[Firmware])
    async def firmwares(
        self, info: Info, filter: FirmwareFilter | None = None, first: int = 20, after: str | None = None
    ) -> Page[FirmwareRow]:
        """The artifacts that the caller may see, the newest first. `first` is at most 100."""
        ctx = info.context
        return await queries.list_firmwares(
            ctx.db, ctx.scope, first=page_size(first), after=after, wanted=wanted_of(info), **_given(filter)
        )

    @operation(Permission.FIRMWARE_READ, Firmware | None)
    async def firmware(self, info: Info, id: strawberry.ID) -> FirmwareRow | None:
        """One artifact, a deleted one too; null when there is none that the caller may see."""
        return (await queries.firmwares_by_ids(info.context.db, info.context.scope, [id]))[0]

    @operation(Permission.FIRMWARE_READ, Connection[Rollout])
    async def rollouts(
        self, info: Info, filter: RolloutFilter | None = None, first: int = 20, after: str | None = None
    ) -> Page[RolloutRow]:
        """The rollouts that the caller may see, the newest first. `first` is at most 100."""
        ctx = info.context
        filters = _given(filter)
        if filters.get("statuses") is not None:
            filters["statuses"] = [status.value for status in filters["statuses"]]
        return await queries.list_rollouts(
            ctx.db, ctx.scope, first=page_size(first), after=after, wanted=wanted_of(info), **filters
        )

    @operation(Permission.FIRMWARE_READ, Rollout | None)
    async def rollout(self, info: Info, id: strawberry.ID) -> RolloutRow | None:
        """One rollout; null when there is none that the caller may see."""
        return (await queries.rollouts_by_ids(info.context.db, info.context.scope, [id]))[0]


@strawberry.type
class FirmwareMutation:
    @operation(Permission.FIRMWARE_WRITE, Firmware)
    async def update_firmware(self, info: Info, id: strawberry.ID, note: str | None) -> FirmwareRow:
        """Note something of an artifact: up to 2,000 characters, or null for nothing. All else never changes."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.update_firmware(tx, ctx.scope, id, note)
        row = (await queries.firmwares_by_ids(ctx.db, ctx.scope, [id]))[0]
        if row is None:
            raise NotFound("There is no such firmware any more.", firmwareId=id)
        return row

    @operation(Permission.FIRMWARE_WRITE, Deleted)
    async def delete_firmware(self, info: Info, id: strawberry.ID) -> Deleted:
        """Delete an artifact and its bytes. Refused (`FIRMWARE_IN_USE`) while an open rollout uses it."""
        ctx = info.context
        async with ctx.transaction() as tx:
            key = await commands.delete_firmware(tx, ctx.scope, id)
            free = await may_take_blobs(tx, ctx.scope)
        if free:  # a backup that has the row wants its bytes as well: the next sweep takes them
            await ctx.services.blobs.delete_many([key])
        return Deleted(id=id)

    @operation(Permission.FIRMWARE_WRITE, Rollout)
    async def create_rollout(self, info: Info, rollout: NewRollout) -> RolloutRow:
        """Bring firmware to devices, in stages. A device is in one open rollout: the newest takes it over."""
        ctx = info.context
        given = dict(vars(rollout))
        given["everything"] = given.pop("all")
        given["stages"] = [rollouts.Stage(**vars(stage)) for stage in rollout.stages]
        async with ctx.transaction() as tx:
            rollout_id = await rollouts.create_rollout(tx, ctx.scope, rollouts.NewRollout(**given))
        return await _rollout(ctx, rollout_id)

    @operation(Permission.FIRMWARE_WRITE, Rollout)
    async def pause_rollout(self, info: Info, id: strawberry.ID) -> RolloutRow:
        """Offer nothing more until it is resumed. What devices report meanwhile still counts."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await rollouts.pause_rollout(tx, ctx.scope, id)
        return await _rollout(ctx, id)

    @operation(Permission.FIRMWARE_WRITE, Rollout)
    async def resume_rollout(self, info: Info, id: strawberry.ID) -> RolloutRow:
        """Go on. Failures until now do not stop it again."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await rollouts.resume_rollout(tx, ctx.scope, id)
        return await _rollout(ctx, id)

    @operation(Permission.FIRMWARE_WRITE, Rollout)
    async def cancel_rollout(self, info: Info, id: strawberry.ID) -> RolloutRow:
        """End it. What is installed stays installed."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await rollouts.cancel_rollout(tx, ctx.scope, id)
        return await _rollout(ctx, id)


async def _rollout(ctx: Context, rollout_id: str) -> RolloutRow:
    row = (await queries.rollouts_by_ids(ctx.db, ctx.scope, [rollout_id]))[0]
    if row is None:
        raise NotFound("There is no such rollout any more.", rolloutId=rollout_id)
    return row


def _given(filter: Any) -> dict[str, Any]:
    return dict(vars(filter)) if filter else {}


@answers(Rollout, "firmware", reads=["firmware_id"])
async def firmware_of(ctx: Context, parents: Sequence[RolloutRow]) -> list[FirmwareRow | None]:
    ids = list({parent.firmware_id for parent in parents})
    found = dict(zip(ids, await queries.firmwares_by_ids(ctx.db, ctx.scope, ids), strict=True))
    return [found[parent.firmware_id] for parent in parents]


@answers(Rollout, "stages", reads=["stages"])
async def stages_of(ctx: Context, parents: Sequence[RolloutRow]) -> list[list[RolloutStage]]:
    return [[_stage(stage) for stage in row.stages] for row in parents]


def _stage(stage: dict[str, Any]) -> RolloutStage:
    return RolloutStage(percent=float(stage["percent"]), minutes=stage["minutes"])


@answers(Rollout, "progress", reads=["id"])
async def progress_of(ctx: Context, parents: Sequence[RolloutRow]) -> list[RolloutProgress]:
    counted = await queries.progress_of_rollouts(ctx.db, ctx.scope, [parent.id for parent in parents])
    return [RolloutProgress(**{state.lower(): one.get(state, 0) for state in UpdateState}) for one in counted]


@answers(Rollout, "devices", reads=["id"])
async def devices_of(
    ctx: Context,
    parents: Sequence[RolloutRow],
    *,
    state: UpdateState | None,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
) -> list[Page[RolloutDeviceRow]]:
    return await queries.devices_of_rollouts(
        ctx.db,
        ctx.scope,
        [parent["id"] for parent in parents],
        state=None if state is None else state.value,
        first=page_size(first),
        after=after,
        wanted=wanted,
    )


@answers(Device, "firmware_update", reads=["id"])
async def firmware_update_of(ctx: Context, devices: Sequence[DeviceRow]) -> list[FirmwareUpdate | None]:
    """The newest place of each device, with its rollout and version: three statements for all of them."""
    places = await queries.updates_of_devices(ctx.db, ctx.scope, [device["id"] for device in devices])
    ids = list({place.rollout_id for place in places if place is not None})
    rows = [row for row in await queries.rollouts_by_ids(ctx.db, ctx.scope, ids) if row] if ids else []
    found = {row.id: row for row in rows}
    wanted = list({row.firmware_id for row in rows})
    artifacts = await queries.firmwares_by_ids(ctx.db, ctx.scope, wanted) if wanted else []
    versions = {row.id: row.version for row in artifacts if row is not None}
    return [None if place is None else _update(place, found[place.rollout_id], versions) for place in places]


def _update(place: RolloutDeviceRow, rollout: Any, versions: dict[str, str]) -> FirmwareUpdate:
    return FirmwareUpdate(
        state=UpdateState(place.state),
        since=place.state_since,
        attempts=place.attempts,
        error=place.error,
        version=versions[rollout.firmware_id],
        rollout=rollout,
    )
