"""The table of sweeps: each compared the whole blob store with the database, and what it found and took."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Float, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Json, Moment, id_column, metadata, one_of, text_column


class StoreKind(StrEnum):
    """What holds the bytes."""

    FOLDER = "FOLDER"
    S3 = "S3"


class SweepStatus(StrEnum):
    """QUEUED and RUNNING are under way. REFUSED: a brake held it, and nothing was taken; FAILED: it did not come to
    an end.
    """

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    REFUSED = "REFUSED"
    FAILED = "FAILED"


ACTIVE = text("status IN ('QUEUED', 'RUNNING')")

storage_sweeps = Table(
    "storage_sweeps",
    metadata,
    id_column(),
    text_column("status", server_default=text("'QUEUED'")),
    Column("dry_run", Boolean, nullable=False),
    Column("max_share", Float, nullable=False),  # of the blobs there; more orphans than that are not touched
    Column("grace_seconds", Integer, nullable=False),
    text_column("actor_kind"),
    Column("actor_id", Id),
    Column("requested_at", Moment, nullable=False, server_default=NOW),
    Column("started_at", Moment),
    Column("finished_at", Moment),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Moment),
    Column("kinds", Json, nullable=False, server_default=text("'[]'")),  # what was found; see comparison.KindRow
    Column("named", BigInteger),  # blobs that rows name
    Column("missing", BigInteger),  # of these, how many the store does not have
    Column("removed", BigInteger, nullable=False, server_default=text("0")),
    Column("removed_bytes", BigInteger, nullable=False, server_default=text("0")),
    Column("unfinished", BigInteger, nullable=False, server_default=text("0")),  # uploads that never came to an end
    text_column("code", nullable=True),
    text_column("message", nullable=True),
    CheckConstraint(one_of("status", SweepStatus), name="status"),
    # One at a time. The expression is a constant: every row under way has the same.
    Index("uq_storage_sweeps_active", text("(true)"), unique=True, postgresql_where=ACTIVE),
)


class SweepRow(Row):
    id: str
    status: str
    dry_run: bool
    max_share: float
    grace_seconds: int
    actor_kind: str
    actor_id: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    attempts: int
    kinds: list[dict[str, Any]]
    named: int | None
    missing: int | None
    removed: int
    removed_bytes: int
    unfinished: int
    code: str | None
    message: str | None
