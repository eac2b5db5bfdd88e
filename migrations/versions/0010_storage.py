"""Sweeps of the blob store."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision: str = "0010"
down_revision: str | None = "0009"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_ACTIVE = sa.text("status IN ('QUEUED', 'RUNNING')")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    zero = sa.text("0")
    op.create_table(
        "storage_sweeps",
        sa.Column("id", sa.UUID(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'QUEUED'"), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("max_share", sa.Float(), nullable=False),
        sa.Column("grace_seconds", sa.Integer(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.UUID(), nullable=True),
        sa.Column("requested_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", moment, nullable=True),
        sa.Column("finished_at", moment, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default=zero, nullable=False),
        sa.Column("lease_until", moment, nullable=True),
        sa.Column("kinds", postgresql.JSONB(), server_default=sa.text("'[]'"), nullable=False),
        sa.Column("named", sa.BigInteger(), nullable=True),
        sa.Column("missing", sa.BigInteger(), nullable=True),
        sa.Column("removed", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("removed_bytes", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("unfinished", sa.BigInteger(), server_default=zero, nullable=False),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("message", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_storage_sweeps"),
        sa.CheckConstraint(
            "status IN ('QUEUED', 'RUNNING', 'DONE', 'REFUSED', 'FAILED')", name="ck_storage_sweeps_status"
        ),
    )
    op.create_index(
        "uq_storage_sweeps_active", "storage_sweeps", [sa.text("(true)")], unique=True, postgresql_where=_ACTIVE
    )
