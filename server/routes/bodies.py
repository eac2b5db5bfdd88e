"""The image in a request's body, chunk by chunk: the raw body, or the `image` part of a multipart form; and where
bodies are staged.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from domain.images.formats import CONTENT_TYPES
from domain.kit.blobs import Staged
from domain.kit.errors import Invalid
from server.errors import HttpProblem

_OVERHEAD = 64 * 1024  # of a multipart form: boundaries, part headers and metadata
_MAX_METADATA = 16 * 1024


@asynccontextmanager
async def staging(staged: Staged) -> AsyncIterator[Staged]:
    """Discards what was staged unless it was committed without an error."""
    try:
        yield staged
    except BaseException:
        await staged.discard()
        raise


class ImageBody:
    """`metadata` is complete once `chunks` is exhausted."""

    def __init__(self, request: Request, max_bytes: int) -> None:
        """Raises HttpProblem 411, 413 or 415 for what can be refused before the body."""
        content_type, options = parse_options_header(request.headers.get("content-type", ""))
        self._type = content_type.decode("latin-1").lower()
        self._boundary = options.get(b"boundary")
        self._request = request
        self._max_bytes = max_bytes
        self.metadata: Mapping[str, Any] = {}
        self._check_type()
        self._check_length()

    @property
    def _is_form(self) -> bool:
        return self._type == "multipart/form-data"

    def _check_type(self) -> None:
        if self._is_form and not self._boundary:
            raise HttpProblem(415, "UNSUPPORTED_MEDIA_TYPE", "multipart/form-data needs a boundary.")
        if not self._is_form and self._type not in CONTENT_TYPES:
            accepted = ", ".join(CONTENT_TYPES)
            raise HttpProblem(415, "UNSUPPORTED_MEDIA_TYPE", f"Send {accepted}, or multipart/form-data.")

    def _check_length(self) -> None:
        declared = self._request.headers.get("content-length")
        if declared is None or not declared.isdigit():
            raise HttpProblem(411, "LENGTH_REQUIRED", "Say the length of the body in Content-Length.")
        if int(declared) > self._max_bytes + (_OVERHEAD if self._is_form else 0):
            raise self._too_large()

    def _too_large(self) -> HttpProblem:
        return HttpProblem(413, "TOO_LARGE", f"An image has at most {self._max_bytes} bytes.")

    async def chunks(self) -> AsyncIterator[bytes]:
        """The image's bytes. Raises Invalid for a malformed form, HttpProblem 413 for one that is too large."""
        taken = 0
        async for chunk in self._form() if self._is_form else self._request.stream():
            taken += len(chunk)
            if taken > self._max_bytes:
                raise self._too_large()
            if chunk:
                yield chunk

    async def _form(self) -> AsyncIterator[bytes]:
        parts = _Parts(self._boundary or b"")
        async for chunk in self._request.stream():
            for piece in parts.feed(chunk):
                yield piece
        parts.finish()
        self.metadata = parts.metadata()


class _Parts:
    """The parts `image` (handed on as it comes) and `metadata` (kept, it is small) of a form."""

    def __init__(self, boundary: bytes) -> None:
        self._image: list[bytes] = []
        self._metadata = bytearray()
        self._header = b""
        self._value = b""
        self._part = ""
        self._seen: set[str] = set()
        self._ended = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_name,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_part_data": self._data,
                "on_end": self._end,
            },
        )

    def feed(self, chunk: bytes) -> list[bytes]:
        """What the chunk holds of the image."""
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise Invalid(f"The form is malformed: {error}", code="BAD_FORM") from None
        image, self._image = self._image, []
        return image

    def finish(self) -> None:
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise Invalid(f"The form is malformed: {error}", code="BAD_FORM") from None
        if not self._ended:
            raise Invalid("The form does not end in its boundary.", code="BAD_FORM")
        if "image" not in self._seen:
            raise Invalid("The form has no part `image`.", code="BAD_FORM")

    def metadata(self) -> Mapping[str, Any]:
        if not self._metadata:
            return {}
        try:
            value = orjson.loads(self._metadata)
        except orjson.JSONDecodeError:
            value = None
        if not isinstance(value, dict):
            raise Invalid("`metadata` is not a JSON object.", code="BAD_FORM", argument="metadata")
        return value

    def _begin(self) -> None:
        self._part = ""

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            self._part = options.get(b"name", b"").decode("latin-1")
            if self._part in self._seen:
                raise Invalid(f"The form has two parts `{self._part}`.", code="BAD_FORM")
            self._seen.add(self._part)
        self._header = self._value = b""

    def _end(self) -> None:
        self._ended = True

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part == "image":
            self._image.append(data[start:end])
        elif self._part == "metadata":
            self._metadata += data[start:end]
            if len(self._metadata) > _MAX_METADATA:
                raise Invalid(f"`metadata` has at most {_MAX_METADATA} bytes.", code="BAD_FORM")
