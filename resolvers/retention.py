"""Retention: root operations. The relation to clients is answered in `clients.py`."""

import strawberry

from domain.kit.errors import Invalid
from domain.kit.paging import Page, page_size
from domain.retention import queries
from domain.retention.cleanups import cleanup_images, cleanup_logs
from domain.retention.commands import RuleChange, update_retention_policy
from domain.retention.models import CleanupKind, CleanupRow
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.pages import Connection
from schema.retention import CleanupRun, RetentionPolicy, RetentionRule, RetentionRuleChange


@strawberry.type
class RetentionQuery:
    @operation(Permission.RETENTION_READ, RetentionPolicy)
    async def retention_policy(self, info: Info, client_id: strawberry.ID | None = None) -> RetentionPolicy:
        """How long a client's things are kept: the caller's own; for an admin who names none, the defaults."""
        return await _policy(info.context, client_id or info.context.scope.client_id)

    @operation(Permission.RETENTION_READ, Connection[CleanupRun])
    async def cleanup_runs(
        self,
        info: Info,
        kind: CleanupKind | None = None,
        dry_run: bool | None = None,
        client_id: strawberry.ID | None = None,
        first: int = 20,
        after: str | None = None,
    ) -> Page[CleanupRow]:
        """The cleanups of the caller's things, the newest first. `first` is at most 100."""
        ctx = info.context
        return await queries.list_cleanup_runs(
            ctx.db,
            ctx.scope,
            first=page_size(first),
            after=after,
            kind=kind and kind.value,
            dry_run=dry_run,
            client_id=client_id,
        )

    @operation(Permission.RETENTION_READ, CleanupRun | None)
    async def cleanup_run(self, info: Info, id: strawberry.ID) -> CleanupRow | None:
        """One cleanup; null when there is none that the caller may see."""
        return await queries.cleanup_run(info.context.db, info.context.scope, id)


@strawberry.type
class RetentionMutation:
    @operation(Permission.RETENTION_WRITE, RetentionPolicy)
    async def update_retention_policy(
        self, info: Info, changes: list[RetentionRuleChange], client_id: strawberry.ID | None = None
    ) -> RetentionPolicy:
        """Change how long a client's things are kept. Kinds that are not named stay as they are.

        Only admins let events go earlier than the server's default: they are the audit log, too.
        """
        ctx = info.context
        said = [RuleChange(change.kind, change.enabled, change.keep_days) for change in changes]
        async with ctx.transaction() as tx:
            owner = await update_retention_policy(tx, ctx.scope, client_id, said, ctx.services.retention)
        return await _policy(ctx, owner)

    @operation(Permission.RETENTION_WRITE, CleanupRun)
    async def cleanup_images(
        self,
        info: Info,
        dry_run: bool = True,
        max_share: float | None = None,
        client_id: strawberry.ID | None = None,
    ) -> CleanupRow:
        """Take a client's images whose time is over, as its policy says, now; or say what would go.

        With `dryRun: false` this begins a job: `cleanupRun` says how far it is. It stops when more than `maxShare`
        (0 to 1, the server's setting when absent) of the client's images would go. What is cited stays.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            return await cleanup_images(
                tx,
                ctx.scope,
                client_id,
                dry_run=dry_run,
                max_share=max_share,
                defaults=ctx.services.retention,
            )

    @operation(Permission.PLATFORM_WRITE, CleanupRun)
    async def cleanup_logs(
        self, info: Info, kind: CleanupKind, dry_run: bool = True, max_share: float | None = None
    ) -> CleanupRow:
        """Take the telemetry or the events of all clients whose time is over now; or say what would go.

        A dry run tells the months that would go whole, with their bytes.
        """
        ctx = info.context
        if kind is CleanupKind.IMAGES:
            raise Invalid("Images are cleaned client by client: `cleanupImages`.", argument="kind")
        async with ctx.transaction() as tx:
            return await cleanup_logs(
                tx, ctx.scope, kind, dry_run=dry_run, max_share=max_share, defaults=ctx.services.retention
            )


async def _policy(ctx: Context, client_id: str | None) -> RetentionPolicy:
    rules = await queries.rules_of(ctx.db, ctx.scope, client_id, ctx.services.retention)
    return RetentionPolicy(
        client_id=client_id,
        rules=[
            RetentionRule(
                kind=rule.kind,
                enabled=rule.enabled,
                keep_days=rule.keep_days,
                is_default=rule.is_default,
                updated_at=rule.updated_at,
            )
            for rule in rules
        ],
    )
