"""Commands for devices, and what became of them."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import strawberry
from strawberry.scalars import JSON

from domain.device_commands.models import CommandStatus, CommandType
from domain.kit.scope import ActorKind
from schema.describe import enum, input_type, object_type
from schema.relation import relation

if TYPE_CHECKING:
    from schema.devices import Device

enum(CommandType)
enum(CommandStatus)
enum(ActorKind)


@object_type
class DeviceCommand:
    """Something that a device is to do, told to it when it wakes."""

    id: strawberry.ID
    type: CommandType
    name: str
    """What the device is told: `restart`, `captureNow`, `setWakeInterval`, or the name of a custom command."""
    arguments: JSON
    status: CommandStatus
    created_at: datetime
    """When it was sent."""
    expires_at: datetime
    """It is told to the device until then."""
    delivered_at: datetime | None
    """When the device was told of it first."""
    deliveries: int
    """How often the device was told."""
    finished_at: datetime | None
    """When it was confirmed, cancelled, or over."""
    message: str | None
    """What the device said of how it went."""
    sender_kind: ActorKind
    sender_id: strawberry.ID | None
    """Who sent it."""
    device_id: strawberry.Private[str]

    @relation
    async def device(self) -> Annotated["Device", strawberry.lazy("schema.devices")]:
        """The device that it is for."""


@input_type
class DeviceCommandFilter:
    """Which commands; all conditions must hold."""

    statuses: list[CommandStatus] | None = None
    """In any of these states."""
    types: list[CommandType] | None = None
    """Of any of these types."""


@input_type
class NewDeviceCommand:
    """A command to send."""

    type: CommandType
    name: str | None = None
    """Of a CUSTOM command, and of no other: what its firmware knows it by."""
    arguments: JSON | None = None
    """SET_WAKE_INTERVAL takes `{seconds}`, 10 seconds to 30 days; CUSTOM any JSON object of at most 4,096 bytes."""
    expires_in_seconds: int = 86_400
    """Until when it is told to the device: 10 seconds to 30 days from now on."""


@object_type
class DeviceCommandResult:
    """What became of sending a command to one of many devices: the command, or why there is none."""

    device_id: strawberry.ID
    command: DeviceCommand | None
    code: str | None
    """Such as NOT_FOUND or QUEUE_FULL."""
    message: str | None


@object_type
class SentDeviceCommands:
    """What became of sending a command to many devices."""

    queued: int
    """For how many devices it is queued now."""
    results: list[DeviceCommandResult]
    """One for each device, at most 1,000; of given ids in their order."""
