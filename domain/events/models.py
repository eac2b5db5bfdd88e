"""The log of events, partitioned by month, and the one row that numbers it."""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import Id, Json, Moment, metadata, text_column

AUDITED = text(
    "actor_kind = ANY (ARRAY['USER'::text, 'CLIENT'::text]) AND type <> ALL (ARRAY["
    "'device.checked_in'::text, 'device.upload_failed'::text, 'device.presence_changed'::text, "
    "'image.received'::text])"
)
"""What people and their programs changed. What they report for devices has the device as its actor, but for the
photo itself (and, in old logs, the other types that are named here)."""

events = Table(
    "events",
    metadata,
    Column("position", BigInteger, primary_key=True, autoincrement=False),
    Column("recorded_at", Moment, primary_key=True),
    Column("id", Id, nullable=False),
    text_column("type"),
    Column("client_id", Id),
    text_column("subject_kind"),
    Column("subject_id", Id, nullable=False),
    text_column("actor_kind"),
    Column("actor_id", Id),
    Column("data", Json, nullable=False),
    text_column("correlation_id", nullable=True),
    Column("occurred_at", Moment, nullable=False),
    Index("ix_events_client", "client_id", "position"),
    Index("ix_events_subject", "subject_id", "position"),
    Index("ix_events_type", "type", "position"),
    # There are a thousand reports for each change.
    Index("ix_events_audit", "position", postgresql_where=AUDITED),
    Index("ix_events_client_audit", "client_id", "position", postgresql_where=AUDITED),
    postgresql_partition_by="RANGE (recorded_at)",
)

event_log = Table(
    "event_log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("last_position", BigInteger, nullable=False),
    CheckConstraint("id = 1", name="single"),
)


class EventRow(Row):
    position: int
    recorded_at: datetime
    id: str
    type: str
    client_id: str | None
    subject_kind: str
    subject_id: str
    actor_kind: str
    actor_id: str | None
    data: dict[str, Any]
    correlation_id: str | None
    occurred_at: datetime
