"""What a config may hold, and how one is laid over another. Nothing here knows of a database.

Content is a JSON object that every reader has to be able to read again: PostgreSQL, JavaScript and a
microcontroller. So what only some of them know (NUL, halves of surrogate pairs, NaN, integers beyond 64 bits) is
refused, with the place where it stands.
"""

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson

from domain.kit.errors import Invalid

MAX_BYTES = 64 * 1024
MAX_DEPTH = 20
MAX_VALUES = 4096
_INTEGERS = range(-(2**63), 2**64)


class Content(NamedTuple):
    """A checked object, and the text that is kept of it. Equal texts are equal contents, their order included."""

    value: dict[str, Any]
    text: str


def checked_content(given: Any, *, argument: str = "content", noun: str = "A config") -> Content:
    """Content that can be kept. Raises Invalid, with a JSON pointer `path` to what cannot."""
    if not isinstance(given, dict):
        raise Invalid(f"{noun} is a JSON object.", argument=argument)
    for count, (path, value) in enumerate(_walk(given)):
        if count > MAX_VALUES:
            raise Invalid(f"{noun} has at most {MAX_VALUES} values.", argument=argument)
        if reason := _unusable(value):
            raise Invalid(f"{noun} cannot hold {reason}.", argument=argument, path=_shown(path))
        if path.count("/") > MAX_DEPTH:
            raise Invalid(f"{noun} is nested at most {MAX_DEPTH} deep.", argument=argument, path=_shown(path))
    return _sized(given, argument, noun)


def merged(base: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """The patch laid over the base, by JSON Merge Patch (RFC 7396): objects are merged, null removes.

    Keys of the base keep their places, new ones follow in the patch's order.
    """
    result = dict(base)
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            below = result.get(key)
            result[key] = merged(below if isinstance(below, dict) else {}, value)
        else:
            result[key] = value
    return result


def effective_content(base: dict[str, Any] | None, own: Content) -> Content:
    """What comes of a config or template under the effective content of its base, if it has one.

    Without a base it is the content as it is, nulls included. Raises Invalid when it becomes too large.
    """
    if base is None:
        return own
    return _sized(merged(base, own.value), "content", "What a config and its templates are together")


def pointer(path: Any) -> str:
    """A JSON pointer (RFC 6901) to the place at this path of keys and positions."""
    return "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in path)


def _sized(value: dict[str, Any], argument: str, noun: str) -> Content:
    text = orjson.dumps(value)
    if len(text) > MAX_BYTES:
        raise Invalid(f"{noun} has at most {MAX_BYTES} bytes.", argument=argument, bytes=len(text))
    return Content(value, text.decode())


def _shown(path: str) -> str:
    return path.encode(errors="replace").decode()[:500]


def _walk(value: Any) -> Iterator[tuple[str, Any]]:
    """Every value, and every key, with its pointer. Iterative, because nesting has no limit yet."""
    waiting = [("", value)]
    while waiting:
        path, value = waiting.pop()
        yield path, value
        if isinstance(value, dict):
            for key, below in value.items():
                at = f"{path}/{key.replace('~', '~0').replace('/', '~1')}"
                if not key.isascii() or "\0" in key:
                    yield at, key
                waiting.append((at, below))
        elif isinstance(value, list):
            waiting.extend((f"{path}/{index}", below) for index, below in enumerate(value))


def _unusable(value: Any) -> str | None:
    if isinstance(value, str):
        if "\0" in value:
            return "the NUL character"
        if not value.isascii() and any("\ud800" <= character <= "\udfff" for character in value):
            return "half of a surrogate pair"
    elif isinstance(value, float) and not math.isfinite(value):
        return "NaN or an infinity"
    elif isinstance(value, int) and value not in _INTEGERS:
        return "an integer beyond 64 bits"
    return None
