"""Retention: how long things are kept, and the cleanups that take what is over."""

from datetime import datetime
from typing import Any

import strawberry
from strawberry.scalars import JSON

from domain.retention.models import CleanupKind, CleanupState, RetentionKind
from domain.retention.runs import PLACE, TAKEN
from schema.actors import ActorKind
from schema.clients import Client
from schema.describe import computed, enum, input_type, object_type
from schema.relation import relation

enum(RetentionKind)
enum(CleanupKind)
enum(CleanupState)


@object_type
class RetentionRule:
    """How long one kind of things is kept."""

    kind: RetentionKind
    enabled: bool
    """Whether they go at all; if not, they are kept for ever."""
    keep_days: int
    """After so many days they go, if the rule is enabled."""
    is_default: bool
    """Whether this is the server's own rule, of which the client said nothing."""
    updated_at: datetime | None
    """When the client last said something of it."""


@object_type
class RetentionPolicy:
    """How long a client's things are kept. Devices, and what was observed, stay for ever."""

    client_id: strawberry.Private[str | None]
    rules: list[RetentionRule]
    """One for each kind."""

    @relation
    async def client(self) -> Client | None:
        """Whose it is; null for the defaults of the server."""


@input_type
class RetentionRuleChange:
    """What is to hold for one kind. What is absent or null is as the server's default says."""

    kind: RetentionKind
    enabled: bool | None = None
    keep_days: int | None = None
    """1 to 36,500; telemetry and events at least 31."""


@object_type
class CleanupRun:
    """A cleanup: what it found, and what it took."""

    id: strawberry.ID
    kind: CleanupKind
    state: CleanupState
    dry_run: bool
    """If so, nothing was taken."""
    max_share: float
    """Had more than this share of what is there been due, it would have stopped."""
    found: int | None
    """Images that were there; null before they were counted, and for telemetry and events."""
    due: int | None
    """Of these, those that are over and may go."""
    due_bytes: float | None
    """Of their originals. Their smaller variants go with them and are not counted."""
    cited: int | None
    """Those that are over and stay, because something cites them: featured images, scenes."""
    removed: int
    """Rows that went so far."""
    removed_bytes: float
    """Of their originals, or of whole months of telemetry and events."""
    removed_blobs: int
    """Files that went, variants among them."""
    details: strawberry.Private[dict[str, Any]]
    stop_code: str | None
    """Why it did not do its work, or would not: SHARE_EXCEEDED, STORE_LOOKS_EMPTY, GAVE_UP."""
    stop_message: str | None
    actor_kind: ActorKind
    actor_id: strawberry.ID | None
    """Who wanted it; null for the schedule."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    client_id: strawberry.Private[str | None]

    @computed("details")
    def more(self) -> JSON:
        """What else there is to say: months that went whole, clients at whose things a brake held it."""
        return JSON({key: value for key, value in self.details.items() if key not in (PLACE, TAKEN)})

    @relation
    async def client(self) -> Client | None:
        """Whose things; null for all clients' together."""
