"""The tables of configs and templates, of their versions, and of what devices made of them.

Two numbers count, for two readers. `version` counts what people saved: a config's own content and template. The
`revision` is what a device confirms: it is new whenever the *effective* content changes, by the config's own
change or by one of a template above it. Revisions come from one sequence, so that none is ever met twice, not
even when a device is given another config.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Computed,
    ForeignKey,
    Index,
    Integer,
    Sequence,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    literal_column,
    text,
)

from domain.kit.sql import Row
from domain.kit.tables import NOW, Id, Moment, OrderedJson, client_column, id_column, metadata, text_column

_LIVE = text("deleted_at IS NULL")
_SHOWN = 200  # characters of a name inside a config; an index takes no more than some kilobytes

config_revisions = Sequence("config_revisions", metadata=metadata)


def _read_text(key: str) -> str:
    return f"CASE WHEN json_typeof(effective -> '{key}') = 'string' THEN left(effective ->> '{key}', {_SHOWN}) END"


def _list_indexes(order: str, expression: TextClause) -> tuple[Index, Index]:
    return (
        Index(f"ix_configs_client_{order}", "client_id", expression, "id", postgresql_where=_LIVE),
        Index(f"ix_configs_all_{order}", expression, "id", postgresql_where=_LIVE),
    )


config_templates = Table(
    "config_templates",
    metadata,
    id_column(),
    client_column(),
    text_column("name"),
    Column("template_id", Id, ForeignKey("config_templates.id")),
    Column("version", Integer, nullable=False),
    Column("content", OrderedJson, nullable=False),
    Column("effective", OrderedJson, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    Column("deleted_at", Moment),
    Index("uq_config_templates_name", "client_id", text("lower(name)"), unique=True, postgresql_where=_LIVE),
    Index("ix_config_templates_client_name", "client_id", text("lower(name)"), "id", postgresql_where=_LIVE),
    Index("ix_config_templates_all_name", text("lower(name)"), "id", postgresql_where=_LIVE),
    Index("ix_config_templates_template_id", "template_id"),
)

configs = Table(
    "configs",
    metadata,
    id_column(),
    client_column(),
    text_column("mac"),
    Column("template_id", Id, ForeignKey("config_templates.id")),
    Column("version", Integer, nullable=False),
    Column("revision", BigInteger, nullable=False),
    Column("content", OrderedJson, nullable=False),
    Column("effective", OrderedJson, nullable=False),
    Column("device_name", Text, Computed(_read_text("deviceName"), persisted=True)),
    Column("device_entity_id", Text, Computed(_read_text("deviceEntityId"), persisted=True)),
    Column(
        "enable_ota",
        Boolean,
        Computed(
            "CASE WHEN json_typeof(effective -> 'enableOTA') = 'boolean'"
            " THEN (effective ->> 'enableOTA')::boolean END",
            persisted=True,
        ),
    ),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
    Column("revised_at", Moment, nullable=False, server_default=NOW),
    Column("deleted_at", Moment),
    CheckConstraint("mac ~ '^[0-9a-f]{2}(-[0-9a-f]{2}){5}$'", name="mac"),
    UniqueConstraint("client_id", "mac"),
    Index("ix_configs_template_id", "template_id", "id"),
    Index("ix_configs_deleted", "client_id", "mac", "id", postgresql_where=text("deleted_at IS NOT NULL")),
    *_list_indexes("mac", text("mac")),
    *_list_indexes("device_name", text("lower(coalesce(device_name, ''))")),
    *_list_indexes("updated", text("updated_at")),
)

_WORDS = (
    "to_tsvector('simple'::regconfig, translate({table}mac || ' ' || coalesce({table}device_name, '') || ' ' || "
    "coalesce({table}device_entity_id, ''), '-_.:/@+&;=?~#<>', '               '))"
)
SEARCHED: Any = literal_column(_WORDS.format(table="configs."))
Index("ix_configs_search", text(_WORDS.format(table="")), postgresql_using="gin", _table=configs)

# The versions of configs and of templates alike: `document_id` is of either. They are kept for ever.
config_versions = Table(
    "config_versions",
    metadata,
    id_column(),
    client_column(),
    Column("document_id", Id, nullable=False),
    Column("number", Integer, nullable=False),
    Column("content", OrderedJson, nullable=False),
    Column("template_id", Id, ForeignKey("config_templates.id")),
    Column("restores", Integer),
    text_column("note", nullable=True),
    text_column("author_kind"),
    Column("author_id", Id),
    Column("created_at", Moment, nullable=False, server_default=NOW),
    UniqueConstraint("document_id", "number"),
)

config_schemas = Table(
    "config_schemas",
    metadata,
    Column("client_id", Id, ForeignKey("clients.id"), primary_key=True),
    Column("schema", OrderedJson, nullable=False),
    Column("updated_at", Moment, nullable=False, server_default=NOW),
)

# What is known of a device's config. A row is written only when something in it changes, not at each wake.
device_config_states = Table(
    "device_config_states",
    metadata,
    Column("device_id", Id, ForeignKey("devices.id"), primary_key=True),
    client_column(),
    Column("reported_version", BigInteger),
    Column("reported_at", Moment),
    Column("offered_version", BigInteger),
    Column("offered_at", Moment),
    Column("in_sync_since", Moment),
    Column("overdue_at", Moment),
    Column("refused_version", BigInteger),
    text_column("refused_error", nullable=True),
    Column("refused_at", Moment),
    Index(
        "ix_device_config_states_offered",
        "offered_at",
        postgresql_where=text("in_sync_since IS NULL AND overdue_at IS NULL AND offered_at IS NOT NULL"),
    ),
)


class ConfigRow(Row):
    id: str
    client_id: str
    mac: str
    template_id: str | None
    version: int
    revision: int
    content: dict[str, Any]
    effective: dict[str, Any]
    device_name: str | None
    device_entity_id: str | None
    enable_ota: bool | None
    created_at: datetime
    updated_at: datetime
    revised_at: datetime
    deleted_at: datetime | None


class TemplateRow(Row):
    id: str
    client_id: str
    name: str
    template_id: str | None
    version: int
    content: dict[str, Any]
    effective: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None


class VersionRow(Row):
    id: str
    client_id: str
    document_id: str
    number: int
    content: dict[str, Any]
    template_id: str | None
    restores: int | None
    note: str | None
    author_kind: str
    author_id: str | None
    created_at: datetime


class SchemaRow(Row):
    client_id: str
    schema: Any
    updated_at: datetime


class DeviceConfigRow(Row):
    """A device's config and what the device made of it. `desired` is None where it has no config."""

    device_id: str
    config_id: str | None
    desired: int | None
    revised_at: datetime | None
    reported_version: int | None
    reported_at: datetime | None
    offered_at: datetime | None
    in_sync_since: datetime | None
    overdue_at: datetime | None
    refused_version: int | None
    refused_error: str | None
    refused_at: datetime | None
