"""Configs: what devices are to run, its versions and templates, and what devices made of it."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from domain.configs.models import ConfigRow, TemplateRow
from schema.actors import ActorKind
from schema.clients import Client
from schema.describe import computed, enum, input_type, object_type
from schema.nodes import Node
from schema.pages import Connection
from schema.relation import relation
from schema.scalars import MacAddress

if TYPE_CHECKING:
    from schema.devices import Device


@enum
class ConfigOrder(StrEnum):
    """How configs are sorted. One without a device name comes before all others."""

    MAC_ASC = "MAC_ASC"
    MAC_DESC = "MAC_DESC"
    DEVICE_NAME_ASC = "DEVICE_NAME_ASC"
    DEVICE_NAME_DESC = "DEVICE_NAME_DESC"
    UPDATED_AT_ASC = "UPDATED_AT_ASC"
    UPDATED_AT_DESC = "UPDATED_AT_DESC"


@object_type
class ConfigVersion:
    """A config or a template as somebody saved it. Versions are kept for ever."""

    id: strawberry.ID
    number: int
    """1, 2, 3 …"""
    note: str | None
    """Why it was saved."""
    restores: int | None
    """The version that it brought back, when it was a rollback."""
    author_kind: ActorKind
    author_id: strawberry.ID | None
    """Who saved it; null for the system itself, such as an import."""
    created_at: datetime

    @relation
    async def content(self) -> JSON | None:
        """What was saved. Needs `configs:content`."""

    @relation
    async def extends(self) -> "ConfigTemplate | None":
        """The template that it extended, even if that was deleted since."""


@object_type
class ConfigTemplate(Node):
    """A named base. What is saved here reaches every config that extends it."""

    name: str
    version: int
    """How often it was saved: pass it as `expectedVersion`."""
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None

    @relation
    async def client(self) -> Client:
        """The client that it belongs to."""

    @relation
    async def content(self) -> JSON | None:
        """What it holds itself. Needs `configs:content`."""

    @relation
    async def effective(self) -> JSON | None:
        """What it is together with the templates above it. Needs `configs:content`."""

    @relation
    async def extends(self) -> "ConfigTemplate | None":
        """The template above it."""

    @relation
    async def versions(self, first: int = 20, after: str | None = None) -> Connection[ConfigVersion]:
        """Its versions, the newest first. `first` is at most 100."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, TemplateRow)


@object_type
class Config(Node):
    """What the device with a MAC address is to run: a JSON object, alone or on top of a template."""

    mac: MacAddress
    version: int
    """How often it was saved: pass it as `expectedVersion`."""
    revision: int
    """What a device reports when it runs what stands here now. It grows when that changes, by a template too."""
    device_name: str | None
    """`deviceName` of the effective content, at most 200 characters of it; null where that is no string."""
    device_entity_id: str | None
    """`deviceEntityId` of the effective content, likewise."""
    created_at: datetime
    updated_at: datetime
    """When it was saved, deleted or restored last."""
    revised_at: datetime
    """Since when there is this revision."""
    deleted_at: datetime | None
    enable_ota: bool | None = strawberry.field(name="enableOTA")
    """`enableOTA` of the effective content; null where that is not true or false."""

    @relation
    async def client(self) -> Client:
        """The client that it belongs to."""

    @relation
    async def device(self) -> Annotated["Device", strawberry.lazy("schema.devices")] | None:
        """The registered device that has this MAC address."""

    @relation
    async def content(self) -> JSON | None:
        """What it holds itself, its keys in the order in which they were saved. Needs `configs:content`."""

    @relation
    async def effective(self) -> JSON | None:
        """What the device gets: the templates, and its own content laid over them (RFC 7396). Needs
        `configs:content`."""

    @relation
    async def extends(self) -> ConfigTemplate | None:
        """The template that it extends."""

    @relation
    async def versions(self, first: int = 20, after: str | None = None) -> Connection[ConfigVersion]:
        """Its versions, the newest first. `first` is at most 100."""

    @relation
    async def version_at(self, number: int) -> ConfigVersion | None:
        """One version; null when there is none of this number."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, ConfigRow)


@object_type
class ConfigDiff:
    """What changed between two versions of a config."""

    before: ConfigVersion
    after: ConfigVersion
    patch: JSON
    """A JSON Patch (RFC 6902) that makes the content after of the content before."""


@object_type
class ConfigViolation:
    """A place at which a config does not satisfy a schema."""

    path: str
    """A JSON pointer into the effective content; empty for the whole."""
    message: str
    schema_path: str
    """A JSON pointer into the schema, to the rule that was broken."""


@object_type
class ConfigFailure:
    """A config that does not satisfy a schema."""

    id: strawberry.ID
    mac: MacAddress
    violations: list[ConfigViolation]
    """The first 20."""


@object_type
class ConfigSchemaReport:
    """How a client's configs stand to a schema."""

    schema: JSON
    applied: bool
    """Whether it is the client's schema from now on; false for a dry run."""
    checked: int
    """How many configs were looked at."""
    failed: int
    """How many of them do not satisfy it. They stay as they are until somebody changes them."""
    failures: list[ConfigFailure]
    """The first 100."""


