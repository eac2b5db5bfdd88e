"""A blob as an answer, in whole or by `Range`, out of whichever store holds it.

One range at a time: who asks for several is given all, as HTTP allows. Files of this machine are `files.py`.
"""

import re
from collections.abc import AsyncIterator

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from domain.kit.blobs import BlobStore
from server.routes.files import refused_range

_RANGE = re.compile(r"bytes\s*=\s*(?:(\d{1,18})-(\d{0,18})|-(\d{1,18}))\s*", re.IGNORECASE | re.ASCII)


async def blob_answer(
    request: Request, store: BlobStore, key: str, *, headers: dict[str, str], media_type: str
) -> Response:
    """200, 206, 400 or 416; `headers` hold the ETag. Raises NotFound, Unavailable."""
    size = await store.size(key)
    asked = request.headers.get("range")
    if request.headers.get("if-range", headers["ETag"]) != headers["ETag"]:
        asked = None
    start, length, status = 0, size, 200
    if asked is not None and "," not in asked:
        if (bounds := _bounds(asked, size)) is None:
            return refused_range(400)
        start, end = bounds
        if start >= size or start > end:
            return refused_range(416 if start >= size else 400, size)
        length, status = end + 1 - start, 206
        headers = {**headers, "Content-Range": f"bytes {start}-{end}/{size}"}
    headers = {**headers, "Content-Length": str(length), "Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=media_type)
    body = await _begun(store.stream(key, start, length if status == 206 else None))
    return StreamingResponse(body, status, headers=headers, media_type=media_type)


def _bounds(asked: str, size: int) -> tuple[int, int] | None:
    """The first and the last byte; None for what is no range of bytes."""
    found = _RANGE.fullmatch(asked)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        return (max(size - int(suffix), 0) if int(suffix) else size), size - 1
    return int(first), min(int(last), size - 1) if last else size - 1


async def _begun(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The same, the first of them fetched: a store that refuses is told with its own status."""
    first = await anext(chunks, b"")

    async def all_of_them() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return all_of_them()
