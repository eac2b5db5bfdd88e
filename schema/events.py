"""Events: the log of everything that changed, and what subscriptions deliver of it."""

from datetime import datetime
from enum import StrEnum

import strawberry
from strawberry.scalars import JSON

from domain.events.queries import event_cursor
from schema.actors import ActorKind
from schema.configs import Config
from schema.describe import computed, enum, input_type, object_type
from schema.devices import Device
from schema.images import Image
from schema.nodes import Node
from schema.relation import relation


@enum
class SubjectKind(StrEnum):
    """What an event is about. SYSTEM is the platform itself."""

    CLIENT = "Client"
    USER = "User"
    DEVICE = "Device"
    IMAGE = "Image"
    FIRMWARE = "Firmware"
    ROLLOUT = "Rollout"
    CONFIG = "Config"
    CONFIG_TEMPLATE = "ConfigTemplate"
    SYSTEM = "System"


@object_type
class Event:
    """Something that changed. The log is append-only and has no gaps."""

    id: strawberry.ID
    type: str
    """`noun.happened`, such as `device.registered` or `image.ready`."""
    occurred_at: datetime
    client_id: strawberry.ID | None
    """Whose it is; null for the platform's own."""
    subject_kind: SubjectKind
    subject_id: strawberry.ID
    actor_kind: ActorKind
    actor_id: strawberry.ID | None
    """Who did it; null for the system itself."""
    data: JSON
    """What the change was; its keys depend on the type."""
    correlation_id: str | None
    """The `X-Request-ID` of the request that led to it."""
    position: strawberry.Private[int]

    @computed("position")
    def cursor(self) -> str:
        """Pass it as `after` to a subscription to resume behind this event, or to `events` to read on."""
        return event_cursor(self.position)

    @relation
    async def subject(self) -> Node | None:
        """What it is about, as it is now; null when it is gone."""


@input_type
class EventFilter:
    """Which events; all conditions must hold."""

    client_id: strawberry.ID | None = None
    types: list[str] | None = None
    """Any of these types."""
    subject_kind: SubjectKind | None = None
    subject_ids: list[strawberry.ID] | None = None
    """About any of these."""
    since: datetime | None = None
    """Recorded at this time or later."""
    until: datetime | None = None
    """Recorded before this time."""


@object_type
class DeviceUpdate:
    """A change of a device, with the device as it is now."""

    type: str
    """The event's type, such as `device.checked_in`."""
    position: strawberry.Private[int]

    @computed("position")
    def cursor(self) -> str:
        """Pass it as `after` to resume behind this update."""
        return event_cursor(self.position)

    @relation
    async def event(self) -> Event:
        """The event itself."""

    @relation
    async def device(self) -> Device | None:
        """The device as it is now."""


@object_type
class ImageUpdate:
    """A change of an image, with the image as it is now."""

    type: str
    """The event's type: `image.received`, `image.ready` or `image.rejected`."""
    position: strawberry.Private[int]

    @computed("position")
    def cursor(self) -> str:
        """Pass it as `after` to resume behind this update."""
        return event_cursor(self.position)

    @relation
    async def event(self) -> Event:
        """The event itself."""

    @relation
    async def image(self) -> Image | None:
        """The image as it is now."""


@object_type
class ConfigUpdate:
    """A change of a config, with the config as it is now. What a template changes is told of the template."""

    type: str
    """The event's type: `config.saved`, `config.deleted` or `config.restored`."""
    position: strawberry.Private[int]

    @computed("position")
    def cursor(self) -> str:
        """Pass it as `after` to resume behind this update."""
        return event_cursor(self.position)

    @relation
    async def event(self) -> Event:
        """The event itself."""

    @relation
    async def config(self) -> Config | None:
        """The config as it is now."""
