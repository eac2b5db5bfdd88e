"""How a device says it is: volts, percent, dBm and the like, held to what can be."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from domain.kit.errors import Invalid

RANGES = {
    "battery_v": (0.0, 60.0),
    "battery_pct": (0.0, 100.0),
    "rssi": (-150, 20),
    "uptime_seconds": (0, 2**31 - 1),
    "free_heap_bytes": (0, 2**31 - 1),
    "boot_count": (0, 2**31 - 1),
    "temperature_c": (-100.0, 200.0),
}
TEXTS = {"firmware": 100, "reset_reason": 50}


@dataclass(frozen=True, slots=True)
class Vitals:
    """Volts, percent, dBm, a version, seconds, bytes, degrees Celsius; None is what the device did not say."""

    battery_v: float | None = None
    battery_pct: float | None = None
    rssi: int | None = None
    firmware: str | None = None
    uptime_seconds: int | None = None
    free_heap_bytes: int | None = None
    boot_count: int | None = None
    reset_reason: str | None = None
    temperature_c: float | None = None

    def checked(self) -> "Vitals":
        """Itself. Raises Invalid naming the first value that is out of all reason."""
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                said = SAID[name]
                raise Invalid(f"{said} must be between {low} and {high}.", argument=said, given=value)
        for name, most in TEXTS.items():
            text = getattr(self, name)
            if text is not None and not (len(text) <= most and text.isprintable()):
                raise Invalid(f"{SAID[name]} has at most {most} printable characters.", argument=SAID[name])
        return self

    def as_event(self) -> dict[str, Any]:
        return {SAID[name]: value for name, value in asdict(self).items() if value is not None}


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)


SAID = {field.name: _camel(field.name) for field in fields(Vitals)}
"""What devices and events call the vitals."""
