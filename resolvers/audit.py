"""The audit log: the root operation, and who the actors are."""

from collections.abc import Sequence

import strawberry

from domain.audit import queries
from domain.events.models import EventRow
from domain.kit.paging import Page, page_size
from domain.kit.scope import ActorKind
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.audit import Actor, AuditEntry, AuditFilter
from schema.pages import Connection
from schema.relation import answers


@strawberry.type
class AuditQuery:
    @operation(Permission.AUDIT_READ, Connection[AuditEntry])
    async def audit_log(
        self, info: Info, filter: AuditFilter | None = None, first: int = 20, after: str | None = None
    ) -> Page[EventRow]:
        """Who changed what, before and after, the newest first. `first` is at most 100."""
        ctx = info.context
        filters = dict(vars(filter)) if filter else {}
        if filters.get("subject_kind"):
            filters["subject_kind"] = filters["subject_kind"].value
        return await queries.list_audit(ctx.db, ctx.scope, first=page_size(first), after=after, **filters)


@answers(AuditEntry, "actor", reads=["actor_kind", "actor_id"])
async def actor_of(ctx: Context, entries: Sequence[EventRow]) -> list[Actor]:
    """One statement for all of them."""
    ids = list({entry.actor_id for entry in entries if entry.actor_id is not None})
    names = await queries.actor_names(ctx.db, ctx.scope, ids) if ids else {}
    return [
        Actor(
            kind=ActorKind(entry.actor_kind),
            id=None if entry.actor_id is None else strawberry.ID(entry.actor_id),
            name=names.get(entry.actor_id or ""),
        )
        for entry in entries
    ]
