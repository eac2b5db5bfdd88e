"""`POST /v1/firmware`: an artifact is streamed to the blob store while its hash is taken, then made known.

The body is the file; the query says what it is. The answer is given when bytes and row are safe.
"""

import asyncio
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from domain.firmware.commands import ESP32_MAGIC, Artifact, Labelled, add_firmware, blob_key, checked_label
from domain.firmware.models import FirmwareRow
from domain.kit.blobs import Staged
from domain.kit.errors import Invalid, Refusal, Unavailable
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.transactions import transaction
from domain.users.principals import Permission
from resolvers.context import Services
from schema.firmware import firmware_warning
from server.errors import HttpProblem
from server.routes.bodies import staging
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, nullable, obj
from server.routes.vitals import declared_sha256
from server.routes.words import DIGEST_HEADERS
from server.settings import Settings

_TYPE = "application/octet-stream"
_AT_ONCE = 4
_SAID = frozenset({"version", "board", "note", "clientId"})


class FirmwareRoutes:
    """The route, with the parts of the server that it uses."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self._max_bytes = settings.firmware_max_bytes
        self._services = services
        self._uploading = asyncio.Semaphore(_AT_ONCE)

    def routes(self) -> list[DeclaredRoute]:
        return [DeclaredRoute("POST", "/v1/firmware", self.post, _POST)]

    async def post(self, request: Request) -> Response:
        """201 with the new artifact, or 200 with the one that has this version, board and bytes already."""
        principal = await self._services.authenticator.principal(request.headers.get("authorization"))
        principal.demand(Permission.FIRMWARE_WRITE)
        self._check_head(request)
        declared = declared_sha256(request.headers)
        label = await self._label(request, principal.scope)
        if self._uploading.locked():
            raise Unavailable("Too many uploads at once.", code="BUSY", retry_after=5)
        async with self._uploading:
            artifact = await self._store(request, declared)
        row, known = await self._add(principal.scope, label, artifact)
        return _answer(row, 200 if known else 201)

    def _check_head(self, request: Request) -> None:
        content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if content_type != _TYPE:
            raise HttpProblem(415, "UNSUPPORTED_MEDIA_TYPE", f"Send the file as {_TYPE}.")
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            raise HttpProblem(411, "LENGTH_REQUIRED", "Say the length of the body in Content-Length.")
        if len(length) > 18 or int(length) > self._max_bytes:
            raise self._too_large()

    def _too_large(self) -> HttpProblem:
        return HttpProblem(413, "TOO_LARGE", f"Firmware has at most {self._max_bytes} bytes.")

    async def _label(self, request: Request, scope: Scope) -> Labelled:
        said = _said(request)
        async with transaction(self._services.database) as tx:
            return await checked_label(
                tx,
                scope,
                client_id=said.get("clientId"),
                version=said.get("version", ""),
                board=said.get("board"),
                note=said.get("note"),
            )

    async def _store(self, request: Request, declared: str | None) -> Artifact:
        firmware_id = new_id()
        hashes: list[str] = []

        def key(sha256: str) -> str:
            if declared not in (None, sha256):
                raise Invalid("The bytes do not have the digest that was sent.", code="DIGEST_MISMATCH")
            hashes.append(sha256)
            return blob_key(firmware_id, sha256)

        async with staging(self._services.blobs.stage()) as staged:
            first = await self._stream(request, staged)
            await staged.commit(key)
        (sha256,) = hashes
        return Artifact(firmware_id, blob_key(firmware_id, sha256), sha256, staged.size, first == ESP32_MAGIC)

    async def _stream(self, request: Request, staged: Staged) -> int:
        """Write the body away; returns its first byte."""
        first = None
        async for chunk in request.stream():
            if chunk:
                first = chunk[0] if first is None else first
                if staged.size + len(chunk) > self._max_bytes:
                    raise self._too_large()
                await staged.write(chunk)
        if first is None:
            raise Invalid("The body is empty: it is to be the file.", code="EMPTY")
        return first

    async def _add(self, scope: Scope, label: Labelled, artifact: Artifact) -> tuple[FirmwareRow, bool]:
        blobs = self._services.blobs
        try:
            async with transaction(self._services.database) as tx:
                row, known = await add_firmware(tx, scope, label, artifact)
        except Unavailable:
            raise  # perhaps it was committed all the same: a blob too many does no harm, one too few is a loss
        except Refusal:
            await blobs.delete_many([artifact.blob_key])
            raise
        if known:
            await blobs.delete_many([artifact.blob_key])
        return row, known


def _said(request: Request) -> dict[str, str]:
    """The query, in which each word may stand once. An empty one is as good as none."""
    said: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in _SAID:
            raise Invalid(f"What is `{name[:50]}`?", argument=name[:50])
        if name in said:
            raise Invalid(f"`{name}` is there twice.", argument=name)
        said[name] = value
    return {name: value for name, value in said.items() if value}


def _answer(row: FirmwareRow, status: int) -> Response:
    body: dict[str, Any] = {
        "firmwareId": row.id,
        "version": row.version,
        "board": row.board,
        "sha256": row.sha256,
        "sizeBytes": row.size_bytes,
        "warning": firmware_warning(row.is_esp32_image),
    }
    return Response(orjson.dumps(body), status, media_type="application/json")


_ARTIFACT = obj(
    "Artifact",
    firmwareId={"type": "string", "format": "uuid"},
    version={"type": "string"},
    board=nullable({"type": "string"}),
    sha256={"type": "string"},
    sizeBytes={"type": "integer", "minimum": 1},
    warning=nullable({"type": "string", "description": "Why this may be no image for an ESP32."}),
)
_POST = Declaration(
    tag="Firmware",
    summary="Upload firmware",
    description="The same version, board and bytes are one artifact. `Content-Length` is required.",
    parameters=[
        Parameter(
            name="version",
            where="query",
            description="What devices report as `firmware` when they run it.",
            schema={"type": "string", "minLength": 1, "maxLength": 100},
            required=True,
        ),
        Parameter(
            name="board",
            where="query",
            description="The hardware that it is for; without it, it is for any.",
            schema={"type": "string", "maxLength": 64},
        ),
        Parameter(
            name="note", where="query", description="For people.", schema={"type": "string", "maxLength": 2000}
        ),
        Parameter(
            name="clientId",
            where="query",
            description="Whose it is; needed from those who belong to no client.",
            schema={"type": "string", "format": "uuid"},
        ),
        *DIGEST_HEADERS,
    ],
    body=Body(content={_TYPE: {"type": "string", "format": "binary"}}, description="The file itself."),
    answers={
        201: Answer(description="It is on disk and can be rolled out.", content={"application/json": _ARTIFACT}),
        200: Answer(description="It was there already.", content={"application/json": _ARTIFACT}),
    },
    problems={
        404: ("NOT_FOUND",),
        409: ("VERSION_TAKEN",),
        411: ("LENGTH_REQUIRED",),
        413: ("TOO_LARGE",),
        415: ("UNSUPPORTED_MEDIA_TYPE",),
        422: ("BAD_USER_INPUT", "EMPTY", "DIGEST_MISMATCH"),
        503: ("UNAVAILABLE", "BUSY"),
    },
    secured=True,
)
