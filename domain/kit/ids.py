"""Identifiers: UUIDv7 strings, made here because PostgreSQL before 18 cannot.

They are strings from the database to the wire (see `sql.py` for the codec), so nothing converts them on
the way, and they sort by the time they were made.
"""

import os
import re
import time

from domain.kit.errors import Invalid

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


def new_id() -> str:
    """A UUIDv7 (RFC 9562) in its canonical lower-case form: 48 bits of milliseconds, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    random = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 0x7 << 76 | (random >> 68) << 64 | 0b10 << 62 | random & ((1 << 62) - 1)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


def checked_id(value: str) -> str:
    """The id itself. Raises Invalid for what is none."""
    if not is_id(value):
        raise Invalid("This is not an id: ids are UUIDs.", given=value[:100])
    return value


def is_id(value: str) -> bool:
    """Whether the text is a UUID in canonical lower-case form."""
    return _UUID.fullmatch(value) is not None
