"""What a device says of itself and of its photo, read from headers or from a `metadata` object."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from domain.devices.reports import Vitals
from domain.kit.errors import Invalid

_HEADERS = {
    "x-battery-v": "batteryV",
    "x-battery-pct": "batteryPct",
    "x-rssi": "rssi",
    "x-firmware": "firmware",
    "x-captured-at": "capturedAt",
    "x-content-sha256": "sha256",
}
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/=]+):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Report:
    """`sha256` is hex, of the bytes as the device has them; None is what it did not say."""

    vitals: Vitals
    captured_at: datetime | None
    sha256: str | None


def read_report(headers: Mapping[str, str], metadata: Mapping[str, Any]) -> Report:
    """The report; what `metadata` says goes before the headers. Raises Invalid naming what is malformed."""
    said = {key: headers[name] for name, key in _HEADERS.items() if name in headers}
    said.update({key: value for key, value in metadata.items() if value is not None})
    vitals = Vitals(
        battery_v=_number(said, "batteryV"),
        battery_pct=_number(said, "batteryPct"),
        rssi=_whole_number(said, "rssi"),
        firmware=_text(said, "firmware"),
    )
    return Report(vitals.checked(), _moment(said), _hash(said, headers.get("content-digest")))


def _number(said: Mapping[str, Any], name: str) -> float | None:
    if name not in said:
        return None
    try:
        return float(said[name])
    except (TypeError, ValueError):
        raise Invalid(f"{name} is not a number.", argument=name) from None


def _whole_number(said: Mapping[str, Any], name: str) -> int | None:
    number = _number(said, name)
    if number is None:
        return None
    if not math.isfinite(number):
        raise Invalid(f"{name} is not a number.", argument=name)
    return round(number)


def _text(said: Mapping[str, Any], name: str) -> str | None:
    value = said.get(name)
    if value is not None and not isinstance(value, str):
        raise Invalid(f"{name} is not text.", argument=name)
    return value


def _moment(said: Mapping[str, Any]) -> datetime | None:
    """ISO 8601 (UTC when it names no zone), or seconds since 1970, which is what small clocks have."""
    value = said.get("capturedAt")
    if value is None:
        return None
    try:
        if str(value).replace(".", "", 1).isdigit():
            return datetime.fromtimestamp(float(value), UTC)
        moment = datetime.fromisoformat(str(value))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise Invalid("capturedAt is neither ISO 8601 nor seconds since 1970.", argument="capturedAt") from None


def _hash(said: Mapping[str, Any], content_digest: str | None) -> str | None:
    if content_digest is not None and (found := _DIGEST.search(content_digest)):
        try:
            return base64.b64decode(found[1], validate=True).hex()
        except binascii.Error:
            raise Invalid("Content-Digest is not base64.", argument="Content-Digest") from None
    value = said.get("sha256")
    if value is None:
        return None
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        raise Invalid("The SHA-256 has 64 hexadecimal digits.", argument="sha256")
    return value.lower()
