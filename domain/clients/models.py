"""The table of clients. A deleted client keeps its row, for what it owned still names it."""

from datetime import datetime

from sqlalchemy import Column, Index, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Moment, id_column, metadata, text_column

clients = Table(
    "clients",
    metadata,
    id_column(),
    text_column("name"),
    text_column("token_hash", nullable=True),
    text_column("token_prefix", nullable=True),
    Column("token_created_at", Moment),
    Column("token_last_used_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("deleted_at", Moment),
    Index("uq_clients_name", text("lower(name)"), unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index("uq_clients_token_hash", "token_hash", unique=True),
)


class ClientRow(Row):
    id: str
    name: str
    token_prefix: str | None
    token_created_at: datetime | None
    token_last_used_at: datetime | None
    created_at: datetime
