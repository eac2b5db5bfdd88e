"""The tables of images: what arrived, what became of it, where its bytes are, in which sizes it was asked for, and
what a client has set for all of its images.
"""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

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
    """A device posted it."""
    UPLOAD = "UPLOAD"
    """A person or a program posted it."""
    GENERATED = "GENERATED"
    """A model made it."""
    IMPORTED = "IMPORTED"
    """It came out of another system's dump."""
    CAMERA = "CAMERA"
    """It is a camera's snapshot."""


class VariantStatus(StrEnum):
    """PENDING is asked for, MAKING with a worker; the other two are final."""

    PENDING = "PENDING"
    MAKING = "MAKING"
    READY = "READY"
    FAILED = "FAILED"


_DELETED = text("deleted_at IS NOT NULL")

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
    text_column("uploaded_by", nullable=True),  # of those that no device sent: "USER:<id>", "CLIENT:<id>"
    Column("deleted_at", Moment),  # softly: row and bytes are there until retention takes them
    Column("featured", Boolean, nullable=False, server_default=text("false")),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    text_column("prompt", nullable=True),
    Column("uses", BigInteger, nullable=False, server_default=text("0")),
    Column("last_used_at", Moment),
    Column("unchanged_since", Moment),  # when the first photo of the same scene was taken, if this is not the first
    # Words of prompt and tags; tags whole as `tag:…`; `client:…`, so that one index lookup stays within a client.
    # The function is the migration's. NULL for most photos of devices, which thus cost that index nothing.
    Column("search", TSVECTOR, Computed("image_words(client_id, prompt, tags)", persisted=True)),
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
    Index("ix_images_search", "search", postgresql_using="gin", postgresql_where=text("search IS NOT NULL")),
    Index("ix_images_client_featured", "client_id", "id", postgresql_where=text("featured")),
    Index("ix_images_client_unchanged", "client_id", "id", postgresql_where=text("unchanged_since IS NOT NULL")),
    Index("ix_images_client_deleted", "client_id", "id", postgresql_where=_DELETED),
    Index("ix_images_deleted", "deleted_at", "id", postgresql_where=_DELETED),
    # What retention asks: which are the oldest of a client, and does anybody else name this blob.
    Index("ix_images_client_received", "client_id", "received_at", postgresql_where=text("deleted_at IS NULL")),
    Index("ix_images_original_key", "original_key", postgresql_using="hash"),
    # Photos of devices, the many, are in none of the next three.
    Index("ix_images_client_source", "client_id", "source", "id", postgresql_where=text("source <> 'DEVICE'")),
    Index("ix_images_client_sha256", "client_id", "sha256", postgresql_where=text("device_id IS NULL")),
    Index(
        "uq_images_uploaded_by_idempotency_key",
        "uploaded_by",
        "idempotency_key",
        unique=True,
        postgresql_where=text("device_id IS NULL AND idempotency_key IS NOT NULL"),
    ),
    # Similar images are found by looking at every hash of a client: here these lie side by side.
    Index("ix_images_client_phash", "client_id", "phash", "id", postgresql_where=text("phash IS NOT NULL")),
)

# Sizes beside those that every image is made in, made when somebody first asks.
image_variants = Table(
    "image_variants",
    metadata,
    Column("image_id", Id, ForeignKey("images.id", ondelete="CASCADE"), primary_key=True),
    Column("name", Text, primary_key=True),  # what it is, such as `preview-1440.webp`
    text_column("status", server_default=text("'PENDING'")),
    text_column("blob_key", nullable=True),  # when READY
    Column("size_bytes", BigInteger),
    Column("width", Integer),
    Column("height", Integer),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Moment),
    text_column("failure", nullable=True),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    CheckConstraint(one_of("status", VariantStatus), name="status"),
    Index("ix_image_variants_lease", "lease_until", postgresql_where=text("status IN ('PENDING', 'MAKING')")),
)

# A client that set nothing has no row.
image_settings = Table(
    "image_settings",
    metadata,
    Column("client_id", Id, ForeignKey("clients.id"), primary_key=True),
    Column("thumbnail_side", SmallInteger),
    Column("preview_side", SmallInteger),
    Column("unchanged_distance", SmallInteger),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
)

BLOB_KEYS = (
    images.c.original_key,
    images.c.clean_key,
    images.c.display_key,
    images.c.thumbnail_key,
    image_variants.c.blob_key,
)
"""Every column by which an image names a blob: a blob that is in none of these belongs to no image."""


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
    uploaded_by: str | None
    deleted_at: datetime | None
    featured: bool
    tags: list[str]
    prompt: str | None
    uses: int
    last_used_at: datetime | None
    unchanged_since: datetime | None


class ImageJobRow(Row):
    """What a worker needs to know of an image that it claimed."""

    id: str
    client_id: str
    device_id: str | None
    original_key: str
    size_bytes: int
    attempts: int
    received_at: datetime
    device_captured_at: datetime | None
    thumbnail_side: int
    unchanged_distance: int
