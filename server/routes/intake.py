"""Where photos come in: streamed to the blob store while their hash is taken and their ends are looked at.

How many at once, how large, and what makes them whole is the same for devices and for people; who they are, and
what becomes of the bytes that are safe, is their routes'. Nothing is decoded here.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Protocol, TypeVar

from starlette.requests import ClientDisconnect, Request

from domain.images.formats import Completeness, NotAnImage
from domain.images.uploads import Accepted, Upload, new_upload
from domain.kit.blobs import BlobStore, Staged
from domain.kit.errors import Invalid, Refusal, Unavailable
from server import metrics
from server.routes.bodies import ImageBody, staging
from server.settings import Settings


class Claims(Protocol):
    """What a sender says of its photo: when it was taken, and the SHA-256 of its bytes in hex."""

    @property
    def captured_at(self) -> datetime | None: ...
    @property
    def sha256(self) -> str | None: ...


C = TypeVar("C", bound=Claims)


class Intake:
    """One for each API process."""

    def __init__(self, settings: Settings, blobs: BlobStore) -> None:
        self._max_bytes = settings.upload_max_bytes
        self._blobs = blobs
        self._uploading = asyncio.Semaphore(settings.uploads_at_once)

    def body(self, request: Request) -> ImageBody:
        """The image of a request. Raises HttpProblem for what can be refused before it is read."""
        return ImageBody(request, self._max_bytes)

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Around an upload, from its first byte to its commit. Raises Unavailable BUSY when there are too many."""
        if self._uploading.locked():
            raise Unavailable("Too many uploads at once.", code="BUSY", retry_after=5)
        async with self._uploading:
            yield

    async def store(self, request: Request, body: ImageBody, read: Callable[[], C]) -> tuple[Upload, C]:
        """The image is durable; no row names it yet. `read` gives what is said of it, once the body was read.

        Raises NotAnImage (CUT_OFF and DIGEST_MISMATCH among its codes), HttpProblem, Invalid.
        """
        try:
            return await self._store(request.headers, body, read)
        except ClientDisconnect:
            raise NotAnImage("CUT_OFF", "the connection ended in the middle") from None

    async def _store(self, headers: Mapping[str, str], body: ImageBody, read: Callable[[], C]) -> tuple[Upload, C]:
        async with staging(self._blobs.stage()) as staged:
            content_type = await _stream(body.chunks(), staged)
            claims = read()
            idempotency_key = _idempotency_key(headers)
            uploads: list[Upload] = []

            def key(sha256: str) -> str:
                if claims.sha256 not in (None, sha256):
                    raise NotAnImage("DIGEST_MISMATCH", "the bytes do not have the digest that was sent")
                upload = new_upload(
                    content_type=content_type,
                    size=staged.size,
                    sha256=sha256,
                    device_captured_at=claims.captured_at,
                    idempotency_key=idempotency_key,
                )
                uploads.append(upload)
                return upload.blob_key

            await staged.commit(key)
        return uploads[0], claims

    @asynccontextmanager
    async def naming(self, upload: Upload) -> AsyncIterator[None]:
        """Around the transaction that writes the row: the bytes go again when that is refused."""
        try:
            yield
        except Unavailable:
            raise  # perhaps it was committed all the same: a blob too many is swept, one too few is a loss
        except Refusal:
            await self._blobs.delete_many([upload.blob_key])
            raise

    async def settle(self, upload: Upload, *, duplicate: bool) -> None:
        """After the commit: the bytes of a duplicate are there already."""
        if duplicate:
            await self._blobs.delete_many([upload.blob_key])
        else:
            metrics.upload_bytes.inc(upload.size)


def told(accepted: Accepted) -> dict[str, Any]:
    """What the sender of an image that was taken is told."""
    return {"imageId": accepted.image_id, "duplicate": accepted.duplicate, "restored": accepted.restored}


def unusable(error: NotAnImage) -> Invalid:
    """What the sender of such a file is told."""
    return Invalid(f"This cannot be used: {error.message}.", code=error.code)


async def _stream(chunks: AsyncIterator[bytes], staged: Staged) -> str:
    """Write an image away; returns its content type. Raises NotAnImage."""
    completeness = Completeness()
    async for chunk in chunks:
        completeness.feed(chunk)
        await staged.write(chunk)
    return completeness.finish()


def _idempotency_key(headers: Mapping[str, str]) -> str | None:
    key = headers.get("idempotency-key")
    if key is not None and not (1 <= len(key) <= 255 and key.isprintable()):
        raise Invalid("An Idempotency-Key has 1 to 255 printable characters.", code="BAD_IDEMPOTENCY_KEY")
    return key
