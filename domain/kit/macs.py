"""MAC addresses in one form: lower-case, six pairs, hyphens between them, as `a4-cf-12-0b-9e-01`.

People and tools write them in four ways; all are understood, one is kept and answered.
"""

import re
from typing import Any

from domain.kit.errors import Invalid

_PAIR, _QUAD = "[0-9A-Fa-f]{2}", "[0-9A-Fa-f]{4}"
_WRITTEN = re.compile(
    rf"{_PAIR}(?:-{_PAIR}){{5}}|{_PAIR}(?::{_PAIR}){{5}}|{_QUAD}\.{_QUAD}\.{_QUAD}|(?:{_PAIR}){{6}}"
)
_SEPARATORS = str.maketrans("", "", "-:.")


def mac_in(text: str) -> str | None:
    """The address in its one form, when the text is one: hyphens, colons, Cisco's dots or no separators."""
    if not _WRITTEN.fullmatch(text):
        return None
    digits = text.translate(_SEPARATORS).lower()
    return "-".join(digits[start : start + 2] for start in range(0, 12, 2))


def checked_mac(given: Any, argument: str = "mac") -> str:
    """The address in its one form. Raises Invalid, naming the argument, for what is none."""
    mac = mac_in(given) if isinstance(given, str) else None
    if mac is None:
        raise Invalid(
            "This is no MAC address: one is six pairs of hexadecimal digits, such as a4-cf-12-0b-9e-01.",
            argument=argument,
            given=str(given)[:100],
        )
    return mac
