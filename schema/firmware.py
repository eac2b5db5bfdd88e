"""Firmware: artifacts, rollouts, and how far each device is."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry

from domain.firmware.models import FirmwareRow, RolloutRow, RolloutStatus, UpdateState
from domain.kit.scope import ActorKind
from schema.describe import computed, enum, input_type, object_type
from schema.nodes import Node
from schema.pages import Connection
from schema.relation import relation

if TYPE_CHECKING:
    from schema.devices import Device

enum(RolloutStatus)
enum(UpdateState, name="FirmwareUpdateState")
enum(ActorKind)


@object_type
class Firmware(Node):
    """An artifact that devices can install. `POST /v1/firmware` makes one."""

    version: str
    """What a device reports as `firmware` when it runs this; unique for a board."""
    board: str | None
    """The hardware that it is for; null is for any."""
    note: str | None
    sha256: str
    """In hex."""
    size_bytes: int
    created_at: datetime
    updated_at: datetime
    deleted_at: datetime | None
    """When it was deleted. Past rollouts still name it."""
    uploader_kind: ActorKind
    uploader_id: strawberry.ID | None
    """Who uploaded it."""
    is_esp32_image: strawberry.Private[bool]

    @computed("is_esp32_image")
    def warning(self) -> str | None:
        """What is odd about it, if anything is."""
        return firmware_warning(self.is_esp32_image)

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, FirmwareRow)


def firmware_warning(is_esp32_image: bool) -> str | None:
    """What to tell about an artifact that an ESP32 would not start."""
    if is_esp32_image:
        return None
    return "It does not begin with 0xE9, as images for an ESP32 do."


@object_type
class RolloutStage:
    """A part of a rollout: so many percent of its devices, those of the stages before it included."""

    percent: float
    minutes: int | None
    """When the next stage begins at the latest; null: not before all devices of this one have ended."""


@object_type
class RolloutProgress:
    """How many devices of a rollout are in each state."""

    pending: int
    offered: int
    downloading: int
    installed: int
    failed: int
    timed_out: int
    skipped: int
    cancelled: int


@object_type
class RolloutDevice:
    """A device in a rollout."""

    position: int
    """Stages take devices in this order."""
    state: UpdateState
    state_since: datetime
    attempts: int
    """How often it was offered the firmware, repetitions before a timeout not counted."""
    error: str | None
    """Why it did not install it."""
    ended_at: datetime | None
    """When there was nothing left to do for it."""
    device_id: strawberry.Private[str]

    @relation
    async def device(self) -> Annotated["Device", strawberry.lazy("schema.devices")]:
        """The device itself."""


@object_type
class Rollout(Node):
    """Firmware on its way to devices, in stages."""

    status: RolloutStatus
    reason: str | None
    """Why it is paused."""
    stage: int
    """Which of `stages` is under way, from 0 on."""
    stage_started_at: datetime
    stage_limit: int
    """How many devices the stage under way holds."""
    device_count: int
    """How many there are to offer it to in all; those that were skipped do not count."""
    failure_share: float
    """It stops by itself when a larger share of the devices that have ended did not install it."""
    timeout_minutes: int
    retries: int
    created_at: datetime
    finished_at: datetime | None
    creator_kind: ActorKind
    creator_id: strawberry.ID | None
    """Who began it."""
    firmware_id: strawberry.Private[str]

    @relation
    async def firmware(self) -> Firmware:
        """What it brings."""

    @relation
    async def stages(self) -> list[RolloutStage]:
        """Its stages, at most 21; the last one holds all devices."""

    @relation
    async def progress(self) -> RolloutProgress:
        """How far it is."""

    @relation
    async def devices(
        self, state: UpdateState | None = None, first: int = 20, after: str | None = None
    ) -> Connection[RolloutDevice]:
        """Its devices, in the order in which stages take them. `first` is at most 100."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, RolloutRow)


@object_type
class FirmwareUpdate:
    """How far a device is in the newest rollout that it is in."""

    state: UpdateState
    since: datetime
    attempts: int
    error: str | None
    version: str
    """The version that it is to run."""
    rollout: Rollout


@input_type
class FirmwareFilter:
    """Which artifacts; all conditions must hold."""

    client_id: strawberry.ID | None = None
    versions: list[str] | None = None
    """Any of these versions."""
    boards: list[str] | None = None
    """For any of these boards."""


@input_type
class RolloutFilter:
    """Which rollouts; all conditions must hold."""

    client_id: strawberry.ID | None = None
    firmware_id: strawberry.ID | None = None
    statuses: list[RolloutStatus] | None = None
    """In any of these states."""


@input_type
class NewRolloutStage:
    """A part of a rollout."""

    percent: float
    """More than that of the stage before it, up to 100."""
    minutes: int | None = None
    """When the next stage begins at the latest, up to 90 days; absent: when all devices of this one have ended."""


@input_type
class NewRollout:
    """Firmware to bring to devices: those of `deviceIds`, of `labels`, or `all` of the firmware's client."""

    firmware_id: strawberry.ID
    device_ids: list[strawberry.ID] | None = None
    """At most 1,000."""
    labels: list[str] | None = None
    """The devices that have all of these labels now."""
    all: bool = False
    stages: list[NewRolloutStage] = strawberry.field(default_factory=list)
    """At most 20; one of 100 percent follows when the last one is less."""
    failure_share: float = 0.1
    """0 to 1: it stops when a larger share of the devices that have ended did not install it."""
    timeout_minutes: int = 60
    """How long a device may take, beside one of its own wake intervals: up to 30 days."""
    retries: int = 2
    """How often a device that took too long is offered it again: 0 to 10."""
