"""The table of images: what arrived, what became of it, and where its bytes are."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Integer, Table, text

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Json, Moment, client_column, id_column, metadata, one_of, text_column


class ImageStatus(StrEnum):
    """RECEIVED is durable but not looked at; PROCESSING is with a worker; the other two are final."""

    RECEIVED = "RECEIVED"
    PROCESSING = "PROCESSING"
    READY = "READY"
    REJECTED = "REJECTED"


class ImageSource(StrEnum):
    """Where an image came from."""

    DEVICE = "DEVICE"


images = Table(
    "images",
    metadata,
    id_column(),
    client_column(),
    Column("device_id", Id, ForeignKey("devices.id")),
    text_column("source"),
    text_column("status"),
    text_column("content_type"),
    Column("size_bytes", BigInteger, nullable=False),
    text_column("sha256"),
    text_column("original_key"),
    text_column("clean_key", nullable=True),  # the original without its metadata; the same key where it has none
    text_column("display_key", nullable=True),
    text_column("thumbnail_key", nullable=True),
    Column("width", Integer),
    Column("height", Integer),
    Column("phash", BigInteger),  # 64 bits, the highest being the sign
    Column("received_at", Moment, nullable=False, server_default=NOW),
    Column("captured_at", Moment, nullable=False),
    Column("device_captured_at", Moment),  # what the device's own clock said, believed or not
    Column("processed_at", Moment),
    text_column("rejection_code", nullable=True),
    text_column("rejection_message", nullable=True),
    text_column("idempotency_key", nullable=True),
    Column("private", Json, nullable=False, server_default=text("'{}'")),  # GPS and the like: never served
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Moment),  # until then somebody works on it; after that it is sent again
    CheckConstraint(one_of("status", ImageStatus), name="status"),
    CheckConstraint(one_of("source", ImageSource), name="source"),
    Index("ix_images_client", "client_id", "id"),
    Index("ix_images_device", "device_id", "id"),
    Index("ix_images_client_captured", "client_id", "captured_at", "id"),
    Index("ix_images_device_captured", "device_id", "captured_at", "id"),
    Index("ix_images_client_status", "client_id", "status", "id"),
    Index("ix_images_device_sha256", "device_id", "sha256", "received_at"),
    Index(
        "uq_images_device_id_idempotency_key",
        "device_id",
        "idempotency_key",
        unique=True,
        postgresql_where=text("idempotency_key IS NOT NULL"),
    ),
    Index("ix_images_lease", "lease_until", postgresql_where=text("status IN ('RECEIVED', 'PROCESSING')")),
)


class ImageRow(Row):
    id: str
    client_id: str
    device_id: str | None
    source: ImageSource
    status: ImageStatus
    content_type: str
    size_bytes: int
    sha256: str
    original_key: str
    clean_key: str | None
    display_key: str | None
    thumbnail_key: str | None
    width: int | None
    height: int | None
    phash: int | None
    received_at: datetime
    captured_at: datetime
    device_captured_at: datetime | None
    processed_at: datetime | None
    rejection_code: str | None
    rejection_message: str | None


class ImageJobRow(Row):
    """What a worker needs to know of an image that it claimed."""

    id: str
    client_id: str
    device_id: str | None
    original_key: str
    attempts: int
    received_at: datetime
    device_captured_at: datetime | None
