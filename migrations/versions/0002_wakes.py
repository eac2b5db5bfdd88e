"""Devices: MAC, labels, sleep and presence; their telemetry by month."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.tables import Id

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_REGISTERED = sa.text("deregistered_at IS NULL")


def _added() -> list[sa.Column[object]]:
    return [
        sa.Column("mac", sa.Text()),
        sa.Column("labels", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("next_wake_at", sa.DateTime(timezone=True)),
        sa.Column("stays_awake", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("reported_wake_interval_seconds", sa.Integer()),
        sa.Column("reported_clock_at", sa.DateTime(timezone=True)),
        sa.Column("presence", sa.Text(), server_default=sa.text("'NEW'"), nullable=False),
        sa.Column("presence_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("presence_due_at", sa.DateTime(timezone=True)),
        sa.Column("marked_inactive_at", sa.DateTime(timezone=True)),
    ]


def upgrade() -> None:
    for column in _added():
        op.add_column("devices", column)
    # Devices that reported before: the next sweep says how they are by now.
    op.execute(
        "UPDATE devices SET presence = 'ONLINE', presence_since = last_seen_at, presence_due_at = last_seen_at, "
        "next_wake_at = last_seen_at + make_interval(secs => wake_interval_seconds) WHERE last_seen_at IS NOT NULL"
    )
    op.create_index(
        "uq_devices_client_id_mac", "devices", ["client_id", "mac"], unique=True, postgresql_where=_REGISTERED
    )
    op.create_index("ix_devices_labels", "devices", ["labels"], postgresql_using="gin")
    # Room on each page for new versions of its rows, which then need no new entries in the indexes.
    op.execute("ALTER TABLE devices SET (fillfactor = 80)")
    op.create_table(
        "device_telemetry",
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("reported_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("battery_v", sa.Float()),
        sa.Column("battery_pct", sa.Float()),
        sa.Column("rssi", sa.SmallInteger()),
        sa.Column("firmware", sa.Text()),
        sa.Column("uptime_seconds", sa.Integer()),
        sa.Column("free_heap_bytes", sa.Integer()),
        sa.Column("boot_count", sa.Integer()),
        sa.Column("reset_reason", sa.Text()),
        sa.Column("temperature_c", sa.Float()),
        sa.Column("clock_offset_seconds", sa.Float()),
        sa.Column("uploaded", sa.Boolean()),
        postgresql_partition_by="RANGE (reported_at)",
    )
    op.create_index(
        "ix_device_telemetry_device",
        "device_telemetry",
        ["device_id", "reported_at"],
        postgresql_include=["battery_v", "battery_pct", "rssi", "temperature_c", "free_heap_bytes", "uploaded"],
    )
    # Should the monthly job ever fail for a month, rows land here instead of nowhere.
    op.execute("CREATE TABLE device_telemetry_default PARTITION OF device_telemetry DEFAULT")


def downgrade() -> None:
    op.drop_table("device_telemetry")
    op.execute("ALTER TABLE devices RESET (fillfactor)")
    for name in ("ix_devices_labels", "uq_devices_client_id_mac"):
        op.drop_index(name, table_name="devices")
    for column in _added():
        op.drop_column("devices", column.name)
