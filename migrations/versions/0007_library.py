"""What a library of images needs: sources, deletion, tags and prompts to search by, sizes on demand."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY, TSVECTOR

from domain.kit.tables import Id

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

# Every name with its schema, because a restore runs without a search path. Punctuation is taken out of the text for
# the reason told in domain/devices/models.py; nothing that a person writes thus has the form `tag:…`, `client:…`.
_WORDS = """
CREATE FUNCTION image_words(client_id uuid, prompt text, tags text[]) RETURNS tsvector
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN CASE WHEN prompt IS NULL AND pg_catalog.cardinality(tags) = 0 THEN NULL ELSE
    pg_catalog.to_tsvector('pg_catalog.simple'::pg_catalog.regconfig, pg_catalog.translate(
        coalesce(prompt, '') || ' ' || pg_catalog.array_to_string(tags, ' '),
        '-_.:/@+&;=?~#<>''\\', '                 '))
    || pg_catalog.array_to_tsvector(pg_catalog.array_append(
        CASE WHEN pg_catalog.cardinality(tags) = 0 THEN '{}'::text[]
        ELSE pg_catalog.string_to_array(
            'tag:' || pg_catalog.array_to_string(tags, pg_catalog.chr(1) || 'tag:'), pg_catalog.chr(1)) END,
        'client:' || client_id::text)) END
"""


def upgrade() -> None:
    op.execute(_WORDS)
    _widen_images()
    _index_images()
    _create_tables()


def _widen_images() -> None:
    moment = sa.DateTime(timezone=True)
    op.drop_constraint(op.f("ck_images_source"), "images", type_="check")
    op.create_check_constraint(
        op.f("ck_images_source"), "images", "source IN ('DEVICE', 'UPLOAD', 'GENERATED', 'IMPORTED', 'CAMERA')"
    )
    op.add_column("images", sa.Column("uploaded_by", sa.Text()))
    op.add_column("images", sa.Column("deleted_at", moment))
    op.add_column("images", sa.Column("featured", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("images", sa.Column("tags", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("images", sa.Column("prompt", sa.Text()))
    op.add_column("images", sa.Column("uses", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
    op.add_column("images", sa.Column("last_used_at", moment))
    op.add_column("images", sa.Column("unchanged_since", moment))
    words = sa.Computed("image_words(client_id, prompt, tags)", persisted=True)
    op.add_column("images", sa.Column("search", TSVECTOR(), words))


def _index_images() -> None:
    deleted, posted = sa.text("deleted_at IS NOT NULL"), sa.text("device_id IS NULL")
    for name, columns, where in (
        ("ix_images_client_featured", ["client_id", "id"], sa.text("featured")),
        ("ix_images_client_unchanged", ["client_id", "id"], sa.text("unchanged_since IS NOT NULL")),
        ("ix_images_client_deleted", ["client_id", "id"], deleted),
        ("ix_images_deleted", ["deleted_at", "id"], deleted),
        ("ix_images_client_source", ["client_id", "source", "id"], sa.text("source <> 'DEVICE'")),
        ("ix_images_client_sha256", ["client_id", "sha256"], posted),
        ("ix_images_client_phash", ["client_id", "phash", "id"], sa.text("phash IS NOT NULL")),
    ):
        op.create_index(name, "images", columns, postgresql_where=where)
    op.create_index(
        "uq_images_uploaded_by_idempotency_key",
        "images",
        ["uploaded_by", "idempotency_key"],
        unique=True,
        postgresql_where=sa.text("device_id IS NULL AND idempotency_key IS NOT NULL"),
    )
    has_words = sa.text("search IS NOT NULL")
    op.create_index("ix_images_search", "images", ["search"], postgresql_using="gin", postgresql_where=has_words)


def _create_tables() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "image_variants",
        sa.Column("image_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'PENDING'"), nullable=False),
        sa.Column("blob_key", sa.Text()),
        sa.Column("size_bytes", sa.BigInteger()),
        sa.Column("width", sa.Integer()),
        sa.Column("height", sa.Integer()),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", moment),
        sa.Column("failure", sa.Text()),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "status IN ('PENDING', 'MAKING', 'READY', 'FAILED')", name=op.f("ck_image_variants_status")
        ),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f("fk_image_variants_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("image_id", "name", name=op.f("pk_image_variants")),
    )
    pending = sa.text("status IN ('PENDING', 'MAKING')")
    op.create_index("ix_image_variants_lease", "image_variants", ["lease_until"], postgresql_where=pending)
    op.create_table(
        "image_settings",
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("thumbnail_side", sa.SmallInteger()),
        sa.Column("preview_side", sa.SmallInteger()),
        sa.Column("unchanged_distance", sa.SmallInteger()),
        sa.Column("updated_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_image_settings_client_id")),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_image_settings")),
    )
