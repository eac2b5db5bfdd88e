"""Retention: policies, cleanups that ran, jobs that run at times of the day."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.kit.tables import Id, Json

revision: str = "0009"
down_revision: str | None = "0008"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_ACTIVE = sa.text("state IN ('QUEUED', 'RUNNING')")


def upgrade() -> None:
    moment = sa.DateTime(timezone=True)
    live = sa.text("deleted_at IS NULL")
    op.create_index("ix_images_client_received", "images", ["client_id", "received_at"], postgresql_where=live)
    op.create_index("ix_images_original_key", "images", ["original_key"], postgresql_using="hash")
    op.create_table(
        "scheduled_jobs",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("reached", sa.DateTime(timezone=False), nullable=False),
        sa.Column("requested_at", moment),
        sa.Column("started_at", moment),
        sa.Column("ended_at", moment),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure", sa.Text()),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_scheduled_jobs")),
    )
    op.create_table(
        "event_floors",
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_event_floors")),
    )
    op.create_table(
        "retention_policies",
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean()),
        sa.Column("keep_days", sa.Integer()),
        sa.Column("updated_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind IN ('IMAGES', 'DELETED_IMAGES', 'TELEMETRY', 'EVENTS', 'SCENES')",
            name=op.f("ck_retention_policies_kind"),
        ),
        sa.CheckConstraint("keep_days > 0", name=op.f("ck_retention_policies_keep_days")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_retention_policies_client_id")),
        sa.PrimaryKeyConstraint("client_id", "kind", name=op.f("pk_retention_policies")),
    )
    _create_runs()


def _create_runs() -> None:
    moment = sa.DateTime(timezone=True)
    counts = [
        sa.Column(name, sa.BigInteger(), server_default=sa.text("0"), nullable=False)
        for name in ("removed", "removed_bytes", "removed_blobs")
    ]
    op.create_table(
        "cleanup_runs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id()),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("dry_run", sa.Boolean(), nullable=False),
        sa.Column("max_share", sa.Float(), nullable=False),
        *(sa.Column(name, sa.BigInteger()) for name in ("found", "due", "due_bytes", "cited")),
        *counts,
        sa.Column("details", Json(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("stop_code", sa.Text()),
        sa.Column("stop_message", sa.Text()),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", Id()),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", moment),
        sa.Column("ended_at", moment),
        sa.Column("claims", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", moment),
        sa.CheckConstraint("kind IN ('IMAGES', 'TELEMETRY', 'EVENTS')", name=op.f("ck_cleanup_runs_kind")),
        sa.CheckConstraint(
            "state IN ('QUEUED', 'RUNNING', 'DONE', 'STOPPED', 'FAILED')", name=op.f("ck_cleanup_runs_state")
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_cleanup_runs_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_cleanup_runs")),
    )
    op.create_index("ix_cleanup_runs_client", "cleanup_runs", ["client_id", "id"])
    op.create_index("ix_cleanup_runs_lease", "cleanup_runs", ["lease_until"], postgresql_where=_ACTIVE)
    op.create_index(
        "uq_cleanup_runs_active",
        "cleanup_runs",
        ["client_id", "kind"],
        unique=True,
        postgresql_where=_ACTIVE,
        postgresql_nulls_not_distinct=True,
    )


def downgrade() -> None:
    for table in ("cleanup_runs", "retention_policies", "event_floors", "scheduled_jobs"):
        op.drop_table(table)
    op.drop_index("ix_images_original_key", "images")
    op.drop_index("ix_images_client_received", "images")
