"""The words that devices use: what each is called in JSON and as a header, and what it may be.

`server/routes/vitals.py` reads by this table, and OpenAPI is told by it.
"""

from dataclasses import dataclass

from domain.devices.vitals import RANGES, SAID, TEXTS
from server.routes.declared import Parameter, Schema, nullable, obj

MAX_COMMANDS = 50
LONGEST_MESSAGE = 500
LONGEST_SLEEP = 90 * 86_400  # seconds
MAX_VERSION = 1 << 31


@dataclass(frozen=True, slots=True)
class Word:
    """`header` is in lower case."""

    header: str
    about: str
    schema: Schema

    @property
    def parameter(self) -> Parameter:
        name = "-".join(part.capitalize() for part in self.header.split("-"))
        return Parameter(name=name, where="header", description=self.about, schema=self.schema)

    @property
    def member(self) -> Schema:
        return {**self.schema, "description": self.about}


_SECONDS: Schema = {"type": "integer", "minimum": 0, "maximum": LONGEST_SLEEP}
_VERSION: Schema = {"type": "integer", "minimum": 0, "maximum": MAX_VERSION}
_SHA256: Schema = {"type": "string", "pattern": "^[0-9A-Fa-f]{64}$"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}


def _vital(name: str) -> Schema:
    if name in TEXTS:
        return {"type": "string", "maxLength": TEXTS[name]}
    low, high = RANGES[name]
    kind = "number" if isinstance(low, float) else "integer"
    return {"type": kind, "minimum": low, "maximum": high}


_VITALS = {
    "battery_v": "Volts.",
    "battery_pct": "Percent.",
    "rssi": "dBm.",
    "firmware": "The version that runs; nothing else confirms an update. Printable characters.",
    "uptime_seconds": "Seconds since it started.",
    "free_heap_bytes": "Bytes of free memory.",
    "boot_count": "How often it has started.",
    "reset_reason": "Why it started. Printable characters.",
    "temperature_c": "Degrees Celsius.",
}
_OF_WAKES = {
    **{SAID[name]: Word(f"x-{name.replace('_', '-')}", about, _vital(name)) for name, about in _VITALS.items()},
    "deviceTime": Word("x-device-time", "What its clock shows: ISO 8601, or seconds since 1970.", _MOMENT),
    "sleepSeconds": Word("x-sleep-seconds", "How long it will sleep now; 0 when it stays awake.", _SECONDS),
    "wakeIntervalSeconds": Word("x-wake-interval-seconds", "The interval that it runs.", _SECONDS),
}
_OF_PHOTOS = {
    "capturedAt": Word("x-captured-at", "When the photo was taken: as `deviceTime`.", _MOMENT),
    "sha256": Word("x-content-sha256", "SHA-256 of the file in hex; checked when it is there.", _SHA256),
}
WORDS = {**_OF_WAKES, **_OF_PHOTOS}
"""By the name in JSON: what may also come as a header."""

_REFUSAL: Schema = {"type": "string", "description": f"Cut to {LONGEST_MESSAGE} characters."}
_CONFIG = nullable(obj(None, ["version"], version=_VERSION, error=_REFUSAL))
_RESULT = obj(
    "CommandResult",
    ["id", "status"],
    id={"type": "string", "format": "uuid"},
    status={"enum": ["DONE", "FAILED"]},
    message=_REFUSAL,
)
_UPDATE = obj(
    "UpdateProgress",
    ["version", "status"],
    version={"type": "string", "minLength": 1, "maxLength": 100},
    status={"enum": ["DOWNLOADING", "FAILED"]},
    error=_REFUSAL,
)
_TOLD_IN_JSON: dict[str, Schema] = {
    "config": {**_CONFIG, "description": "The config that it runs, or was given and refuses (with `error`)."},
    "commands": {"type": "array", "items": _RESULT, "maxItems": MAX_COMMANDS},
    "update": _UPDATE,
}
REPORT = obj("Report", [], **{name: word.member for name, word in _OF_WAKES.items()}, **_TOLD_IN_JSON)
METADATA = obj("Metadata", [], **{name: word.member for name, word in WORDS.items()}, **_TOLD_IN_JSON)

_CONFIG_VERSION = Parameter(
    name="X-Config-Version", where="header", description="The version of the config that it runs.", schema=_VERSION
)
REPORT_HEADERS = (*(word.parameter for word in _OF_WAKES.values()), _CONFIG_VERSION)
DIGEST_HEADERS = (
    _OF_PHOTOS["sha256"].parameter,
    Parameter(
        name="Content-Digest",
        where="header",
        description="`sha-256=:<base64>:` of the body (RFC 9530); checked when the body is the file.",
    ),
)
PHOTO_CLAIMS = (
    _OF_PHOTOS["capturedAt"].parameter,
    *DIGEST_HEADERS,
    Parameter(
        name="Idempotency-Key",
        where="header",
        description="The same key with the same photo is one photo. Printable characters.",
        schema={"type": "string", "minLength": 1, "maxLength": 255},
    ),
)
PHOTO_HEADERS = (*REPORT_HEADERS, *PHOTO_CLAIMS)

ACCEPTED: dict[str, Schema] = {
    "imageId": {"type": "string", "format": "uuid"},
    "duplicate": {"type": "boolean", "description": "It was there already, and this is its id."},
    "restored": {"type": "boolean", "description": "It was there already, deleted, and no longer is."},
}

_COMMAND = obj(
    "Command",
    id={"type": "string"},
    type={"type": "string"},
    arguments={"type": "object"},
    expiresAt={"type": "string", "format": "date-time"},
)
_FIRMWARE = obj(
    "Firmware",
    version={"type": "string"},
    url={"type": "string", "format": "uri", "description": "Signed: needs no token, ends after a while."},
    sha256=_SHA256,
    sizeBytes={"type": "integer", "minimum": 1},
)
NEXT = obj(
    "Next",
    wakeInSeconds={"type": "integer", "minimum": 0, "description": "How long to sleep, as the operator set it."},
    configVersion={"type": ["integer", "null"]},
    config={"type": ["object", "null"], "description": "There when it differs from what the device said it runs."},
    commands={"type": "array", "items": _COMMAND, "description": "Until they are confirmed or have expired."},
    firmware=nullable(_FIRMWARE),
)
