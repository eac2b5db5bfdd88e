"""Many devices at once: root operations."""

from collections.abc import Sequence

import strawberry

from domain.devices import bulk
from domain.devices.bulk import BulkChanges, BulkResult, Choice
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.devices import filters_of
from resolvers.operation import operation
from schema.device_bulk import BulkDeviceChanges, BulkDeviceResult, BulkDeviceResults, BulkError
from schema.devices import DeviceFilter


@strawberry.type
class DeviceBulkMutation:
    @operation(Permission.DEVICES_WRITE, BulkDeviceResults)
    async def bulk_update_devices(
        self,
        info: Info,
        changes: BulkDeviceChanges,
        ids: list[strawberry.ID] | None = None,
        filter: DeviceFilter | None = None,
        all: bool = False,
        dry_run: bool = False,
    ) -> BulkDeviceResults:
        """Change all devices that match a filter, or those with these ids: at most 1,000 (`TOO_MANY_DEVICES`).

        What is wrong with one of them is told in its result and leaves the others alone. An empty filter is refused
        unless `all` says that every device is meant. `dryRun` tells what would change and changes nothing.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            results = await bulk.bulk_update_devices(
                tx, ctx.scope, _choice(ctx, ids, filter, all), BulkChanges(**vars(changes)), dry_run=dry_run
            )
        return _told(results, dry_run)

    @operation(Permission.DEVICES_WRITE, BulkDeviceResults)
    async def bulk_deregister_devices(
        self,
        info: Info,
        ids: list[strawberry.ID] | None = None,
        filter: DeviceFilter | None = None,
        all: bool = False,
        dry_run: bool = False,
    ) -> BulkDeviceResults:
        """Take all devices that match a filter, or those with these ids, out of service: at most 1,000.

        Their tokens stop at once, their images stay, their keys are free again. Results, `all` and `dryRun` as of
        `bulkUpdateDevices`.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            results = await bulk.bulk_deregister_devices(
                tx, ctx.scope, _choice(ctx, ids, filter, all), dry_run=dry_run
            )
        return _told(results, dry_run)


def _choice(ctx: Context, ids: Sequence[str] | None, filter: DeviceFilter | None, everything: bool) -> Choice:
    filters = None if filter is None else filters_of(filter)
    return Choice(ids, filters, everything, ctx.services.presence)


def _told(results: Sequence[BulkResult], dry_run: bool) -> BulkDeviceResults:
    return BulkDeviceResults(
        dry_run=dry_run,
        matched=len(results),
        changed=sum(result.changed for result in results),
        failed=sum(result.refusal is not None for result in results),
        results=[_result(result) for result in results],
    )


def _result(result: BulkResult) -> BulkDeviceResult:
    refusal = result.refusal
    return BulkDeviceResult(
        id=strawberry.ID(result.device_id),
        key=result.key,
        ok=refusal is None,
        changed=result.changed,
        error=None if refusal is None else BulkError(code=refusal.code, message=refusal.message),
    )
