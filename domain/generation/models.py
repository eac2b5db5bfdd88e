"""The table of generations: who asked for which picture, how far it is, and what became of it."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import CheckConstraint, Column, Double, ForeignKey, Index, Integer, Table, Text, text
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, client_column, id_column, metadata, one_of, text_column


class GenerationStatus(StrEnum):
    """QUEUED waits for a worker, or until `retryAt`; RUNNING is with one. READY and FAILED are final."""

    QUEUED = "QUEUED"
    RUNNING = "RUNNING"
    READY = "READY"
    FAILED = "FAILED"


class GenerationKind(StrEnum):
    """What it is for. IMAGE: a picture by itself. SCENE: one of the scene cache."""

    IMAGE = "IMAGE"
    SCENE = "SCENE"


class FailureCode(StrEnum):
    """Why there is no picture. QUOTA_EXCEEDED: the provider has no more for us now. TIMEOUT: it did not answer in
    time. REFUSED: it does not want to draw this. PROVIDER_ERROR: it is not right, or not set up right, or what it
    sent is no picture. GAVE_UP: our own workers did not come to an end several times.
    """

    QUOTA_EXCEEDED = "QUOTA_EXCEEDED"
    TIMEOUT = "TIMEOUT"
    REFUSED = "REFUSED"
    PROVIDER_ERROR = "PROVIDER_ERROR"
    GAVE_UP = "GAVE_UP"


class ImageShape(StrEnum):
    """How a picture is cut: 1:1, 3:2 or 2:3."""

    SQUARE = "SQUARE"
    LANDSCAPE = "LANDSCAPE"
    PORTRAIT = "PORTRAIT"


UNFINISHED = text("status IN ('QUEUED', 'RUNNING')")
"""As in the index that makes it cheap."""

generations = Table(
    "image_generations",
    metadata,
    id_column(),
    client_column(),
    text_column("kind"),
    text_column("status", server_default=text("'QUEUED'")),
    text_column("prompt"),
    text_column("shape"),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    text_column("provider"),
    text_column("model"),
    text_column("requester_kind"),
    Column("requester_id", Id),
    Column("requested_at", Moment, nullable=False, server_default=NOW),
    Column("started_at", Moment),  # the last attempt
    Column("finished_at", Moment),
    Column("generation_ms", Integer),  # what the provider took
    Column("cost_usd", Double),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    Column("lease_until", Moment),  # until then somebody works on it, or it waits; after that it is sent again
    Column("retry_at", Moment),  # when the provider may be asked again
    text_column("failure_code", nullable=True),
    text_column("failure_message", nullable=True),
    Column("failure_retry_after", Integer),  # seconds, where the provider said so
    Column("image_id", Id, ForeignKey("images.id", ondelete="SET NULL")),
    CheckConstraint(one_of("kind", GenerationKind), name="kind"),
    CheckConstraint(one_of("status", GenerationStatus), name="status"),
    CheckConstraint(one_of("shape", ImageShape), name="shape"),
    CheckConstraint(one_of("failure_code", FailureCode), name="failure_code"),
    Index("ix_image_generations_client", "client_id", "id"),
    Index("ix_image_generations_client_status", "client_id", "status", "id"),
    Index("ix_image_generations_lease", "lease_until", postgresql_where=UNFINISHED),
    Index("ix_image_generations_image", "image_id", postgresql_where=text("image_id IS NOT NULL")),
)


class GenerationRow(Row):
    id: str
    client_id: str
    kind: str
    status: str
    prompt: str
    shape: str
    tags: list[str]
    provider: str
    model: str
    requester_kind: str
    requester_id: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    generation_ms: int | None
    cost_usd: float | None
    attempts: int
    retry_at: datetime | None
    failure_code: str | None
    failure_message: str | None
    failure_retry_after: int | None
    image_id: str | None
