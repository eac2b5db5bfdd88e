"""Requests that no well-behaved client sends: written to the socket byte by byte."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

_PATIENCE = 15.0


@asynccontextmanager
async def sent(url: str, request: bytes) -> AsyncIterator[asyncio.StreamReader]:
    """The answer to these bytes; leaving cuts the connection."""
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(request)
        await writer.drain()
        yield reader
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer_to(url: str, request: bytes) -> tuple[int, bytes]:
    """The status, and all that follows it until the server closes or the body is complete."""
    async with sent(url, request) as reader:
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE)
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        length = int(lengths[0].partition(b":")[2]) if lengths else 0
        body = await asyncio.wait_for(reader.readexactly(length), _PATIENCE)
    return int(head.split()[1]), body


def request_head(method: str, path: str, **headers: str | int) -> bytes:
    """The head of a request. Underscores in names stand for hyphens."""
    lines = [f"{method} {path} HTTP/1.1", "Host: quartermaster"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode()
