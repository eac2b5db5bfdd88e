"""Firmware and its rollouts; which board a device is."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.kit.tables import Id, Json

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def _moment(name: str, *, now: bool = False) -> sa.Column[object]:
    if now:
        return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    op.add_column("devices", sa.Column("board", sa.Text()))
    op.create_table(
        "firmwares",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("board", sa.Text()),
        sa.Column("note", sa.Text()),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("is_esp32_image", sa.Boolean(), nullable=False),
        sa.Column("blob_key", sa.Text(), nullable=False),
        _moment("created_at", now=True),
        _moment("updated_at", now=True),
        sa.Column("uploader_kind", sa.Text(), nullable=False),
        sa.Column("uploader_id", Id()),
        _moment("deleted_at"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_firmwares_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_firmwares")),
    )
    op.create_index(
        "uq_firmwares_version",
        "firmwares",
        ["client_id", "board", "version"],
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("ix_firmwares_client", "firmwares", ["client_id", "id"])
    _rollouts()
    _rollout_devices()


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("firmware_id", Id(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'RUNNING'"), nullable=False),
        sa.Column("reason", sa.Text()),
        sa.Column("stages", Json(), nullable=False),
        sa.Column("stage", sa.Integer(), server_default=sa.text("0"), nullable=False),
        _moment("stage_started_at", now=True),
        sa.Column("stage_limit", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("device_count", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("failure_share", sa.Float(), nullable=False),
        sa.Column("timeout_minutes", sa.Integer(), nullable=False),
        sa.Column("retries", sa.Integer(), nullable=False),
        _moment("judged_from", now=True),
        _moment("created_at", now=True),
        _moment("finished_at"),
        sa.Column("creator_kind", sa.Text(), nullable=False),
        sa.Column("creator_id", Id()),
        sa.CheckConstraint(
            "status IN ('RUNNING', 'PAUSED', 'COMPLETED', 'CANCELLED')", name=op.f("ck_rollouts_status")
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_rollouts_client_id")),
        sa.ForeignKeyConstraint(["firmware_id"], ["firmwares.id"], name=op.f("fk_rollouts_firmware_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollouts")),
    )
    op.create_index("ix_rollouts_client", "rollouts", ["client_id", "id"])
    op.create_index("ix_rollouts_firmware", "rollouts", ["firmware_id"])
    op.create_index("ix_rollouts_running", "rollouts", ["id"], postgresql_where=sa.text("status = 'RUNNING'"))


def _rollout_devices() -> None:
    op.create_table(
        "rollout_devices",
        sa.Column("rollout_id", Id(), nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        _moment("state_since", now=True),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("error", sa.Text()),
        _moment("due_at"),
        _moment("ended_at"),
        sa.CheckConstraint(
            "state IN ('PENDING', 'OFFERED', 'DOWNLOADING', 'INSTALLED', 'FAILED', 'TIMED_OUT', 'SKIPPED', 'CANCELLED')",
            name=op.f("ck_rollout_devices_state"),
        ),
        sa.PrimaryKeyConstraint("rollout_id", "position", name=op.f("pk_rollout_devices")),
    )
    table = "rollout_devices"
    is_open, is_due = sa.text("ended_at IS NULL"), sa.text("due_at IS NOT NULL")
    op.create_index("ix_rollout_devices_device", table, ["device_id", "rollout_id"])
    op.create_index("uq_rollout_devices_open", table, ["device_id"], unique=True, postgresql_where=is_open)
    op.create_index("ix_rollout_devices_due", table, ["due_at"], postgresql_where=is_due)


def downgrade() -> None:
    for table in ("rollout_devices", "rollouts", "firmwares"):
        op.drop_table(table)
    op.drop_column("devices", "board")
