"""Configs: templates, versions, schemas, and what devices made of them."""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from domain.kit.tables import Id, OrderedJson

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

_LIVE = sa.text("deleted_at IS NULL")
_SEARCHED = (
    "to_tsvector('simple'::regconfig, translate(mac || ' ' || coalesce(device_name, '') || ' ' || "
    "coalesce(device_entity_id, ''), '-_.:/@+&;=?~#<>', '               '))"
)


def _moment(name: str, *, now: bool = False) -> sa.Column:
    if now:
        return sa.Column(name, sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    return sa.Column(name, sa.DateTime(timezone=True))


def _text_in(key: str) -> sa.Computed:
    text = f"CASE WHEN json_typeof(effective -> '{key}') = 'string' THEN left(effective ->> '{key}', 200) END"
    return sa.Computed(text, persisted=True)


def upgrade() -> None:
    op.execute(sa.schema.CreateSequence(sa.Sequence("config_revisions")))
    _templates()
    _configs()
    op.create_table(
        "config_versions",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("document_id", Id(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("content", OrderedJson(), nullable=False),
        sa.Column("template_id", Id()),
        sa.Column("restores", sa.Integer()),
        sa.Column("note", sa.Text()),
        sa.Column("author_kind", sa.Text(), nullable=False),
        sa.Column("author_id", Id()),
        _moment("created_at", now=True),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_config_versions_client_id")),
        sa.ForeignKeyConstraint(
            ["template_id"], ["config_templates.id"], name=op.f("fk_config_versions_template_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_versions")),
        sa.UniqueConstraint("document_id", "number", name=op.f("uq_config_versions_document_id_number")),
    )
    op.create_table(
        "config_schemas",
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("schema", OrderedJson(), nullable=False),
        _moment("updated_at", now=True),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_config_schemas_client_id")),
        sa.PrimaryKeyConstraint("client_id", name=op.f("pk_config_schemas")),
    )
    _states()


def _templates() -> None:
    op.create_table(
        "config_templates",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("template_id", Id()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", OrderedJson(), nullable=False),
        sa.Column("effective", OrderedJson(), nullable=False),
        _moment("created_at", now=True),
        _moment("updated_at", now=True),
        _moment("deleted_at"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_config_templates_client_id")),
        sa.ForeignKeyConstraint(
            ["template_id"], ["config_templates.id"], name=op.f("fk_config_templates_template_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_config_templates")),
    )
    name = sa.literal_column("lower(name)")
    table, live = "config_templates", {"postgresql_where": _LIVE}
    op.create_index("uq_config_templates_name", table, ["client_id", name], unique=True, **live)
    op.create_index("ix_config_templates_client_name", table, ["client_id", name, "id"], **live)
    op.create_index("ix_config_templates_all_name", table, [name, "id"], **live)
    op.create_index("ix_config_templates_template_id", table, ["template_id"])


def _configs() -> None:
    op.create_table(
        "configs",
        sa.Column("id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("mac", sa.Text(), nullable=False),
        sa.Column("template_id", Id()),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("content", OrderedJson(), nullable=False),
        sa.Column("effective", OrderedJson(), nullable=False),
        sa.Column("device_name", sa.Text(), _text_in("deviceName")),
        sa.Column("device_entity_id", sa.Text(), _text_in("deviceEntityId")),
        sa.Column(
            "enable_ota",
            sa.Boolean(),
            sa.Computed(
                "CASE WHEN json_typeof(effective -> 'enableOTA') = 'boolean'"
                " THEN (effective ->> 'enableOTA')::boolean END",
                persisted=True,
            ),
        ),
        _moment("created_at", now=True),
        _moment("updated_at", now=True),
        _moment("revised_at", now=True),
        _moment("deleted_at"),
        sa.CheckConstraint("mac ~ '^[0-9a-f]{2}(-[0-9a-f]{2}){5}$'", name=op.f("ck_configs_mac")),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_configs_client_id")),
        sa.ForeignKeyConstraint(["template_id"], ["config_templates.id"], name=op.f("fk_configs_template_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_configs")),
        sa.UniqueConstraint("client_id", "mac", name=op.f("uq_configs_client_id_mac")),
    )
    op.create_index("ix_configs_template_id", "configs", ["template_id", "id"])
    op.create_index(
        "ix_configs_deleted",
        "configs",
        ["client_id", "mac", "id"],
        postgresql_where=sa.text("deleted_at IS NOT NULL"),
    )
    for order, expression in (
        ("mac", "mac"),
        ("device_name", "lower(coalesce(device_name, ''))"),
        ("updated", "updated_at"),
    ):
        column, live = sa.literal_column(expression), {"postgresql_where": _LIVE}
        op.create_index(f"ix_configs_client_{order}", "configs", ["client_id", column, "id"], **live)
        op.create_index(f"ix_configs_all_{order}", "configs", [column, "id"], **live)
    op.create_index("ix_configs_search", "configs", [sa.literal_column(_SEARCHED)], postgresql_using="gin")


def _states() -> None:
    op.create_table(
        "device_config_states",
        sa.Column("device_id", Id(), nullable=False),
        sa.Column("client_id", Id(), nullable=False),
        sa.Column("reported_version", sa.BigInteger()),
        _moment("reported_at"),
        sa.Column("offered_version", sa.BigInteger()),
        _moment("offered_at"),
        _moment("in_sync_since"),
        _moment("overdue_at"),
        sa.Column("refused_version", sa.BigInteger()),
        sa.Column("refused_error", sa.Text()),
        _moment("refused_at"),
        sa.ForeignKeyConstraint(["client_id"], ["clients.id"], name=op.f("fk_device_config_states_client_id")),
        sa.ForeignKeyConstraint(["device_id"], ["devices.id"], name=op.f("fk_device_config_states_device_id")),
        sa.PrimaryKeyConstraint("device_id", name=op.f("pk_device_config_states")),
    )
    op.create_index(
        "ix_device_config_states_offered",
        "device_config_states",
        ["offered_at"],
        postgresql_where=sa.text("in_sync_since IS NULL AND overdue_at IS NULL AND offered_at IS NOT NULL"),
    )
