"""The foundation: clients, users, devices, images, the outbox and the events log."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.kit.tables import Id, Json

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None


def upgrade() -> None:
    op.create_table(
        "clients",
        sa.Column("id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("token_prefix", sa.Text(), nullable=True),
        sa.Column("token_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("token_last_used_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_clients")),
    )
    op.create_index(
        "uq_clients_name",
        "clients",
        [sa.literal_column("lower(name)")],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_index("uq_clients_token_hash", "clients", ["token_hash"], unique=True)
    op.create_table(
        "event_log",
        sa.Column("id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("last_position", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_event_log_single")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_event_log")),
    )
    op.create_table(
        "events",
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("id", Id(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("client_id", Id(), nullable=True),
        sa.Column("subject_kind", sa.Text(), nullable=False),
        sa.Column("subject_id", Id(), nullable=False),
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", Id(), nullable=True),
        sa.Column("data", Json(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("position", "recorded_at", name=op.f("pk_events")),
        postgresql_partition_by="RANGE (recorded_at)",
    )
    op.create_index("ix_events_client", "events", ["client_id", "position"], unique=False)
    op.create_index("ix_events_subject", "events", ["subject_id", "position"], unique=False)
    op.create_index("ix_events_type", "events", ["type", "position"], unique=False)
    op.create_table(
        "idempotency_keys",
        sa.Column("principal_id", Id(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("applied", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("response", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("principal_id", "key", name=op.f("pk_idempotency_keys")),
    )
    op.create_index("ix_idempotency_keys_created_at", "idempotency_keys", ["created_at"], unique=False)
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("client_id", Id(), nullable=True),
        sa.Column("payload", Json(), nullable=False),
        sa.Column("correlation_id", sa.Text(), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_table(
        "devices",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("wake_interval_seconds", sa.Integer(), server_default=sa.text("3600"), nullable=False),
        sa.Column("token_hash", sa.Text(), nullable=True),
        sa.Column("token_prefix", sa.Text(), nullable=True),
        sa.Column("token_created_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("deregistered_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("battery_v", sa.Float(), nullable=True),
        sa.Column("battery_pct", sa.Float(), nullable=True),
        sa.Column("rssi", sa.SmallInteger(), nullable=True),
        sa.Column("firmware", sa.Text(), nullable=True),
        sa.Column("total_captures", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failed_uploads", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("failures_in_a_row", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("wake_interval_seconds BETWEEN 10 AND 2592000", name=op.f("ck_devices_wake_interval")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_devices_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
    )
    op.create_index(
        "ix_devices_all_key",
        "devices",
        [sa.literal_column("key"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_all_name",
        "devices",
        [sa.literal_column("lower(name)"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_all_seen",
        "devices",
        [sa.literal_column("coalesce(last_seen_at, 'epoch'::timestamptz)"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_client_created",
        "devices",
        ["client_id", "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_client_key",
        "devices",
        ["client_id", sa.literal_column("key"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_client_name",
        "devices",
        ["client_id", sa.literal_column("lower(name)"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_client_seen",
        "devices",
        ["client_id", sa.literal_column("coalesce(last_seen_at, 'epoch'::timestamptz)"), "id"],
        unique=False,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index(
        "ix_devices_search",
        "devices",
        [
            sa.literal_column(
                "to_tsvector('simple'::regconfig, translate(key || ' ' || name, '-_.:/@+&;=?~#<>', '               '))"
            )
        ],
        unique=False,
        postgresql_using="gin",
    )
    op.create_index(
        "uq_devices_client_id_key",
        "devices",
        ["client_id", "key"],
        unique=True,
        postgresql_where=sa.text("deregistered_at IS NULL"),
    )
    op.create_index("uq_devices_token_hash", "devices", ["token_hash"], unique=True)
    op.create_table(
        "users",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=True),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("password_hash", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("last_login_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("(role = 'ADMIN') = (client_id IS NULL)", name=op.f("ck_users_admin_of_platform")),
        sa.CheckConstraint("role IN ('ADMIN', 'OPERATOR', 'VIEWER')", name=op.f("ck_users_role")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_users_client_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_index(
        "ix_users_client_id_email", "users", ["client_id", sa.literal_column("lower(email)")], unique=False
    )
    op.create_index(
        "uq_users_email",
        "users",
        [sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("deleted_at IS NULL"),
    )
    op.create_table(
        "images",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("device_id", Id(), nullable=True),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("original_key", sa.Text(), nullable=False),
        sa.Column("clean_key", sa.Text(), nullable=True),
        sa.Column("display_key", sa.Text(), nullable=True),
        sa.Column("thumbnail_key", sa.Text(), nullable=True),
        sa.Column("width", sa.Integer(), nullable=True),
        sa.Column("height", sa.Integer(), nullable=True),
        sa.Column("phash", sa.BigInteger(), nullable=True),
        sa.Column("received_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("captured_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("device_captured_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rejection_code", sa.Text(), nullable=True),
        sa.Column("rejection_message", sa.Text(), nullable=True),
        sa.Column("idempotency_key", sa.Text(), nullable=True),
        sa.Column("private", Json(), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("source IN ('DEVICE')", name=op.f("ck_images_source")),
        sa.CheckConstraint(
            "status IN ('RECEIVED', 'PROCESSING', 'READY', 'REJECTED')", name=op.f("ck_images_status")
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_images_client_id")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_images_device_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_images")),
    )
    op.create_index("ix_images_client", "images", ["client_id", "id"], unique=False)
    op.create_index("ix_images_client_captured", "images", ["client_id", "captured_at", "id"], unique=False)
    op.create_index("ix_images_client_status", "images", ["client_id", "status", "id"], unique=False)
    op.create_index("ix_images_device", "images", ["device_id", "id"], unique=False)
    op.create_index("ix_images_device_captured", "images", ["device_id", "captured_at", "id"], unique=False)
    op.create_index("ix_images_device_sha256", "images", ["device_id", "sha256", "received_at"], unique=False)
    op.create_index(
        "ix_images_lease",
        "images",
        ["lease_until"],
        unique=False,
        postgresql_where=sa.text("status IN ('RECEIVED', 'PROCESSING')"),
    )
    op.create_index(
        "uq_images_device_id_idempotency_key",
        "images",
        ["device_id", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("idempotency_key IS NOT NULL"),
    )
    op.create_table(
        "sessions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("user_id", Id(), nullable=False),
        sa.Column("refresh_hash", sa.Text(), nullable=False),
        sa.Column("refreshes", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("refreshed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_sessions_user_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_sessions")),
    )
    op.create_index(op.f("ix_sessions_expires_at"), "sessions", ["expires_at"], unique=False)
    op.create_index(op.f("ix_sessions_user_id"), "sessions", ["user_id"], unique=False)
    op.execute("INSERT INTO event_log (id, last_position) VALUES (1, 0)")
    # Should the monthly job ever fail for a month, events land here instead of nowhere.
    op.execute("CREATE TABLE events_default PARTITION OF events DEFAULT")


def downgrade() -> None:
    op.drop_table("sessions")
    op.drop_table("images")
    op.drop_table("users")
    op.drop_table("devices")
    op.drop_table("outbox")
    op.drop_table("idempotency_keys")
    op.drop_table("events")
    op.drop_table("event_log")
    op.drop_table("clients")
