"""The blob store: root operations. The relation to clients is answered in `clients.py`."""

import strawberry

from domain.kit.errors import Invalid
from domain.kit.paging import MAX_PAGE, Page, page_size
from domain.storage import queries
from domain.storage.models import SweepRow
from domain.storage.sweeps import begin_sweep
from domain.users.principals import Permission
from resolvers.context import Info
from resolvers.operation import operation
from schema.pages import Connection
from schema.storage import StorageStats, StorageSweep


@strawberry.type
class StorageQuery:
    @operation(Permission.IMAGES_READ, StorageStats)
    async def storage_stats(self, info: Info, largest: int = 20) -> queries.StorageView:
        """How much is stored of what kind and for whom: `largest` clients are told, at most 100."""
        ctx = info.context
        if not 1 <= largest <= MAX_PAGE:
            raise Invalid(f"`largest` is 1 to {MAX_PAGE}.", argument="largest", given=largest)
        return await queries.storage_view(ctx.db, ctx.scope, ctx.services.store_kind, largest=largest)

    @operation(Permission.PLATFORM_READ, Connection[StorageSweep])
    async def storage_sweeps(self, info: Info, first: int = 20, after: str | None = None) -> Page[SweepRow]:
        """Every look through the blob store, the newest first. `first` is at most 100."""
        ctx = info.context
        return await queries.list_storage_sweeps(ctx.db, ctx.scope, first=page_size(first), after=after)

    @operation(Permission.PLATFORM_READ, StorageSweep | None)
    async def storage_sweep(self, info: Info, id: strawberry.ID) -> SweepRow | None:
        """One look through the blob store; null when there is none."""
        return await queries.storage_sweep(info.context.db, info.context.scope, id)


@strawberry.type
class StorageMutation:
    @operation(Permission.PLATFORM_WRITE, StorageSweep)
    async def cleanup_orphaned_blobs(
        self, info: Info, dry_run: bool = True, max_share: float | None = None
    ) -> SweepRow:
        """Begin to look through the blob store for what no row names; with `dryRun: false` that is taken away.

        `storageSweep` says how far it is. Blobs are kept for the grace period whoever names them. When more than
        `maxShare` of all blobs (0 to 1, 0.1 when absent) are named by nobody, none is touched.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            return await begin_sweep(
                tx, ctx.scope, dry_run=dry_run, grace=ctx.services.sweeping.grace, max_share=max_share
            )
