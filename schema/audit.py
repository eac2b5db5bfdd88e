"""The audit log: who changed what, before and after."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.events.queries import event_cursor
from domain.kit.scope import ActorKind
from schema.describe import computed, input_type, object_type
from schema.events import SubjectKind
from schema.relation import relation

_TOLD_APART = {"before", "after"}


@object_type
class Actor:
    """Who changed something."""

    kind: ActorKind
    """USER for a person, CLIENT for a program with a client's token."""
    id: strawberry.ID | None
    name: str | None
    """A user's e-mail or a client's name, deleted ones too; null for an admin of the platform, unless to admins."""


@object_type
class AuditEntry:
    """A change that a person or a program made. What devices report is not among them."""

    id: strawberry.ID
    """The event's."""
    type: strawberry.Private[str]
    client_id: strawberry.ID | None
    """Whose thing was changed; null for the platform's own."""
    subject_kind: SubjectKind
    subject_id: strawberry.ID
    data: strawberry.Private[dict[str, Any]]
    correlation_id: str | None
    """The `X-Request-ID` of the request that made it: it leads to the server's log."""
    occurred_at: datetime
    position: strawberry.Private[int]
    actor_kind: strawberry.Private[str]
    actor_id: strawberry.Private[str | None]

    @computed("type")
    def action(self) -> str:
        """`noun.happened`, such as `device.updated` or `user.role_changed`."""
        return self.type

    @computed("data")
    def before(self) -> JSON | None:
        """What was changed, as it was; null for what is new or has no such values."""
        return JSON(self.data.get("before"))

    @computed("data")
    def after(self) -> JSON | None:
        """What was changed, as it became; null for what is gone or has no such values."""
        return JSON(self.data.get("after"))

    @computed("data")
    def details(self) -> JSON:
        """What else the change was; its keys depend on the action."""
        return JSON({key: value for key, value in self.data.items() if key not in _TOLD_APART})

    @computed("position")
    def cursor(self) -> str:
        """Pass it as `after` to read on behind this entry."""
        return event_cursor(self.position)

    @relation
    async def actor(self) -> Actor:
        """Who did it."""


@input_type
class AuditFilter:
    """Which changes; all conditions must hold."""

    client_id: strawberry.ID | None = None
    actor_ids: list[strawberry.ID] | None = None
    """Made by any of these users or clients."""
    action_prefix: str | None = None
    """Whose action begins so: `device.` for all of devices, `device.updated` for one."""
    subject_kind: SubjectKind | None = None
    subject_ids: list[strawberry.ID] | None = None
    """Of any of these."""
    since: datetime | None = None
    """Recorded at this time or later."""
    until: datetime | None = None
    """Recorded before this time."""
