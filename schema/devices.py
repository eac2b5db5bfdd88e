"""Devices: the battery cameras that photograph shelves."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated

import strawberry

from domain.devices.models import DeviceRow
from domain.devices.presence import PresenceState, StatusState
from schema.clients import Client
from schema.configs import DeviceConfig
from schema.describe import computed, enum, input_type, object_type
from schema.device_commands import DeviceCommand, DeviceCommandFilter
from schema.device_health import DeviceHealth, DevicePresence, DeviceTelemetry
from schema.firmware import FirmwareUpdate
from schema.images import Image, ImageFilter, ImageOrder
from schema.nodes import Node
from schema.pages import Connection
from schema.relation import relation
from schema.scalars import MacAddress


@enum
class DeviceOrder(StrEnum):
    """How devices are sorted. One that was never seen counts as the longest unseen."""

    KEY_ASC = "KEY_ASC"
    KEY_DESC = "KEY_DESC"
    NAME_ASC = "NAME_ASC"
    NAME_DESC = "NAME_DESC"
    CREATED_AT_ASC = "CREATED_AT_ASC"
    CREATED_AT_DESC = "CREATED_AT_DESC"
    LAST_SEEN_AT_ASC = "LAST_SEEN_AT_ASC"
    LAST_SEEN_AT_DESC = "LAST_SEEN_AT_DESC"


@object_type
class DeviceToken:
    """A device's token, as far as it may be shown again."""

    prefix: str
    """How the token begins, to tell it from others."""
    created_at: datetime


