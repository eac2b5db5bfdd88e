"""`/media/…`: the bytes of the blob store, for whoever holds a signed link."""

import asyncio
import base64
import re
import time
from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response

from domain.images.models import VariantStatus
from domain.images.variants import ask_variant, variant_of_key, variant_status
from domain.kit.blobs import BlobStore, LinkSigner, content_type_of
from domain.kit.errors import Denied, Unavailable
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from server.routes.blobs import blob_answer
from server.routes.declared import Answer, Declaration, DeclaredRoute, Parameter
from server.routes.files import RANGE_PROBLEMS, RANGES

_HASHED = re.compile(r"firmware/[^/]+/([0-9a-f]{64})\.bin")
_WAIT = 8.0  # seconds that somebody waits for a variant to be made
_LOOK = 0.05  # seconds between two looks
_WAITING_AT_ONCE = 32  # per API process


class MediaRoutes:
    """Blobs never change under their key, so whoever has one may keep it as long as the link lives."""

    def __init__(self, store: BlobStore, signer: LinkSigner, variants: "Variants") -> None:
        self._store = store
        self._signer = signer
        self._variants = variants

    def routes(self) -> list[DeclaredRoute]:
        return [DeclaredRoute("GET", "/media/{key:path}", self.get, _GET)]

    async def get(self, request: Request) -> Response:
        """200, 206 for a Range, 304 for a known ETag; 403 when the link is over or was not made here."""
        key, query = request.path_params["key"], request.query_params
        left = self._signer.seconds_left(key, query.get("until", ""), query.get("signature", ""))
        if left <= 0:
            raise Denied("This link is over, or was never valid: ask for a new one.", code="LINK_EXPIRED")
        if (variant := variant_of_key(key)) and not await self._store.exists(key):
            await self._variants.made(*variant, is_there=lambda: self._store.exists(key))
        headers = {
            "ETag": f'"{key.rpartition("/")[2]}"',
            "Cache-Control": f"private, max-age={left}, immutable",
            "X-Content-Type-Options": "nosniff",
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cross-Origin-Resource-Policy": "cross-origin",
        }
        if hashed := _HASHED.fullmatch(key):
            headers["Repr-Digest"] = f"sha-256=:{base64.b64encode(bytes.fromhex(hashed[1])).decode()}:"
        if is_known(request.headers.get("if-none-match"), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return await blob_answer(request, self._store, key, headers=headers, media_type=content_type_of(key))


class Variants:
    """Waits for variants that somebody asks for first. A worker makes them; see `domain/images/variants.py`."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting = asyncio.Semaphore(_WAITING_AT_ONCE)

    async def made(self, image_id: str, name: str, *, is_there: Callable[[], Awaitable[bool]]) -> None:
        """Return when it is made, or never will be. Raises Unavailable when that takes too long."""
        if self._waiting.locked():
            raise Unavailable("Too many images are being made at once.", code="BUSY", retry_after=2)
        async with self._waiting:
            status = await variant_status(self._database, SYSTEM, image_id, name)
            # Looked at once more, as it may have been finished since: then its bytes are not gone.
            if status in (None, VariantStatus.FAILED) or (status is VariantStatus.READY and not await is_there()):
                async with transaction(self._database) as tx:
                    await ask_variant(tx, SYSTEM, image_id, name, gone=status is not None)
            deadline = time.monotonic() + _WAIT
            while time.monotonic() < deadline:
                status = await variant_status(self._database, SYSTEM, image_id, name)
                if status in (None, VariantStatus.READY, VariantStatus.FAILED):
                    return
                await asyncio.sleep(_LOOK)
        raise Unavailable("This size is still being made.", code="BUSY", retry_after=2)


def is_known(if_none_match: str | None, etag: str) -> bool:
    """Whether an `If-None-Match` header names this ETag."""
    if if_none_match is None:
        return False
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return etag in known or "*" in known


_TYPES = ("image/webp", "image/avif", "image/jpeg", "image/png", "application/octet-stream")
_BYTES = {media_type: {"type": "string", "format": "binary"} for media_type in _TYPES}
_KEPT = {"ETag": "Changes never: bytes do not change under their key.", "Cache-Control": "How long it may be kept."}
_GET = Declaration(
    tag="Media",
    summary="Fetch bytes by a signed link",
    description="The links come out of the API whole (`Image.url`): they are not for putting together.",
    parameters=[
        Parameter(name="key", where="path", description="May contain slashes."),
        Parameter(name="until", where="query", description="When the link ends.", required=True),
        Parameter(name="signature", where="query", description="Ours.", required=True),
        *RANGES,
        Parameter(name="If-None-Match", where="header", description="The ETag that the caller has."),
    ],
    answers={
        200: Answer(description="All of them.", content=_BYTES, headers=_KEPT),
        206: Answer(description="The range.", content=_BYTES, headers=_KEPT),
        304: Answer(description="The caller has them."),
    },
    problems={**RANGE_PROBLEMS, 403: ("LINK_EXPIRED",), 404: ("NOT_FOUND",), 503: ("UNAVAILABLE", "BUSY")},
)
