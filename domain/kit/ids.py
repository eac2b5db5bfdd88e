"""Identifiers: UUIDv7 strings, made here because PostgreSQL before 18 cannot.

They are strings from the database to the wire (see `sql.py` for the codec), so nothing converts them on
the way, and they sort by the time they were made.
"""

import os
import re
import time

from domain.kit.errors import Invalid

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")


_random: list[str] = []  # ends of ids, since each question to the kernel takes its time
os.register_at_fork(after_in_child=_random.clear)  # no two processes may use the same


def new_id() -> str:
    """A UUIDv7 (RFC 9562) in its canonical lower-case form: 48 bits of milliseconds, 74 random bits."""
    try:
        end = _random.pop()
    except IndexError:
        digits = os.urandom(19 * 64).hex()
        end, *ends = [_end(digits[start : start + 19]) for start in range(0, len(digits), 19)]
        _random.extend(ends)
    time_ = f"{time.time_ns() // 1_000_000:012x}"
    return f"{time_[:8]}-{time_[8:]}-{end}"


def _end(random: str) -> str:
    """The random part: version and variant, 18 digits and 2 bits of a nineteenth."""
    variant = "89ab"[int(random[18], 16) & 3]
    return f"7{random[:3]}-{variant}{random[3:6]}-{random[6:18]}"


def checked_id(value: str) -> str:
    """The id itself. Raises Invalid for what is none."""
    if not is_id(value):
        raise Invalid("This is not an id: ids are UUIDs.", given=value[:100])
    return value


def is_id(value: str) -> bool:
    """Whether the text is a UUID in canonical lower-case form."""
    return _UUID.fullmatch(value) is not None
