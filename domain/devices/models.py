"""The tables of devices and of what they measured. A deregistered device keeps its row, for its images still
name it.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Float,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    TextClause,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, client_column, id_column, metadata, text_column

DEFAULT_WAKE_INTERVAL = 3600  # seconds

_REGISTERED = text("deregistered_at IS NULL")


def _list_indexes(order: str, expression: TextClause) -> tuple[Index, Index]:
    """What an order of the list needs: one index for one client, one for the whole platform."""
    return (
        Index(f"ix_devices_client_{order}", "client_id", expression, "id", postgresql_where=_REGISTERED),
        Index(f"ix_devices_all_{order}", expression, "id", postgresql_where=_REGISTERED),
    )


devices = Table(
    "devices",
    metadata,
    id_column(),
    client_column(),
    text_column("key"),
    text_column("name"),
    text_column("mac", nullable=True),
    text_column("board", nullable=True),  # which hardware it is, as firmware names it
    Column("labels", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("enabled", Boolean, nullable=False, server_default=text("true")),
    Column("wake_interval_seconds", Integer, nullable=False, server_default=text(str(DEFAULT_WAKE_INTERVAL))),
    text_column("token_hash", nullable=True),
    text_column("token_prefix", nullable=True),
    Column("token_created_at", Moment),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    Column("deregistered_at", Moment),
    Column("last_seen_at", Moment),
    # What it said of its sleep, and of its clock, in the last report.
    Column("next_wake_at", Moment),
    Column("stays_awake", Boolean, nullable=False, server_default=text("false")),
    Column("reported_wake_interval_seconds", Integer),
    Column("reported_clock_at", Moment),
    # The presence that was announced last, and when it changes by itself; see presence.py. No index: the sweep
    # reads 100,000 devices in 20 ms, and updates that touch no index leave the other dozen alone.
    text_column("presence", server_default=text("'NEW'")),
    Column("presence_since", Moment, nullable=False, server_default=NOW),
    Column("presence_due_at", Moment),
    Column("marked_inactive_at", Moment),
    Column("battery_v", Float),
    Column("battery_pct", Float),
    Column("rssi", SmallInteger),
    text_column("firmware", nullable=True),
    Column("total_captures", BigInteger, nullable=False, server_default=text("0")),
    Column("failed_uploads", BigInteger, nullable=False, server_default=text("0")),
    Column("failures_in_a_row", Integer, nullable=False, server_default=text("0")),
    CheckConstraint("wake_interval_seconds BETWEEN 10 AND 2592000", name="wake_interval"),
    Index(
        "uq_devices_client_id_key",
        "client_id",
        "key",
        unique=True,
        postgresql_where=_REGISTERED,
    ),
    Index("uq_devices_client_id_mac", "client_id", "mac", unique=True, postgresql_where=_REGISTERED),
    Index("uq_devices_token_hash", "token_hash", unique=True),
    Index("ix_devices_labels", "labels", postgresql_using="gin"),
    *_list_indexes("key", text("key")),
    *_list_indexes("name", text("lower(name)")),
    *_list_indexes("seen", text("coalesce(last_seen_at, 'epoch'::timestamptz)")),
    Index("ix_devices_client_created", "client_id", "id", postgresql_where=_REGISTERED),
)

# What the search looks in: the words of the key and of the name. Punctuation is taken out first, because
# PostgreSQL reads "Fridge-2" as the words "fridge" and "-2", and "door/left" as one path.
_WORDS = "to_tsvector('simple'::regconfig, translate({key} || ' ' || {name}, '-_.:/@+&;=?~#<>', '               '))"
SEARCHED: Any = literal_column(_WORDS.format(key="devices.key", name="devices.name"))
Index("ix_devices_search", text(_WORDS.format(key="key", name="name")), postgresql_using="gin", _table=devices)

TELEMETRY_INDEXED = ["battery_v", "battery_pct", "rssi", "temperature_c", "free_heap_bytes", "uploaded"]

# One row for each report of a device. No key: nobody refers to a row, and there are a great many.
device_telemetry = Table(
    "device_telemetry",
    metadata,
    Column("device_id", Id, nullable=False),
    Column("client_id", Id, nullable=False),
    Column("reported_at", Moment, nullable=False),
    Column("battery_v", Float),
    Column("battery_pct", Float),
    Column("rssi", SmallInteger),
    text_column("firmware", nullable=True),
    Column("uptime_seconds", Integer),
    Column("free_heap_bytes", Integer),
    Column("boot_count", Integer),
    text_column("reset_reason", nullable=True),
    Column("temperature_c", Float),
    Column("clock_offset_seconds", Float),
    Column("uploaded", Boolean),
    # With what is read over time, so that a device's rows, which lie scattered among those of all others, are not
    # fetched one by one.
    Index("ix_device_telemetry_device", "device_id", "reported_at", postgresql_include=TELEMETRY_INDEXED),
    postgresql_partition_by="RANGE (reported_at)",
)


class DeviceRow(Row):
    id: str
    client_id: str
    key: str
    name: str
    mac: str | None
    board: str | None
    labels: list[str]
    enabled: bool
    wake_interval_seconds: int
    token_prefix: str | None
    token_created_at: datetime | None
    created_at: datetime
    updated_at: datetime
    deregistered_at: datetime | None
    last_seen_at: datetime | None
    next_wake_at: datetime | None
    stays_awake: bool
    reported_wake_interval_seconds: int | None
    reported_clock_at: datetime | None
    presence: str
    presence_since: datetime
    presence_due_at: datetime | None
    marked_inactive_at: datetime | None
    battery_v: float | None
    battery_pct: float | None
    rssi: int | None
    firmware: str | None
    total_captures: int
    failed_uploads: int
    failures_in_a_row: int
