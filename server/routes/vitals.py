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
_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]+=*):", re.IGNORECASE)
_SHA256_BYTES = 32
_LARGEST = 1 << 31
_YEARS = range(2, 9999)  # asyncpg takes the first and the last moment of a datetime for infinity


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
    # A Content-Digest is that of the whole body, which of a form is more than the image.
    is_form = headers.get("content-type", "").lower().startswith("multipart/")
    content_digest = None if is_form else headers.get("content-digest")
    return Report(vitals.checked(), _moment(said), _hash(said, content_digest))


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
    if not math.isfinite(number) or abs(number) > _LARGEST:
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
            moment = datetime.fromtimestamp(float(value), UTC)
        else:
            moment = datetime.fromisoformat(str(value))
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
        if moment.year not in _YEARS:
            raise ValueError(moment.year)
        return moment
    except (ValueError, OverflowError, OSError):
        raise Invalid("capturedAt is neither ISO 8601 nor seconds since 1970.", argument="capturedAt") from None


def _hash(said: Mapping[str, Any], content_digest: str | None) -> str | None:
    digest, value = _digest(content_digest), said.get("sha256")
    if value is None:
        return digest
    if not isinstance(value, str) or not re.fullmatch(r"[0-9A-Fa-f]{64}", value):
        raise Invalid("The SHA-256 has 64 hexadecimal digits.", argument="sha256")
    if digest not in (None, value.lower()):
        raise Invalid("Content-Digest and the SHA-256 contradict each other.", argument="sha256")
    return value.lower()


def _digest(header: str | None) -> str | None:
    """The SHA-256 of a Content-Digest (RFC 9530) in hex; None when it names other algorithms only."""
    if header is None or "sha-256" not in header.lower():
        return None
    try:
        found = _DIGEST.search(header)
        digest = base64.b64decode(found[1], validate=True) if found else b""
    except binascii.Error:
        digest = b""
    # One that cannot be read was meant as a check: to go on without it would break what the device relies on.
    if len(digest) != _SHA256_BYTES:
        raise Invalid("Content-Digest is not `sha-256=:…:` with 32 bytes of base64.", argument="Content-Digest")
    return digest.hex()
