"""Commands for devices."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.kit.tables import Id, Json

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_OPEN = sa.text("status IN ('QUEUED', 'DELIVERED')")


def upgrade() -> None:
    op.create_table(
        "device_commands",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("arguments", Json(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'QUEUED'"), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("delivered_at", sa.DateTime(timezone=True)),
        sa.Column("deliveries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True)),
        sa.Column("message", sa.Text()),
        sa.Column("sender_kind", sa.Text(), nullable=False),
        sa.Column("sender_id", Id()),
        sa.CheckConstraint(
            "type IN ('RESTART', 'CAPTURE_NOW', 'SET_WAKE_INTERVAL', 'CUSTOM')",
            name=op.f("ck_device_commands_type"),
        ),
        sa.CheckConstraint(
            "status IN ('QUEUED', 'DELIVERED', 'DONE', 'FAILED', 'EXPIRED', 'CANCELLED')",
            name=op.f("ck_device_commands_status"),
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_device_commands_client_id")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_commands_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_commands")),
    )
    op.create_index("ix_device_commands_device", "device_commands", ["device_id", "id"])
    op.create_index("ix_device_commands_open", "device_commands", ["device_id"], postgresql_where=_OPEN)
    op.create_index("ix_device_commands_expiry", "device_commands", ["expires_at"], postgresql_where=_OPEN)


def downgrade() -> None:
    op.drop_table("device_commands")