@object_type
class ConfigSchema:
    """The JSON Schema (draft 2020-12) that the effective content of a client's new versions must satisfy."""

    schema: JSON
    updated_at: datetime


@object_type
class ConfigRefusal:
    """That a device would not run a config."""

    version: int
    """The revision that it refused."""
    error: str
    """Why, in the device's own words."""
    at: datetime


@object_type
class DeviceConfig:
    """What a device is to run, and what it said of it."""

    desired: int | None
    """The revision of its config; null when it has none (any more)."""
    reported_version: strawberry.Private[int | None]
    reported_at: datetime | None
    """When it first reported that."""
    offered_at: datetime | None
    """When it was first offered what it was offered last."""
    overdue_at: datetime | None
    """When it was found to have come three times without confirming what it was offered."""
    in_sync_since: strawberry.Private[datetime | None]
    revised_at: strawberry.Private[datetime | None]
    refused_version: strawberry.Private[int | None]
    refused_error: strawberry.Private[str | None]
    refused_at: strawberry.Private[datetime | None]

    @computed("reported_version")
    def reported(self) -> int | None:
        """The revision that it runs, as it last said."""
        return self.reported_version

    @computed("desired", "reported_version", "in_sync_since")
    def in_sync(self) -> bool:
        """Whether it runs what it is to run, as far as it said."""
        return _is_in_sync(self)

    @computed("desired", "reported_version", "in_sync_since", "revised_at", "reported_at")
    def since(self) -> datetime | None:
        """Since when it is in sync, or is not; null when it has no config."""
        if self.desired is None:
            return None
        if _is_in_sync(self):
            return self.in_sync_since
        return max((at for at in (self.revised_at, self.reported_at) if at is not None), default=None)

    @computed("refused_version", "refused_error", "refused_at")
    def refused(self) -> ConfigRefusal | None:
        """What it refused last, if it did not confirm another since."""
        if self.refused_version is None or self.refused_error is None or self.refused_at is None:
            return None
        return ConfigRefusal(version=self.refused_version, error=self.refused_error, at=self.refused_at)

    @relation
    async def config(self) -> Config | None:
        """The config itself."""


def _is_in_sync(row: DeviceConfig) -> bool:
    # Called with rows, which have the same attributes.
    return row.desired is not None and row.desired == row.reported_version and row.in_sync_since is not None


@input_type
class ConfigFilter:
    """Which configs; all conditions must hold."""

    client_id: strawberry.ID | None = None
    macs: list[MacAddress] | None = None
    """Any of these."""
    template_id: strawberry.ID | None = None
    """Those that extend this template themselves."""
    device_name: str | None = None
    """Exactly this name, in any case."""
    enable_ota: bool | None = strawberry.field(name="enableOTA", default=None)
    in_sync: bool | None = None
    """Whether a registered device runs the present revision, as it said itself."""
    search: str | None = None
    """Words, or beginnings of words, of the MAC, device name or entity id."""
    deleted: bool | None = None
    """True for those that are deleted, and no others."""
