"""The tables of firmware: artifacts, rollouts, and how far each device of a rollout is."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import BigInteger, Boolean, CheckConstraint, Column, Float, ForeignKey, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Json, Moment, client_column, id_column, metadata, one_of, text_column


class RolloutStatus(StrEnum):
    """RUNNING offers its firmware to devices that wake; PAUSED offers nothing, by an operator or because too many
    failed; COMPLETED: nothing is left to do; CANCELLED by an operator.
    """

    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    COMPLETED = "COMPLETED"
    CANCELLED = "CANCELLED"


class UpdateState(StrEnum):
    """How far a device is. PENDING: nothing was offered yet. OFFERED: it was told. DOWNLOADING: it said so.
    INSTALLED: it reported the version as the one it runs. FAILED: it said so. TIMED_OUT: neither came in time; it
    is offered again while there are retries left. SKIPPED: it runs the version already, or has another board.
    CANCELLED: the rollout was cancelled, or a newer one took the device over.
    """

    PENDING = "PENDING"
    OFFERED = "OFFERED"
    DOWNLOADING = "DOWNLOADING"
    INSTALLED = "INSTALLED"
    FAILED = "FAILED"
    TIMED_OUT = "TIMED_OUT"
    SKIPPED = "SKIPPED"
    CANCELLED = "CANCELLED"


firmwares = Table(
    "firmwares",
    metadata,
    id_column(),
    client_column(),
    text_column("version"),
    text_column("board", nullable=True),  # None is for any board
    text_column("note", nullable=True),
    text_column("sha256"),
    Column("size_bytes", BigInteger, nullable=False),
    Column("is_esp32_image", Boolean, nullable=False),
    text_column("blob_key"),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    text_column("uploader_kind"),
    Column("uploader_id", Id),
    Column("deleted_at", Moment),  # the bytes are gone; past rollouts still name it
    Index(
        "uq_firmwares_version",
        "client_id",
        "board",
        "version",
        unique=True,
        postgresql_nulls_not_distinct=True,
        postgresql_where=text("deleted_at IS NULL"),
    ),
    Index("ix_firmwares_client", "client_id", "id"),
)

rollouts = Table(
    "rollouts",
    metadata,
    id_column(),
    client_column(),
    Column("firmware_id", Id, ForeignKey("firmwares.id"), nullable=False),
    text_column("status", server_default=text("'RUNNING'")),
    text_column("reason", nullable=True),
    Column("stages", Json, nullable=False),  # [{percent, minutes}], the last of 100 percent
    Column("stage", Integer, nullable=False, server_default=text("0")),
    Column("stage_started_at", Moment, nullable=False, server_default=NOW),
    # Devices are offered the firmware up to this position; how many there are to offer it to in all.
    Column("stage_limit", Integer, nullable=False, server_default=text("0")),
    Column("device_count", Integer, nullable=False, server_default=text("0")),
    Column("failure_share", Float, nullable=False),
    Column("timeout_minutes", Integer, nullable=False),
    Column("retries", Integer, nullable=False),
    # What ended before an operator let it go on does not stop it again.
    Column("judged_from", Moment, nullable=False, server_default=NOW),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("finished_at", Moment),
    text_column("creator_kind"),
    Column("creator_id", Id),
    CheckConstraint(one_of("status", RolloutStatus), name="status"),
    Index("ix_rollouts_client", "client_id", "id"),
    Index("ix_rollouts_firmware", "firmware_id"),
    Index("ix_rollouts_running", "id", postgresql_where=text("status = 'RUNNING'")),
)

# Written 100,000 at a time, so there is as little to keep as can be: what a row names is never deleted, and is
# held while it is written.
rollout_devices = Table(
    "rollout_devices",
    metadata,
    Column("rollout_id", Id, primary_key=True),
    # From 1 on, by a hash: whoever is in a stage is in the next ones.
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("device_id", Id, nullable=False),
    Column("client_id", Id, nullable=False),
    text_column("state"),
    Column("state_since", Moment, nullable=False, server_default=NOW),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    text_column("error", nullable=True),
    Column("due_at", Moment),  # when an offer times out
    Column("ended_at", Moment),
    CheckConstraint(one_of("state", UpdateState), name="state"),
    Index("ix_rollout_devices_device", "device_id", "rollout_id"),
    # One open rollout for a device: the newest.
    Index("uq_rollout_devices_open", "device_id", unique=True, postgresql_where=text("ended_at IS NULL")),
    Index("ix_rollout_devices_due", "due_at", postgresql_where=text("due_at IS NOT NULL")),
)


class FirmwareRow(Row):
    id: str
    client_id: str
    version: str
    board: str | None
    note: str | None
    sha256: str
    size_bytes: int
    is_esp32_image: bool
    blob_key: str
    created_at: datetime
    updated_at: datetime
    uploader_kind: str
    uploader_id: str | None
    deleted_at: datetime | None


class RolloutRow(Row):
    id: str
    client_id: str
    firmware_id: str
    status: str
    reason: str | None
    stages: list[dict[str, Any]]
    stage: int
    stage_started_at: datetime
    stage_limit: int
    device_count: int
    failure_share: float
    timeout_minutes: int
    retries: int
    created_at: datetime
    finished_at: datetime | None
    creator_kind: str
    creator_id: str | None


class RolloutDeviceRow(Row):
    """`id` is the device's: a rollout has each device once."""

    id: str
    client_id: str
    rollout_id: str
    device_id: str
    position: int
    state: str
    state_since: datetime
    attempts: int
    error: str | None
    due_at: datetime | None
    ended_at: datetime | None
