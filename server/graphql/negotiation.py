"""In which media type a request wants its answer, by its `Accept` header."""

from dataclasses import dataclass
from functools import lru_cache

RESPONSE_JSON = "application/graphql-response+json"
JSON = "application/json"
EVENT_STREAM = "text/event-stream"
HTML = "text/html"


@dataclass(frozen=True, slots=True)
class Accepted:
    """`media` is the kind of JSON to answer with, None where none is accepted; `stream` whether events are."""

    media: str | None
    stream: bool
    page: bool


@lru_cache(maxsize=256)
def accepted(accept: str) -> Accepted:
    """What an `Accept` header accepts; an empty one accepts JSON as it always was."""
    if not accept.strip():
        return Accepted(JSON, stream=False, page=False)
    qualities = _qualities(accept)
    rest = max(qualities.get("application/*", 0.0), qualities.get("*/*", 0.0))
    # A wildcard means what clients expected before there was a type for GraphQL.
    json = qualities.get(JSON, rest)
    response_json = qualities.get(RESPONSE_JSON, 0.0)
    media = None
    if json or response_json:
        media = RESPONSE_JSON if response_json >= json else JSON
    return Accepted(media, stream=qualities.get(EVENT_STREAM, 0.0) > 0, page=qualities.get(HTML, 0.0) > 0)


def _qualities(accept: str) -> dict[str, float]:
    qualities = {}
    for part in accept.split(","):
        name, *parameters = (piece.strip() for piece in part.split(";"))
        quality = 1.0
        for parameter in parameters:
            key, _, value = parameter.partition("=")
            if key.strip().lower() == "q":
                try:
                    quality = float(value)
                except ValueError:
                    quality = 0.0
        qualities[name.lower()] = quality
    return qualities


@lru_cache(maxsize=64)
def is_json(content_type: str) -> bool:
    """Whether a `Content-Type` says JSON, in UTF-8 or without a word about it."""
    name, *parameters = (piece.strip().lower() for piece in content_type.split(";"))
    charsets = [
        value.strip('"') for key, _, value in (one.partition("=") for one in parameters) if key == "charset"
    ]
    return name == JSON and all(charset in ("utf-8", "utf8") for charset in charsets)


@lru_cache(maxsize=64)
def accepts_gzip(accept_encoding: str) -> bool:
    """Whether an `Accept-Encoding` header accepts gzip."""
    qualities = _qualities(accept_encoding)
    return qualities.get("gzip", qualities.get("*", 0.0)) > 0
