"""Reading a browser's dump: which pictures are in which key, and what is wrong with the others. Pure.

A dump is a JSON object of strings, as `JSON.stringify(localStorage)` writes it. The key says what a picture is for:
`scene_dark_forest`, `game:item-sword`, `itemImages/3`. The value is a data URL, base64 without one, or JSON that
holds such texts at any depth, beside a `prompt` perhaps; a text in it may be JSON again, as redux-persist writes
it. Nothing is refused for its form where it can be
understood; what cannot be is told with its key, so that every key of the dump is accounted for.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

import orjson

from domain.images.formats import Completeness, NotAnImage
from domain.kit.errors import Invalid

MOST_KEYS = 5_000
MOST_PICTURES = 1_000
_DEEPEST = 20  # levels of JSON in a value, those of JSON in its texts among them
_OPENING = frozenset('{["')
_SHORTEST_JSON = 8  # characters: what is shorter holds no picture, and there may be millions of such texts
_LONGEST_NAME = 200
_KINDS = re.compile(
    r"(?:[\w.-]+?[:/_.-])??(?P<kind>scene|item)s?(?:[_-]?(?:images?|img|cache|data))?(?:[_:/.-]+(?P<name>.*))?",
    re.IGNORECASE | re.DOTALL,
)
_DATA_URL = re.compile(r"data:(?P<type>[^;,]*)(?P<parameters>(?:;[^;,]*)*),(?P<data>.*)", re.IGNORECASE | re.DOTALL)
_BARE = re.compile(r"\s*(?:/9j/|iVBORw0KGgo|UklGR)[A-Za-z0-9+/_\s-]{20,}={0,2}\s*")
_MEANINGLESS = re.compile(r"[0-9a-f-]{16,}|\d+|", re.IGNORECASE)  # a hash, a number, nothing
_PROMPTS = ("prompt", "description", "imagePrompt", "text", "title", "name")


class PictureKind(StrEnum):
    """What the key says that a picture is for."""

    SCENE = "SCENE"
    ITEM = "ITEM"
    OTHER = "OTHER"


@dataclass(frozen=True, slots=True)
class Picture:
    """`path` is where in the value it stands, such as `$.image`; `$` when it is the value. `prompt` is what it
    shows, as far as value or key tell. `data` is a whole JPEG, PNG or WebP file, though nobody has decoded it yet.
    """

    key: str
    path: str
    kind: PictureKind
    name: str
    prompt: str | None
    content_type: str
    data: bytes


@dataclass(frozen=True, slots=True)
class Unread:
    """A key, or a place in its value, without a picture to take. `wrong` tells apart what is lost from what never
    was a picture.
    """

    key: str
    path: str
    kind: PictureKind
    code: str
    message: str
    wrong: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """`picture_bytes` of one; `longest_prompt` characters, what is longer is cut."""

    picture_bytes: int
    longest_prompt: int


class _Wrong(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def read_dump(dump: Any, limits: Limits) -> list[Picture | Unread]:
    """Every picture of a dump, and every key without one, in the dump's order.

    `dump` is the object, or its JSON as text. Raises Invalid for what is neither, and for more than 5,000 keys or
    1,000 pictures.
    """
    found: list[Picture | Unread] = []
    pictures = 0
    for key, value in _object(dump).items():
        of_key = list(_of_key(key, value, limits))
        pictures += sum(isinstance(one, Picture) for one in of_key)
        if pictures > MOST_PICTURES:
            raise Invalid(
                f"A dump has at most {MOST_PICTURES} pictures: send it in parts.",
                code="TOO_MANY_PICTURES",
                argument="dump",
            )
        found += of_key
    return found


def _object(dump: Any) -> Mapping[str, Any]:
    if isinstance(dump, str):
        try:
            dump = orjson.loads(dump)
        except orjson.JSONDecodeError:
            dump = None
    if not isinstance(dump, dict):
        raise Invalid("A dump is a JSON object of strings.", code="BAD_DUMP", argument="dump")
    if len(dump) > MOST_KEYS:
        raise Invalid(
            f"A dump has at most {MOST_KEYS} keys.", code="TOO_MANY_KEYS", argument="dump", given=len(dump)
        )
    return dump


def _of_key(key: str, value: Any, limits: Limits) -> Iterator[Picture | Unread]:
    kind, name = _meaning(key)
    of_name = name if kind is PictureKind.SCENE and not _MEANINGLESS.fullmatch(name) else None
    some = False
    for path, text, prompt in _texts(_opened(value), "$", None, 0):
        if text is not None and not _looks_like_one(text, kind):
            continue
        some = True
        try:
            content_type, data = _decoded(text, limits)
        except _Wrong as wrong:
            yield Unread(key, path, kind, wrong.code, wrong.message, True)
        else:
            told = prompt or of_name
            yield Picture(key, path, kind, name, told and _clean(told, limits.longest_prompt), content_type, data)
    if not some and kind is PictureKind.OTHER:
        yield Unread(key, "$", kind, "NO_PICTURE", "There is no picture in this value.", False)
    elif not some:
        message = "The key promises a picture, and the value has none."
        yield Unread(key, "$", kind, "NO_PICTURE", message, True)


def _meaning(key: str) -> tuple[PictureKind, str]:
    """What a key is about, and its name for it in plain words."""
    found = _KINDS.fullmatch(key)
    kind = PictureKind(found["kind"].upper()) if found else PictureKind.OTHER
    name = (found["name"] or "") if found else key
    words = unquote(name, errors="replace") if "%" in name else name
    return kind, _clean(
        re.sub(r"[_+-]+", " ", words) if not _MEANINGLESS.fullmatch(words) else words, _LONGEST_NAME
    )


def _opened(value: Any) -> Any:
    """The value as JSON where it is some, else the text itself. Of JSON in JSON what is innermost.

    Each turn looks at a text that is shorter than the one before: by half where it is in quotes again.
    """
    while isinstance(value, str) and len(value) >= _SHORTEST_JSON and value.lstrip()[:1] in _OPENING:
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            break
    return value


def _texts(value: Any, path: str, prompt: str | None, depth: int) -> Iterator[tuple[str, str | None, str | None]]:
    """Every text in an opened value: where, what, and the prompt of the innermost object around it that has one.
    Where it is too deep to be looked into, what is None. Texts that are JSON are opened in their turn: a character
    is a part of the structure on one level only, so the time is that of reading the value once for each level.
    """
    if isinstance(value, str):
        yield path, value, prompt
    elif depth == _DEEPEST and isinstance(value, dict | list):
        yield path, None, prompt
    elif isinstance(value, dict):
        parts = {key: _opened(part) for key, part in value.items()}
        prompt = _prompt(parts) or prompt
        for key, part in parts.items():
            yield from _texts(part, f"{path}.{key[:50]}", prompt, depth + 1)
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from _texts(_opened(part), f"{path}[{number}]", prompt, depth + 1)


def _prompt(value: Mapping[str, Any]) -> str | None:
    for name in _PROMPTS:
        said = value.get(name)
        if isinstance(said, str) and said.strip() and not _looks_like_one(said, PictureKind.OTHER):
            return said
    return None


def _looks_like_one(text: str, kind: PictureKind) -> bool:
    start = text.lstrip()[:12].lower()
    if start.startswith(("data:", "blob:")) or _BARE.match(text):
        return True
    # An address is one only where the key promises a picture: any setting may hold an address.
    return kind is not PictureKind.OTHER and start.startswith(("http://", "https://"))


def _decoded(text: str | None, limits: Limits) -> tuple[str, bytes]:
    """The content type and bytes of a data URL or of bare base64."""
    if text is None:
        raise _Wrong(
            "TOO_DEEP", f"Here the value has more than {_DEEPEST} levels: what is below was not looked at."
        )
    text = text.strip()
    start = text[:8].lower()
    if start.startswith("blob:"):
        raise _Wrong("BLOB_URL", "A blob: address meant something in that browser only: its picture is not here.")
    if start.startswith("http"):
        raise _Wrong("REMOTE_URL", "This is an address, not a picture: it is not fetched.")
    encoded = text
    if start.startswith("data:"):
        encoded = _data_of(text)
    data = _unpacked(encoded, limits.picture_bytes)
    whole = Completeness()
    whole.feed(data)
    try:
        return whole.finish(), data
    except NotAnImage as error:
        raise _Wrong(error.code, f"This cannot be used: {error.message}.") from None


def _data_of(url: str) -> str:
    parts = _DATA_URL.fullmatch(url)
    if parts is None:
        raise _Wrong("BAD_DATA_URL", "The data URL has no comma.")
    media_type = parts["type"].strip().lower()
    if media_type and not media_type.startswith(("image/", "application/octet-stream")):
        raise _Wrong("NOT_AN_IMAGE", f"This is {media_type[:50]}, not an image.")
    if "base64" not in [word.strip().lower() for word in parts["parameters"].split(";")]:
        raise _Wrong("BAD_DATA_URL", "The data URL is not in base64.")
    data = parts["data"]
    return unquote(data) if "%" in data else data


def _unpacked(encoded: str, most: int) -> bytes:
    """Base64 in either alphabet, with or without its padding, broken into lines or not."""
    if len(encoded) > most * 4 // 3 + most // 16 + 100:
        raise _Wrong("TOO_LARGE", f"An image has at most {most} bytes.")
    plain = "".join(encoded.split()).rstrip("=").replace("-", "+").replace("_", "/")
    try:
        data = base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise _Wrong("BAD_BASE64", "The base64 is damaged.") from None
    if len(data) > most:
        raise _Wrong("TOO_LARGE", f"An image has at most {most} bytes.")
    return data


def _clean(text: str, longest: int) -> str:
    """In one line, without what prompts may not hold, and no longer than this."""
    return " ".join("".join(one if one.isprintable() else " " for one in text[: 2 * longest]).split())[:longest]
