"""Operations over server-sent events: a request each (the npm package `graphql-sse`, distinct connections mode).

A query or mutation is one `next` and the `complete` after it. A subscription's events wait, within bounds, for
the one task that sends them, joined to as large chunks as there are.
"""

import asyncio
from collections.abc import Sequence

import orjson
from graphql import OperationType
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from resolvers.context import Context
from server.connections import Connection, Connections
from server.frames import CONNECTION, FULL, ROOM, Stream
from server.graphql.documents import Rejected
from server.graphql.executor import Executor, Prepared, Watch
from server.graphql.fanout import Fanout
from server.graphql.group import SLOW_SUBSCRIBER, Batch, failure

_KEEP_ALIVE = 15.0  # seconds of silence after which a comment is sent, so that no proxy gives up
_HEADERS = {
    "content-type": "text/event-stream",
    "cache-control": "no-cache, no-transform",
    "x-accel-buffering": "no",
}
_COMPLETE = b"event: complete\r\ndata: \r\n\r\n"
_PING = b": ping\r\n\r\n"


async def stream(
    executor: Executor, fanout: Fanout, connections: Connections, ctx: Context, prepared: Prepared
) -> ASGIApp:
    """The response to an operation. Raises Rejected."""
    if prepared.kind is OperationType.SUBSCRIPTION:
        return _Subscription(await executor.watch(ctx, prepared), fanout, connections, ctx)
    return single((await executor.answer(ctx, prepared)).body)


def rejected(rejection: Rejected) -> Response:
    """The response to what is not executed."""
    return single(orjson.dumps({"errors": rejection.payload(), "data": None}))


def single(payload: bytes) -> Response:
    """The response of one result."""
    return Response(_events([payload]) + _COMPLETE, headers=_HEADERS)


def _events(payloads: Sequence[bytes]) -> bytes:
    return b"".join(b"event: next\r\ndata: " + payload + b"\r\n\r\n" for payload in payloads)


class _Subscription:
    """A stream of events: the response to a subscription, and the outlet of its events."""

    def __init__(self, watch: Watch, fanout: Fanout, connections: Connections, ctx: Context) -> None:
        self._watch = watch
        self._fanout = fanout
        self._connections = connections
        self._ctx = ctx
        self._waiting: list[bytes] = []
        self._unsent = 0
        self._written = asyncio.Event()
        self._sent = asyncio.Event()
        self._last: bytes | None = None  # what is sent at the end
        self._stream: Stream | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            member = await self._fanout.join(self._watch, self)
        except Exception as error:  # noqa: BLE001 - it gets its look there
            await single(failure(error))(scope, receive, send)
            return
        connection = Connection("sse", self._ctx.principal, self._ctx.authorization, self._close)
        self._connections.hold(connection)
        self._stream = scope.get("extensions", {}).get(CONNECTION)
        if self._stream is not None:
            self._stream.on_shutdown = self._stop
        gone = asyncio.create_task(_disconnected(receive), name="event stream")
        gone.add_done_callback(lambda _: self._stop())
        try:
            await self._send_all(send)
        finally:
            gone.cancel()
            member.leave()
            self._connections.release(connection)
            if self._stream is not None:
                self._stream.on_shutdown = None

    async def _send_all(self, send: Send) -> None:
        # Closed at the end, so that nothing else is on the connection when it is cut.
        headers = [(name.encode(), value.encode()) for name, value in (_HEADERS | {"connection": "close"}).items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while self._last is None:
            chunk = b"".join(self._waiting)
            self._waiting.clear()
            if chunk or await self._nothing_happens():
                await send({"type": "http.response.body", "body": chunk or _PING, "more_body": True})
                self._unsent -= len(chunk)
                self._sent.set()
        await send({"type": "http.response.body", "body": self._last})

    async def _nothing_happens(self) -> bool:
        """Wait until there is something to send, or return True after a while."""
        self._written.clear()
        try:
            async with asyncio.timeout(_KEEP_ALIVE):
                await self._written.wait()
        except TimeoutError:
            return True
        return False

    def _close(self, code: int, reason: str) -> None:
        error = {"message": "This subscription was ended by the server.", "extensions": {"code": reason}}
        self.end(orjson.dumps({"errors": [error]}))

    def _stop(self) -> None:
        self._finish(b"")

    def _finish(self, last: bytes) -> None:
        if self._last is None:
            self._last = last
            self._waiting.clear()
            self._written.set()

    # As an outlet.

    def is_full(self) -> bool:
        return self._unsent > FULL

    async def has_room(self) -> None:
        while self._unsent > ROOM:
            self._sent.clear()
            await self._sent.wait()

    def unsent(self) -> int:
        return self._unsent

    def write(self, batch: Batch) -> None:
        if self._last is None:
            events = batch.form("sse", _events)
            self._waiting.append(events)
            self._unsent += len(events)
            self._written.set()

    def end(self, payload: bytes) -> None:
        self._finish(_events([payload]) + _COMPLETE)
        if self._stream is not None:
            self._stream.cut_soon()  # unless it is read to its end by then

    def drop(self) -> None:
        self._close(1013, SLOW_SUBSCRIBER)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
