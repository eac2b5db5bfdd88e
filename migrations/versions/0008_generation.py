"""Pictures made by a model, and the cache of scenes."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.tables import Id

revision: str = "0008"
down_revision: str | None = "0007"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_SHAPES = "shape IN ('SQUARE', 'LANDSCAPE', 'PORTRAIT')"


def upgrade() -> None:
    _create_generations()
    _create_scenes()


def _create_generations() -> None:
    moment, table = sa.DateTime(timezone=True), "image_generations"
    op.create_table(
        table,
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), server_default=sa.text("'QUEUED'"), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("tags", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False),
        sa.Column("provider", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("requester_kind", sa.Text(), nullable=False),
        sa.Column("requester_id", Id()),
        sa.Column("requested_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("started_at", moment),
        sa.Column("finished_at", moment),
        sa.Column("generation_ms", sa.Integer()),
        sa.Column("cost_usd", sa.Double()),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", moment),
        sa.Column("retry_at", moment),
        sa.Column("failure_code", sa.Text()),
        sa.Column("failure_message", sa.Text()),
        sa.Column("failure_retry_after", sa.Integer()),
        sa.Column("image_id", Id()),
        sa.CheckConstraint("kind IN ('IMAGE', 'SCENE')", name=op.f(f"ck_{table}_kind")),
        sa.CheckConstraint("status IN ('QUEUED', 'RUNNING', 'READY', 'FAILED')", name=op.f(f"ck_{table}_status")),
        sa.CheckConstraint(_SHAPES, name=op.f(f"ck_{table}_shape")),
        sa.CheckConstraint(
            "failure_code IN ('QUOTA_EXCEEDED', 'TIMEOUT', 'REFUSED', 'PROVIDER_ERROR', 'GAVE_UP')",
            name=op.f(f"ck_{table}_failure_code"),
        ),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f(f"fk_{table}_client_id")),
        sa.ForeignKeyConstraint(
            ["image_id"], ["images.id"], name=op.f(f"fk_{table}_image_id"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f(f"pk_{table}")),
    )
    op.create_index(f"ix_{table}_client", table, ["client_id", "id"])
    op.create_index(f"ix_{table}_client_status", table, ["client_id", "status", "id"])
    unfinished, pictured = sa.text("status IN ('QUEUED', 'RUNNING')"), sa.text("image_id IS NOT NULL")
    op.create_index(f"ix_{table}_lease", table, ["lease_until"], postgresql_where=unfinished)
    op.create_index(f"ix_{table}_image", table, ["image_id"], postgresql_where=pictured)


def _create_scenes() -> None:
    moment = sa.DateTime(timezone=True)
    op.create_table(
        "scenes",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("cache_key", sa.Text(), nullable=False),
        sa.Column("prompt", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("generation_id", Id()),
        sa.Column("imported_image_id", Id()),
        sa.Column("hits", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("misses", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("created_at", moment, server_default=sa.text("now()"), nullable=False),
        sa.Column("last_hit_at", moment),
        sa.Column("expires_at", moment, nullable=False),
        sa.CheckConstraint(_SHAPES, name=op.f("ck_scenes_shape")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_scenes_client_id")),
        sa.ForeignKeyConstraint(
            ["generation_id"], ["image_generations.id"], name=op.f("fk_scenes_generation_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["imported_image_id"], ["images.id"], name=op.f("fk_scenes_imported_image_id"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scenes")),
        sa.UniqueConstraint("client_id", "cache_key", name=op.f("uq_scenes_client_id_cache_key")),
    )
    imported = sa.text("imported_image_id IS NOT NULL")
    op.create_index("ix_scenes_expiry", "scenes", ["expires_at"])
    op.create_index("ix_scenes_generation", "scenes", ["generation_id"])
    op.create_index("ix_scenes_imported_image", "scenes", ["imported_image_id"], postgresql_where=imported)


def downgrade() -> None:
    op.drop_table("scenes")
    op.drop_table("image_generations")