@object_type
class Device(Node):
    """A camera that sleeps most of the time, wakes, takes a photo, sends it and sleeps again."""

    key: str
    """The operator's own name for it, such as `pantry-cam-001`; unique within its client."""
    name: str
    mac: MacAddress | None
    """Its MAC address, as its operator said: the config of this MAC is its config."""
    board: str | None
    """Which hardware it is, such as `esp32-cam`: firmware for a board goes to devices of that board only."""
    labels: list[str]
    """Groups that it belongs to, in alphabetical order."""
    enabled: bool
    """A disabled device is refused when it reports."""
    wake_interval_seconds: int
    """How long it is told to sleep, in seconds."""
    created_at: datetime
    updated_at: datetime
    """When its operator last changed it; reports do not count."""
    deregistered_at: datetime | None
    """When it was taken out of service. Its images stay."""
    last_seen_at: datetime | None
    """When it last reported, by the server's clock."""
    battery_v: float | None
    """Battery voltage in volts, as last reported."""
    battery_pct: float | None
    """Battery charge in percent, as last reported."""
    rssi: int | None
    """Signal strength in dBm, as last reported; nearer to zero is better."""
    firmware: str | None
    """Firmware version, as last reported."""
    total_captures: int
    """Photos accepted so far, duplicates not counted."""
    failed_uploads: int
    """Uploads refused for what they were: cut off, damaged, or no image."""
    next_wake_at: datetime | None
    """When it is due again, by what it said of its sleep and the server's clock."""
    stays_awake: bool
    """Whether it said that it does not sleep."""
    reported_wake_interval_seconds: int | None
    """The interval that it runs, as it said; differs from `wakeIntervalSeconds` until it took that over."""
    reported_clock_at: datetime | None
    """What its own clock showed at its last report; the server's clock then is `lastSeenAt`."""
    marked_inactive_at: datetime | None
    """When it was found to have been unseen for long (14 days, unless set otherwise); null while it reports."""
    token_prefix: strawberry.Private[str | None]
    token_created_at: strawberry.Private[datetime | None]

    @relation
    async def status(self) -> StatusState:
        """Whether it works, at a glance."""

    @relation
    async def presence(self) -> DevicePresence:
        """Whether it is there, told by somebody who knows that it sleeps; as of now."""

    @relation
    async def health(self) -> DeviceHealth:
        """How well it does: uploads of the last 7 days, battery of the last 21."""

    @relation
    async def telemetry(
        self,
        from_: Annotated[datetime | None, strawberry.argument(name="from")] = None,
        to: datetime | None = None,
        points: int = 200,
    ) -> DeviceTelemetry:
        """What it measured, in about `points` (1 to 1,000) equal steps of at most 400 days; without times, of 7.

        At most 20,000 points of all devices of an answer together.
        """

    @computed("token_prefix", "token_created_at")
    def token(self) -> DeviceToken | None:
        """The device's token. The secret itself is shown only when it is made."""
        if self.token_prefix is None or self.token_created_at is None:
            return None
        return DeviceToken(prefix=self.token_prefix, created_at=self.token_created_at)

    @relation
    async def client(self) -> Client:
        """The client that it belongs to."""

    @relation
    async def config(self) -> DeviceConfig | None:
        """What it is to run and what it said of that; null when it has no config and never told of one."""

    @relation
    async def images(
        self,
        filter: ImageFilter | None = None,
        order: ImageOrder = ImageOrder.RECEIVED_AT_DESC,
        first: int = 20,
        after: str | None = None,
    ) -> Connection[Image]:
        """Its images, the newest first. `first` is at most 100."""

    @relation
    async def firmware_update(self) -> FirmwareUpdate | None:
        """How far it is in the newest rollout that it is in; null when it was never in one."""

    @relation
    async def commands(
        self, filter: DeviceCommandFilter | None = None, first: int = 20, after: str | None = None
    ) -> Connection[DeviceCommand]:
        """What it was told to do, the newest first. `first` is at most 100."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, DeviceRow)


@input_type
class DeviceFilter:
    """Which devices; all conditions must hold."""

    client_id: strawberry.ID | None = None
    keys: list[str] | None = None
    """Any of these keys."""
    enabled: bool | None = None
    search: str | None = None
    """Words, or beginnings of words, of the key or name."""
    seen_since: datetime | None = None
    """Seen at this time or later."""
    not_seen_since: datetime | None = None
    """Not seen since this time, or never."""
    presence: list[PresenceState] | None = None
    """In any of these states now."""
    status: list[StatusState] | None = None
    """Of any of these."""
    labels: list[str] | None = None
    """With all of these labels."""
    firmware: list[str] | None = None
    """Of any of these versions, as last reported."""
    battery_below: float | None = None
    """With a battery below so many percent, as last reported."""


@input_type
class NewDevice:
    """A device to register."""

    key: str
    """1 to 64 letters, digits, dots, colons, hyphens or underscores; unique within the client."""
    name: str | None = None
    """For people; the key when absent."""
    client_id: strawberry.ID | None = None
    """The client that it belongs to; the caller's own when absent. Admins must say."""
    wake_interval_seconds: int = 3600
    """How long it is to sleep between photos, 10 seconds to 30 days."""
    mac: MacAddress | None = None
    """Unique within the client. When absent, a key that is a MAC address is its MAC."""
    board: str | None = None
    """Which hardware it is: 1 to 64 letters, digits, dots, underscores or hyphens."""
    labels: list[str] = strawberry.field(default_factory=list)
    """Groups that it belongs to: at most 50, of 1 to 64 characters each."""


@input_type
class DeviceChanges:
    """What to change. What is absent stays as it is; only the MAC address and the board can be null."""

    name: str | None = strawberry.UNSET
    enabled: bool | None = strawberry.UNSET
    wake_interval_seconds: int | None = strawberry.UNSET
    """10 seconds to 30 days."""
    mac: MacAddress | None = strawberry.UNSET
    """Null takes it away."""
    board: str | None = strawberry.UNSET
    """Null takes it away."""
    labels: list[str] | None = strawberry.UNSET
    """All of them: what is not among these is taken away."""


@object_type
class DeviceWithToken:
    """A device with a token that was just made."""

    device: Device
    token: str
    """The secret. It is shown this once: write it into the device, or make a new one."""
