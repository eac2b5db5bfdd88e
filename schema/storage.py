"""The blob store: what the database says is in it, and what was found when somebody looked."""

from datetime import datetime
from typing import Any

import strawberry

from domain.storage.models import StoreKind, SweepStatus
from schema.actors import ActorKind
from schema.clients import Client
from schema.describe import computed, enum, object_type
from schema.relation import relation

enum(StoreKind)
enum(SweepStatus, name="StorageSweepStatus")


@object_type
class KindUse:
    """Blobs of one kind, as the database names them."""

    kind: str
    """The first part of their keys: `originals`, `clean`, `display`, `thumbnails`, `variants`, `firmware`."""
    blobs: float
    bytes: float | None
    """Null where the database does not know how large blobs of this kind are; a sweep's `kinds` tell it."""


@object_type
class ClientUse:
    """What the database names for one client."""

    client_id: strawberry.ID
    blobs: float
    bytes: float
    """Of the kinds whose sizes the database knows."""
    kinds: list[KindUse]

    @relation
    async def client(self) -> Client | None:
        """Whose it is."""


@object_type
class SweptKind:
    """Blobs of one kind, as the store has them."""

    kind: str
    known: bool
    """Whether rows could name blobs of this kind at all; those of other kinds are left alone."""
    blobs: float
    bytes: float
    orphans: float
    """Those that no row names, though they have been there for longer than the grace period."""
    orphan_bytes: float
    young: float
    """Those that no row names yet: what names them may be under way."""


@object_type
class StorageSweep:
    """A look through the whole blob store, beside the database; unless it was a dry run, what no row names went."""

    id: strawberry.ID
    status: SweepStatus
    dry_run: bool
    """If so, nothing was taken away."""
    max_share: float
    """If more than this share of the blobs were orphans, none would be touched."""
    grace_seconds: int
    actor_kind: ActorKind
    actor_id: strawberry.ID | None
    """Who wanted it; null for the schedule."""
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    kinds: strawberry.Private[list[dict[str, Any]]]
    named: float | None
    """Blobs that rows name; null until the store was looked through."""
    missing: float | None
    """How many of these the store did not have. `quartermaster storage verify` says which."""
    removed: float
    removed_bytes: float
    unfinished: float
    """Uploads taken away that had never come to an end."""
    code: str | None
    """Why no more was taken, or would be: SHARE_EXCEEDED, DATABASE_LOOKS_EMPTY, STORE_LOOKS_FOREIGN, BACKUP_RUNS,
    GAVE_UP, RESTORED (of a database from a backup: sweeps are held until one that somebody asks for is done).
    """
    message: str | None

    @computed("kinds")
    def found(self) -> list[SweptKind]:
        """What the store had, kind by kind; empty until it was looked through."""
        return [SweptKind(**kind) for kind in self.kinds]


@object_type
class StorageStats:
    """How much is stored: in the database's view now, and in the store's when somebody last looked through it."""

    store: StoreKind
    kinds: list[KindUse]
    """All that the caller may see, by kind."""
    clients: list[ClientUse]
    """Client by client, the largest first."""
    swept: StorageSweep | None
    """The newest sweep that has looked through the store; null for all but admins of the platform."""
