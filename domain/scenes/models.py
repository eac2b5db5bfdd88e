"""The table of scenes: which picture answers which request, until when, and how often it did."""

from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger, CheckConstraint, Column, ForeignKey, Index, Table, UniqueConstraint, text

from domain.generation.models import ImageShape
from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, client_column, id_column, metadata, one_of, text_column


class SceneCache(StrEnum):
    """HIT: the picture is there, or is being made for somebody who asked before. MISS: it is made for this
    request.
    """

    HIT = "HIT"
    MISS = "MISS"


scenes = Table(
    "scenes",
    metadata,
    id_column(),
    client_column(),
    text_column("cache_key"),  # SHA-256 in hex of what decides how it looks
    text_column("prompt"),  # as it was asked for first
    text_column("shape"),
    # Where the picture comes from: a generation, or an image that was imported. The other one is null.
    Column("generation_id", Id, ForeignKey("image_generations.id", ondelete="CASCADE")),
    Column("imported_image_id", Id, ForeignKey("images.id", ondelete="CASCADE")),
    Column("hits", BigInteger, nullable=False, server_default=text("0")),
    Column("misses", BigInteger, nullable=False, server_default=text("0")),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("last_hit_at", Moment),
    Column("expires_at", Moment, nullable=False),
    UniqueConstraint("client_id", "cache_key"),
    CheckConstraint(one_of("shape", ImageShape), name="shape"),
    Index("ix_scenes_expiry", "expires_at"),
    Index("ix_scenes_generation", "generation_id"),
    Index("ix_scenes_imported_image", "imported_image_id", postgresql_where=text("imported_image_id IS NOT NULL")),
)


class SceneRow(Row):
    """`image_id` is that of the generation or of the import; None until there is one."""

    id: str
    client_id: str
    prompt: str
    shape: str
    generation_id: str | None
    image_id: str | None
    hits: int
    misses: int
    created_at: datetime
    last_hit_at: datetime | None
    expires_at: datetime
