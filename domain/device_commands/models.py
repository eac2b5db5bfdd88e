"""The table of commands: what a device is to do, until when, and what became of it."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import CheckConstraint, Column, ForeignKey, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Json, Moment, client_column, id_column, metadata, one_of, text_column


class CommandType(StrEnum):
    """RESTART: start anew. CAPTURE_NOW: take and send a photo. SET_WAKE_INTERVAL: sleep so long between wakes.
    CUSTOM: whatever its firmware knows by a name of its own.
    """

    RESTART = "RESTART"
    CAPTURE_NOW = "CAPTURE_NOW"
    SET_WAKE_INTERVAL = "SET_WAKE_INTERVAL"
    CUSTOM = "CUSTOM"


class CommandStatus(StrEnum):
    """QUEUED waits for the next wake; DELIVERED was told to the device, and is told again until it is confirmed.
    DONE and FAILED are what the device said; EXPIRED: not confirmed in time; CANCELLED by an operator.
    """

    QUEUED = "QUEUED"
    DELIVERED = "DELIVERED"
    DONE = "DONE"
    FAILED = "FAILED"
    EXPIRED = "EXPIRED"
    CANCELLED = "CANCELLED"


OPEN = text("status IN ('QUEUED', 'DELIVERED')")
"""As in the indexes that make it cheap; what has expired since is still among these until the schedule says so."""

device_commands = Table(
    "device_commands",
    metadata,
    id_column(),
    client_column(),
    Column("device_id", Id, ForeignKey("devices.id"), nullable=False),
    text_column("type"),
    text_column("name"),  # what the device is told: `restart`, or the name of a custom one
    Column("arguments", Json, nullable=False, server_default=text("'{}'")),
    text_column("status", server_default=text("'QUEUED'")),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("expires_at", Moment, nullable=False),
    Column("delivered_at", Moment),
    Column("deliveries", Integer, nullable=False, server_default=text("0")),
    Column("finished_at", Moment),
    text_column("message", nullable=True),
    text_column("sender_kind"),
    Column("sender_id", Id),
    CheckConstraint(one_of("type", CommandType), name="type"),
    CheckConstraint(one_of("status", CommandStatus), name="status"),
    Index("ix_device_commands_device", "device_id", "id"),
    Index("ix_device_commands_open", "device_id", postgresql_where=OPEN),
    Index("ix_device_commands_expiry", "expires_at", postgresql_where=OPEN),
)


class DeviceCommandRow(Row):
    id: str
    client_id: str
    device_id: str
    type: str
    name: str
    arguments: dict[str, Any]
    status: str
    created_at: datetime
    expires_at: datetime
    delivered_at: datetime | None
    deliveries: int
    finished_at: datetime | None
    message: str | None
    sender_kind: str
    sender_id: str | None
