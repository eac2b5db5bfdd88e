"""What a device says of itself and of its photo, read from headers or from a JSON object."""

import base64
import binascii
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from domain.devices.vitals import Vitals
from domain.devices.wakes import CommandResult, UpdateProgress, WakeReport
from domain.kit.errors import Invalid
from domain.kit.ids import is_id
from server.routes.words import LONGEST_MESSAGE, LONGEST_SLEEP, MAX_COMMANDS, MAX_VERSION, WORDS

_DIGEST = re.compile(r"sha-256=:([A-Za-z0-9+/]+=*):", re.IGNORECASE)
_SHA256_BYTES = 32
_LARGEST = 1 << 31
_YEARS = range(2, 9999)  # asyncpg takes the first and the last moment of a datetime for infinity


@dataclass(frozen=True, slots=True)
class Report:
    """What a device said of itself, and of its photo: `sha256` is hex, of the bytes as the device has them."""

    wake: WakeReport
    captured_at: datetime | None
    sha256: str | None


def read_report(headers: Mapping[str, str], metadata: Mapping[str, Any]) -> Report:
    """The report; what `metadata` says goes before the headers. Raises Invalid naming what is malformed."""
    said = {name: headers[one.header] for name, one in WORDS.items() if one.header in headers}
    said.update({key: value for key, value in metadata.items() if value is not None})
    version, error = _config(said, headers.get("x-config-version"))
    wake = WakeReport(
        vitals=_vitals(said),
        device_time=_moment(said, "deviceTime"),
        sleep_seconds=_bounded(said, "sleepSeconds", 0, LONGEST_SLEEP),
        wake_interval_seconds=_bounded(said, "wakeIntervalSeconds", 0, LONGEST_SLEEP),
        config_version=version,
        config_error=error,
        command_results=_command_results(said),
        update=_update(said),
    )
    return Report(wake, *_claims(headers, said))


def read_claims(headers: Mapping[str, str], said: Mapping[str, Any]) -> tuple[datetime | None, str | None]:
    """When a photo was taken and the SHA-256 of its bytes in hex, by anybody; `said` goes before the headers."""
    names = ("capturedAt", "sha256")
    return _claims(headers, {name: said.get(name, headers.get(WORDS[name].header)) for name in names})


def _claims(headers: Mapping[str, str], said: Mapping[str, Any]) -> tuple[datetime | None, str | None]:
    # A Content-Digest is that of the whole body, which of a form is more than the image.
    is_form = headers.get("content-type", "").lower().startswith("multipart/")
    content_digest = None if is_form else headers.get("content-digest")
    return _moment(said, "capturedAt"), _hash(said, content_digest)


def declared_sha256(headers: Mapping[str, str]) -> str | None:
    """The SHA-256, in hex, that the headers say of the body. Raises Invalid."""
    given = {"sha256": headers.get("x-content-sha256")}
    return _hash(given, headers.get("content-digest"))


def _vitals(said: Mapping[str, Any]) -> Vitals:
    return Vitals(
        battery_v=_number(said, "batteryV"),
        battery_pct=_number(said, "batteryPct"),
        rssi=_whole_number(said, "rssi"),
        firmware=_text(said, "firmware"),
        uptime_seconds=_whole_number(said, "uptimeSeconds"),
        free_heap_bytes=_whole_number(said, "freeHeapBytes"),
        boot_count=_whole_number(said, "bootCount"),
        reset_reason=_text(said, "resetReason"),
        temperature_c=_number(said, "temperatureC"),
    ).checked()


def _bounded(said: Mapping[str, Any], name: str, low: int, high: int) -> int | None:
    number = _whole_number(said, name)
    if number is not None and not low <= number <= high:
        raise Invalid(f"{name} must be between {low} and {high}.", argument=name, given=number)
    return number


def _config(said: Mapping[str, Any], header: str | None) -> tuple[int | None, str | None]:
    """The version of the config that the device runs, and why it refused that version, if it did."""
    config = said.get("config", {})
    if not isinstance(config, dict):
        raise Invalid("config is not an object.", argument="config")
    version = _bounded({"config.version": config.get("version", header)}, "config.version", 0, MAX_VERSION)
    error = _message(config, "error", "config.error")
    if error is not None and version is None:
        raise Invalid("config.error is said of a version: config.version is missing.", argument="config.version")
    return version, error


def _command_results(said: Mapping[str, Any]) -> tuple[CommandResult, ...]:
    commands = said.get("commands", [])
    if not (isinstance(commands, list) and all(isinstance(one, dict) for one in commands)):
        raise Invalid("commands is not a list of objects.", argument="commands")
    if len(commands) > MAX_COMMANDS:
        raise Invalid(f"At most {MAX_COMMANDS} commands are confirmed at once.", argument="commands")
    return tuple(_command_result(one, f"commands.{at}") for at, one in enumerate(commands))


def _command_result(said: Mapping[str, Any], where: str) -> CommandResult:
    command_id, status = said.get("id"), said.get("status")
    if not (isinstance(command_id, str) and is_id(command_id)):
        raise Invalid(f"{where}.id is not the id of a command.", argument=f"{where}.id")
    if status not in ("DONE", "FAILED"):
        raise Invalid(f"{where}.status is neither DONE nor FAILED.", argument=f"{where}.status")
    return CommandResult(command_id, status == "DONE", _message(said, "message", f"{where}.message"))


def _update(said: Mapping[str, Any]) -> UpdateProgress | None:
    update = said.get("update")
    if update is None:
        return None
    if not isinstance(update, dict):
        raise Invalid("update is not an object.", argument="update")
    version = _text({"update.version": update.get("version")}, "update.version")
    if not version or len(version) > 100:
        raise Invalid("update.version has 1 to 100 characters.", argument="update.version")
    if update.get("status") not in ("DOWNLOADING", "FAILED"):
        raise Invalid("update.status is neither DOWNLOADING nor FAILED.", argument="update.status")
    return UpdateProgress(version, update["status"] == "FAILED", _message(update, "error", "update.error"))


def _message(said: Mapping[str, Any], name: str, where: str) -> str | None:
    """Words of a device for people: cut to a length, without control characters."""
    text = _text({where: said.get(name)}, where)
    if text is None:
        return None
    return "".join(c if c.isprintable() else " " for c in text[:LONGEST_MESSAGE]).strip()


def _number(said: Mapping[str, Any], name: str) -> float | None:
    if said.get(name) is None:
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


def _moment(said: Mapping[str, Any], name: str) -> datetime | None:
    """ISO 8601 (UTC when it names no zone), or seconds since 1970, which is what small clocks have."""
    value = said.get(name)
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
        raise Invalid(f"{name} is neither ISO 8601 nor seconds since 1970.", argument=name) from None


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
