"""What a device says of itself each time it wakes: vitals in, the next wake out.

Server time decides when a device was seen; what its own clock says is kept beside it, never believed.
"""

from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Float, SmallInteger, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.devices.models import devices
from domain.kit.errors import Denied, Invalid, NotFound
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement
from domain.kit.transactions import Transaction

_RANGES = {"battery_v": (0.0, 60.0), "battery_pct": (0.0, 100.0), "rssi": (-150, 20)}
_NAMES = {"battery_v": "batteryV", "battery_pct": "batteryPct", "rssi": "rssi", "firmware": "firmware"}
"""What callers and events call the vitals."""


@dataclass(frozen=True, slots=True)
class Vitals:
    """Volts, percent, dBm and a version; None is what the device did not say."""

    battery_v: float | None = None
    battery_pct: float | None = None
    rssi: int | None = None
    firmware: str | None = None

    def checked(self) -> "Vitals":
        """Itself. Raises Invalid naming the first value that is out of all reason."""
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                said = _NAMES[name]
                raise Invalid(f"{said} must be between {low} and {high}.", argument=said, given=value)
        if self.firmware is not None and not (len(self.firmware) <= 100 and self.firmware.isprintable()):
            raise Invalid("A firmware version has at most 100 printable characters.", argument="firmware")
        return self

    def as_event(self) -> dict[str, Any]:
        return {_NAMES[name]: value for name, value in asdict(self).items() if value is not None}


class ReportingDevice(Row):
    """A device that is held for the rest of the transaction while it reports."""

    id: str
    client_id: str
    key: str
    enabled: bool
    wake_interval_seconds: int


VITALS = {
    "battery_v": func.coalesce(bindparam("battery_v", type_=Float), devices.c.battery_v),
    "battery_pct": func.coalesce(bindparam("battery_pct", type_=Float), devices.c.battery_pct),
    "rssi": func.coalesce(bindparam("rssi", type_=SmallInteger), devices.c.rssi),
    "firmware": func.coalesce(bindparam("firmware", type_=TEXT), devices.c.firmware),
}
"""The assignments of an UPDATE that keeps what the device did not say."""

_HOLD = Statement(
    select(*(devices.c[name] for name in ReportingDevice.__annotations__))
    .where(devices.c.id == bindparam("device"), devices.c.deregistered_at.is_(None), visible(devices.c.client_id))
    .with_for_update(),
    ReportingDevice,
)
_SEEN = Statement(
    update(devices).where(devices.c.id == bindparam("device")).values(last_seen_at=func.now(), **VITALS)
)
_UPLOAD_FAILED = Statement(
    update(devices)
    .where(devices.c.id == bindparam("device"))
    .values(
        last_seen_at=func.now(),
        failed_uploads=devices.c.failed_uploads + 1,
        failures_in_a_row=devices.c.failures_in_a_row + 1,
        **VITALS,
    )
)


async def hold_reporting_device(tx: Transaction, scope: Scope, device_id: str) -> ReportingDevice:
    """The device, locked. Raises NotFound when it is gone, Denied when it is disabled."""
    device = await tx.one(_HOLD, device=device_id, scope=scope.client_id)
    if device is None:
        raise NotFound("There is no such device.", deviceId=device_id)
    if not device.enabled:
        raise Denied("This device is disabled.", code="DEVICE_DISABLED", key=device.key)
    return device


async def check_in(tx: Transaction, scope: Scope, device_id: str, vitals: Vitals) -> ReportingDevice:
    """Take note that a device woke and how it is."""
    device = await hold_reporting_device(tx, scope, device_id)
    await tx.all(_SEEN, device=device_id, **asdict(vitals.checked()))
    emit_check_in(tx, scope, device, vitals)
    return device


async def upload_failed(
    tx: Transaction, scope: Scope, device_id: str, vitals: Vitals, *, code: str, message: str
) -> None:
    """Count an upload that was refused for what it was (cut off, damaged, no image)."""
    device = await hold_reporting_device(tx, scope, device_id)
    await tx.all(_UPLOAD_FAILED, device=device_id, **asdict(vitals.checked()))
    tx.emit(
        scope,
        "device.upload_failed",
        client_id=device.client_id,
        subject=("Device", device.id),
        code=code,
        message=message,
    )


def emit_check_in(tx: Transaction, scope: Scope, device: ReportingDevice, vitals: Vitals) -> None:
    tx.emit(
        scope,
        "device.checked_in",
        client_id=device.client_id,
        subject=("Device", device.id),
        **vitals.as_event(),
    )
