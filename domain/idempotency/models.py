"""The table of idempotency keys, each of one caller."""

from datetime import datetime

from sqlalchemy import Boolean, Column, Index, LargeBinary, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, metadata, text_column

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("principal_id", Id, primary_key=True),
    Column("key", text_column("key").type, primary_key=True),
    text_column("fingerprint"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("claimed_until", Moment, nullable=False),
    Column("applied", Boolean, nullable=False, server_default=text("false")),
    Column("response", LargeBinary),
    Index("ix_idempotency_keys_created_at", "created_at"),
)


class HeldKey(Row):
    fingerprint: str
    applied: bool
    response: bytes | None
    in_progress: bool
    claimed_until: datetime
