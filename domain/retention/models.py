"""The tables of retention: what clients said that differs from the defaults, and every cleanup that was begun."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    Table,
    Text,
    text,
)

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Json, Moment, client_column, id_column, metadata, one_of, text_column


class RetentionKind(StrEnum):
    """What is kept for a time. IMAGES counts from arrival, DELETED_IMAGES from when somebody deleted them, SCENES
    from when they were made: a change holds for those that are made from then on.
    """

    IMAGES = "IMAGES"
    DELETED_IMAGES = "DELETED_IMAGES"
    TELEMETRY = "TELEMETRY"
    EVENTS = "EVENTS"
    SCENES = "SCENES"


class CleanupKind(StrEnum):
    """What a cleanup takes away. IMAGES are those that arrived and those that were deleted."""

    IMAGES = "IMAGES"
    TELEMETRY = "TELEMETRY"
    EVENTS = "EVENTS"


class CleanupState(StrEnum):
    """QUEUED and RUNNING are under way. STOPPED: a brake held it; FAILED: it did not come to an end."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    STOPPED = "STOPPED"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class Rule:
    """How one kind is kept: for so many days, or for ever where it is not enabled."""

    enabled: bool
    keep_days: int


@dataclass(frozen=True, slots=True)
class RetentionDefaults:
    """What holds for clients that said nothing else. `max_share` of what is there, 0 to 1: more stops a cleanup."""

    rules: Mapping[str, Rule]
    max_share: float


# A client that said nothing has no row, and null is the default.
retention_policies = Table(
    "retention_policies",
    metadata,
    Column("client_id", Id, ForeignKey("clients.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("enabled", Boolean),
    Column("keep_days", Integer),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint(one_of("kind", RetentionKind), name="kind"),
    CheckConstraint("keep_days > 0", name="keep_days"),
)

ACTIVE = text("state IN ('QUEUED', 'RUNNING')")

cleanup_runs = Table(
    "cleanup_runs",
    metadata,
    id_column(),
    client_column(nullable=True),  # null is of all clients together
    text_column("kind"),
    text_column("state"),
    Column("dry_run", Boolean, nullable=False),
    Column("max_share", Float, nullable=False),
    # What was found before anything was taken: rows there, rows that are over, and of these the cited ones, kept.
    Column("found", BigInteger),
    Column("due", BigInteger),
    Column("due_bytes", BigInteger),
    Column("cited", BigInteger),
    Column("removed", BigInteger, nullable=False, server_default=text("0")),
    Column("removed_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("removed_blobs", BigInteger, nullable=False, server_default=text("0")),
    Column("details", Json, nullable=False, server_default=text("'{}'")),
    text_column("stop_code", nullable=True),
    text_column("stop_message", nullable=True),
    text_column("actor_kind"),
    Column("actor_id", Id),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("started_at", Moment),
    Column("ended_at", Moment),
    Column("claims", Integer, nullable=False, server_default=text("0")),  # who holds it is who claimed last
    Column("attempts", Integer, nullable=False, server_default=text("0")),  # since it last got on
    Column("lease_until", Moment),
    CheckConstraint(one_of("kind", CleanupKind), name="kind"),
    CheckConstraint(one_of("state", CleanupState), name="state"),
    Index("ix_cleanup_runs_client", "client_id", "id"),
    Index("ix_cleanup_runs_lease", "lease_until", postgresql_where=ACTIVE),
    Index(
        "uq_cleanup_runs_active",
        "client_id",
        "kind",
        unique=True,
        postgresql_where=ACTIVE,
        postgresql_nulls_not_distinct=True,
    ),
)


class CleanupRow(Row):
    id: str
    client_id: str | None
    kind: str
    state: str
    dry_run: bool
    max_share: float
    found: int | None
    due: int | None
    due_bytes: int | None
    cited: int | None
    removed: int
    removed_bytes: int
    removed_blobs: int
    details: dict[str, Any]
    stop_code: str | None
    stop_message: str | None
    actor_kind: str
    actor_id: str | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    claims: int
    attempts: int
