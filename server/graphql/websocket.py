"""graphql-transport-ws: operations over a WebSocket, by the protocol of the npm package `graphql-ws`.

Every message goes out as a ready frame (`server/frames.py`), so their order is that of the calls. A socket is
read one message after the other, and not while it does not read itself. Beginning a subscription is part of
that: what comes after `subscribe` finds it live. Queries and mutations run beside it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import structlog
from graphql import GraphQLError, OperationType
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send
from strawberry.http.websocket_origin import is_same_origin, normalize_allowed_origins, normalize_origin

from domain.kit.errors import Refusal, Unavailable
from resolvers.context import Context
from server.connections import FORBIDDEN, Connection, Connections
from server.errors import graphql_error
from server.frames import CONNECTION, Frames, text_header
from server.graphql.documents import Rejected
from server.graphql.executor import Executor, Prepared
from server.graphql.fanout import Fanout
from server.graphql.group import SLOW_SUBSCRIBER, Batch, Member, failure
from server.graphql.request import BadRequest, GraphQLRequest, request_of
from server.settings import Settings

_log = structlog.get_logger(__name__)

_PROTOCOL = "graphql-transport-ws"
_INIT_WITHIN = 10.0  # seconds
_OPERATIONS = 20  # that a socket may have at once
_TRY_AGAIN_LATER = 1013


class _Violation(Exception):
    """Something after which the protocol closes the socket."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class WebSocketEndpoint:
    """The ASGI app for sockets at `/graphql`. Needs `server.frames.WebSocketProtocol` beneath it."""

    def __init__(
        self,
        executor: Executor,
        fanout: Fanout,
        connections: Connections,
        settings: Settings,
        make_context: Callable[[HTTPConnection], Context],
    ) -> None:
        self.executor = executor
        self.fanout = fanout
        self.connections = connections
        self._allowed_origins = normalize_allowed_origins(settings.allowed_origins)
        self._make_context = make_context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        frames: Frames | None = scope.get("extensions", {}).get(CONNECTION)
        if frames is None:
            raise RuntimeError("sockets need uvicorn with server.frames.WebSocketProtocol, as in server/api.py")
        await receive()
        handshake = HTTPConnection(scope)
        if not self._may_connect(handshake.headers):
            await send({"type": "websocket.close"})  # before it was accepted: the answer is 403
            return
        known = _PROTOCOL in scope["subprotocols"]
        await send({"type": "websocket.accept", "subprotocol": _PROTOCOL if known else None})
        if known:
            await _Socket(self, frames, self._make_context(handshake)).run(receive)
        else:
            frames.hang_up(4406, "Subprotocol not acceptable")

    def _may_connect(self, headers: Headers) -> bool:
        # Browsers let any page open a socket to anywhere, and say which page it is.
        origin = headers.get("origin")
        if origin is None or headers.get("sec-fetch-site") == "same-origin":
            return True
        if is_same_origin(origin, headers.get("host")) or "*" in self._allowed_origins:
            return True
        if normalize_origin(origin) in self._allowed_origins:
            return True
        _log.warning("a socket from another origin was refused: see QM_ALLOWED_ORIGINS", origin=origin)
        return False


class _Socket:
    """One connection, from its acceptance to its end."""

    __slots__ = (
        "_closed",
        "_connection",
        "_init_received",
        "_timer",
        "context",
        "endpoint",
        "frames",
        "operations",
    )

    def __init__(self, endpoint: WebSocketEndpoint, frames: Frames, context: Context) -> None:
        self.endpoint = endpoint
        self.frames = frames
        self.context = context
        self.operations: dict[str, _Operation] = {}
        self._connection: Connection | None = None  # once it was acknowledged
        self._init_received = False
        self._closed = False
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(_INIT_WITHIN, self.close, 4408, "Connection initialisation timeout")

    async def run(self, receive: Receive) -> None:
        try:
            while not self._closed:
                message = await receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._handle(message)
                await self.frames.writable.wait()
        except _Violation as violation:
            self.close(violation.code, violation.reason)
        finally:
            self._timer.cancel()
            for operation in tuple(self.operations.values()):
                operation.stop()
            if self._connection is not None:
                self.endpoint.connections.release(self._connection)

    def say(self, message: dict[str, Any]) -> None:
        text = orjson.dumps(message)
        self.frames.write_frames(text_header(len(text)) + text)

    def close(self, code: int, reason: str) -> None:
        self._closed = True
        self.frames.hang_up(code, reason)

    async def _handle(self, message: Message) -> None:
        content = _decoded(message)
        match content.get("type"):
            case "connection_init":
                await self._init(content)
            case "ping":
                self.say({"type": "pong"})
            case "pong":
                pass
            case "subscribe":
                await self._subscribe(_id_of(content), content.get("payload"))
            case "complete":
                if operation := self.operations.get(_id_of(content)):
                    operation.stop()
            case _:
                raise _Violation(4400, "Unknown message type")

    async def _init(self, content: dict[str, Any]) -> None:
        self._timer.cancel()
        payload = content.get("payload", {})
        if not isinstance(payload, dict):
            raise _Violation(4400, "Invalid connection init payload")
        if self._init_received:
            raise _Violation(4429, "Too many initialisation requests")
        self._init_received = True
        await self._authenticate(payload)
        self.say({"type": "connection_ack"})

    async def _authenticate(self, payload: dict[str, Any]) -> None:
        """The credential comes as `authorization` (or `Authorization`) in the payload, else in the handshake."""
        context = self.context
        given = {name.lower(): value for name, value in payload.items()}
        authorization = given.get("authorization", context.authorization)
        if authorization is not None and not isinstance(authorization, str):
            raise _Violation(FORBIDDEN, "Forbidden")
        try:
            context.principal = await context.services.authenticator.principal(authorization)
        except Unavailable as refusal:
            raise _Violation(_TRY_AGAIN_LATER, refusal.code) from None
        except Refusal:
            raise _Violation(FORBIDDEN, "Forbidden") from None
        context.authorization = authorization
        self._connection = Connection("websocket", context.principal, authorization, self.close)
        self.endpoint.connections.hold(self._connection)

    async def _subscribe(self, id: str, payload: Any) -> None:
        try:
            request = request_of(payload)
        except BadRequest as error:
            raise _Violation(4400, error.message) from None
        if self._connection is None:
            raise _Violation(4401, "Unauthorized")
        if id in self.operations:
            raise _Violation(4409, "Subscriber for this id already exists")
        if len(self.operations) >= _OPERATIONS:
            limit = GraphQLError("Subscription limit reached", extensions={"code": "TOO_MANY_REQUESTS"})
            self.say({"id": id, "type": "error", "payload": [graphql_error(limit).formatted]})
            return
        operation = self.operations[id] = _Operation(self, id)
        await operation.begin(request)


