"""Users, their sessions, and which role may do what."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, client_column, id_column, metadata, one_of, text_column


class Role(StrEnum):
    """ADMIN is of the platform and belongs to no client; OPERATOR and VIEWER are of one client."""

    ADMIN = "ADMIN"
    OPERATOR = "OPERATOR"
    VIEWER = "VIEWER"


users = Table(
    "users",
    metadata,
    id_column(),
    client_column(nullable=True),
    text_column("email"),
    text_column("password_hash"),
    text_column("role"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("last_login_at", Moment),
    Column("deleted_at", Moment),
    CheckConstraint(one_of("role", Role), name="role"),
    CheckConstraint("(role = 'ADMIN') = (client_id IS NULL)", name="admin_of_platform"),
    Index("uq_users_email", text("lower(email)"), unique=True, postgresql_where=text("deleted_at IS NULL")),
    Index("ix_users_client_id_email", "client_id", text("lower(email)")),
)

sessions = Table(
    "sessions",
    metadata,
    id_column(),
    Column("user_id", Id, ForeignKey("users.id", ondelete="CASCADE"), nullable=False, index=True),
    text_column("refresh_hash"),
    Column("refreshes", Integer, nullable=False, server_default="0"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("refreshed_at", Moment, nullable=False, server_default=NOW),
    Column("expires_at", Moment, nullable=False, index=True),
    Column("revoked_at", Moment),
)


class UserRow(Row):
    id: str
    client_id: str | None
    email: str
    role: Role
    created_at: datetime
    last_login_at: datetime | None