class _Operation:
    """One operation of a socket; if it is a subscription, the outlet of its events."""

    __slots__ = ("_id", "_member", "_quoted", "_socket", "_task")

    def __init__(self, socket: _Socket, id: str) -> None:
        self._socket = socket
        self._id = id
        self._quoted = orjson.dumps(id)[1:-1]
        self._member: Member | None = None
        self._task: asyncio.Task[None] | None = None

    async def begin(self, request: GraphQLRequest) -> None:
        socket, executor = self._socket, self._socket.endpoint.executor
        context = replace(socket.context, loaders={}, applied=False)  # what is loaded is of one operation
        try:
            prepared = await executor.prepare(context, request)
            if prepared.kind is OperationType.SUBSCRIPTION:
                watch = await executor.watch(context, prepared)
                self._member = await socket.endpoint.fanout.join(watch, self)
            else:
                self._task = asyncio.create_task(self._answer(context, prepared), name="operation of a socket")
        except Rejected as rejected:
            self._reject(rejected)
        except Exception as error:  # noqa: BLE001 - this operation is told, the others go on
            self.end(failure(error))

    def stop(self) -> None:
        """End it without a word."""
        self._socket.operations.pop(self._id, None)
        if self._member is not None:
            self._member.leave()
        if self._task is not None:
            self._task.cancel()

    async def _answer(self, context: Context, prepared: Prepared) -> None:
        try:
            answer = await self._socket.endpoint.executor.answer(context, prepared)
            await self._socket.frames.writable.wait()
            self.end(answer.body)
        except Rejected as rejected:
            self._reject(rejected)
        except Exception as error:  # noqa: BLE001 - as above
            self.end(failure(error))

    def _reject(self, rejected: Rejected) -> None:
        del self._socket.operations[self._id]
        self._socket.say({"id": self._id, "type": "error", "payload": rejected.payload()})

    # As an outlet.

    def is_full(self) -> bool:
        return not self._socket.frames.writable.is_set()

    async def has_room(self) -> None:
        await self._socket.frames.writable.wait()

    def unsent(self) -> int:
        return self._socket.frames.unsent()

    def write(self, batch: Batch) -> None:
        length = len(self._quoted)
        between = batch.form(length, lambda payloads: _between_ids(payloads, length))
        self._socket.frames.write_frames(self._quoted.join(between))

    def end(self, payload: bytes) -> None:
        del self._socket.operations[self._id]
        between = _between_ids([payload], len(self._quoted))
        self._socket.frames.write_frames(self._quoted.join(between))
        self._socket.say({"id": self._id, "type": "complete"})

    def drop(self) -> None:
        self._socket.close(_TRY_AGAIN_LATER, SLOW_SUBSCRIBER)


def _between_ids(payloads: Sequence[bytes], id_length: int) -> list[bytes]:
    """The frames of `next` messages in pieces, between which stands the operation's id.

    Lengths in frames depend on the length of the id alone, so that all subscribers with ids as long share the
    pieces, and their frames are one `join`.
    """
    head, middle, tail = b'{"id":"', b'","type":"next","payload":', b"}"
    around = len(head) + id_length + len(middle) + len(tail)
    before = [text_header(around + len(payload)) + head for payload in payloads]
    after = [middle + payload + tail for payload in payloads]
    return [before[0], *map(bytes.__add__, after[:-1], before[1:]), after[-1]]


def _decoded(message: Message) -> dict[str, Any]:
    text = message.get("text")
    if text is None:
        raise _Violation(4400, "WebSocket message type must be text")
    try:
        content = orjson.loads(text)
    except orjson.JSONDecodeError:
        raise _Violation(4400, "WebSocket message must be valid JSON") from None
    if not isinstance(content, dict):
        raise _Violation(4400, "Failed to parse message")
    return content


def _id_of(content: dict[str, Any]) -> str:
    id = content.get("id")
    if not isinstance(id, str):
        raise _Violation(4400, "Failed to parse message")
    return id
