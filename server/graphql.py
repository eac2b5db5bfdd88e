"""GraphQL on the wire: Strawberry's view for HTTP, WebSocket and server-sent events, made ours.

What is added to it: who the caller is, limits on what a request may bring, refusals in one look, and
connections that end when their credential does. What surrounds each operation is in `execution.py`.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import orjson
import structlog
from cross_web import AsyncHTTPRequestAdapter, HTTPException
from graphql import GraphQLError
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Message, Receive, Scope, Send
from starlette.websockets import WebSocket
from strawberry.asgi import GraphQL
from strawberry.exceptions import ConnectionRejectionError
from strawberry.http.parse_content_type import parse_content_type
from strawberry.subscriptions import GRAPHQL_SSE_PROTOCOL, GRAPHQL_TRANSPORT_WS_PROTOCOL
from strawberry.subscriptions.protocols.graphql_transport_ws.handlers import BaseGraphQLTransportWSHandler
from strawberry.types import ExecutionResult

from domain.kit.correlation import correlation_id
from domain.kit.errors import Refusal, Unauthenticated
from domain.users.principals import ANONYMOUS, Principal, PrincipalKind
from resolvers.context import Context, Services
from server.connections import Connection, Connections
from server.errors import graphql_error, status_of
from server.execution import executable_schema
from server.graphiql import page as graphiql
from server.settings import Settings

_log = structlog.get_logger(__name__)

_MAX_BODY = 256 * 1024
_OPERATIONS_A_SOCKET = 20


class _Socket(BaseGraphQLTransportWSHandler[Context, None]):
    """A WebSocket, watched over from the moment its credential was accepted until it ends."""

    view: "GraphQLView"

    async def handle(self) -> None:
        async with AsyncExitStack() as self._held:
            await super().handle()

    async def handle_message(self, message: Any) -> None:
        if _well_formed(message):
            await super().handle_message(message)
        else:
            await self.handle_invalid_message("Failed to parse message")

    async def handle_connection_init(self, message: Any) -> None:
        already = self.connection_acknowledged
        await super().handle_connection_init(message)
        if self.connection_acknowledged and not already:
            connection = Connection(
                "websocket", self.context.principal, self.context.authorization, self.websocket.close
            )
            await self._held.enter_async_context(self.view.connections.holding(connection))


def _well_formed(message: Any) -> bool:
    """Whether a message is what the protocol says one of its type looks like, as far as types go."""
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        return False
    if message["type"] in ("subscribe", "complete") and not isinstance(message.get("id"), str):
        return False
    if message["type"] != "subscribe":
        return True
    payload = message.get("payload")
    return (
        isinstance(payload, dict)
        and isinstance(payload.get("query"), str)
        and isinstance(payload.get("variables"), dict | None)
        and isinstance(payload.get("operationName"), str | None)
    )


class GraphQLView(GraphQL[Context, None]):
    """The ASGI app at `/graphql`."""

    graphql_transport_ws_handler_class = _Socket

    def __init__(self, settings: Settings, services: Services, connections: Connections) -> None:
        super().__init__(
            executable_schema(explorable=settings.explorable),
            subscription_protocols=(GRAPHQL_TRANSPORT_WS_PROTOCOL, GRAPHQL_SSE_PROTOCOL),
            connection_init_wait_timeout=timedelta(seconds=10),
            max_subscriptions_per_connection=_OPERATIONS_A_SOCKET,
            allowed_origins=settings.allowed_origins,
        )
        self.connections = connections
        self._settings = settings
        self._services = services

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.run(WebSocket(scope, receive, send))
            return
        try:
            response = await self.run(Request(scope, _limited(scope, receive)))
        except HTTPException as error:
            response = _refused(*_told(error))
        except Refusal as refusal:
            response = _refused(status_of(refusal), refusal.code, refusal.message)
        await response(scope, receive, send)

    async def get_context(self, request: Request | WebSocket, response: Response | WebSocket) -> Context:
        ctx = Context(
            services=self._services,
            principal=ANONYMOUS,
            address=request.client.host if request.client else "",
            authorization=request.headers.get("authorization"),
            idempotency_key=request.headers.get("idempotency-key"),
        )
        if isinstance(request, WebSocket):
            ctx.hang_up = request.close
            ctx.idempotency_key = None  # a key is of one request, and a socket carries many
        else:
            ctx.principal = await self._principal(ctx.authorization)
            request.state.context = ctx
        return ctx

    async def _principal(self, authorization: str | None) -> Principal:
        try:
            return await self._services.authenticator.principal(authorization)
        except Unauthenticated as refusal:
            # Public operations go on: a session is refreshed with the old access token still in the header.
            return Principal(PrincipalKind.ANONYMOUS, refusal=refusal)

    async def on_ws_connect(self, context: Context) -> dict[str, object] | None:
        """The credential comes as `authorization` (or `Authorization`) in the payload of `connection_init`."""
        given = {name.lower(): value for name, value in (context.connection_params or {}).items()}
        authorization = given.get("authorization", context.authorization)
        if authorization is not None and not isinstance(authorization, str):
            raise ConnectionRejectionError
        try:
            context.principal = await self._services.authenticator.principal(authorization)
        except Refusal:
            raise ConnectionRejectionError from None
        context.authorization = authorization
        return None

    def should_render_graphql_ide(self, request: Any) -> bool:
        wants_page = "text/html" in request.headers.get("accept", "")
        return request.method == "GET" and wants_page and request.query_params.get("query") is None

    async def render_graphql_ide(self, request: Request) -> Response:
        if not self._settings.explorable:
            raise HTTPException(404, "GraphiQL is off here.")
        return graphiql.page(f"{self._settings.url}/graphql")

    async def parse_http_body(self, request: AsyncHTTPRequestAdapter) -> Any:
        if request.method == "POST":
            if parse_content_type(request.content_type or "")[0] != "application/json":
                raise HTTPException(415, "Send the operation as application/json.")
            if not bytes(await request.get_body()).lstrip().startswith((b"{", b"[")):
                raise HTTPException(400, "The body is not a JSON object.")
        return await super().parse_http_body(request)

    def decode_json(self, data: str | bytes) -> object:
        return orjson.loads(data)

    def encode_json(self, data: object) -> str:
        return orjson.dumps(data).decode()

    async def execute_single(self, *args: Any, **kwargs: Any) -> ExecutionResult:
        try:
            async with asyncio.timeout(self._settings.operation_timeout):
                return await super().execute_single(*args, **kwargs)
        except TimeoutError as error:
            return ExecutionResult(
                data=None, errors=[graphql_error(GraphQLError(str(error), original_error=error))]
            )

    async def create_streaming_response(
        self,
        request: Request | WebSocket,
        stream: Callable[[], AsyncIterator[str]],
        sub_response: Response,
        headers: Mapping[str, str],
    ) -> Response:
        return StreamingResponse(self._watched(request.state.context, stream()), headers=dict(headers))

    async def _watched(self, ctx: Context, chunks: AsyncIterator[str]) -> AsyncIterator[str]:
        """An event stream that ends, with a reason, when its connection is closed from here."""
        closed: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def close(_: int, reason: str) -> None:
            if not closed.done():
                closed.set_result(reason)

        ctx.hang_up = close
        async with self.connections.holding(Connection("sse", ctx.principal, ctx.authorization, close)):
            while True:
                chunk: asyncio.Future[str | None] = asyncio.ensure_future(_next(chunks))
                try:
                    await asyncio.wait((chunk, closed), return_when=asyncio.FIRST_COMPLETED)
                    if closed.done():
                        yield _last_words(closed.result())
                        return
                    if (text := chunk.result()) is None:
                        return
                finally:
                    chunk.cancel()
                yield text


async def _next(chunks: AsyncIterator[str]) -> str | None:
    return await anext(chunks, None)


def _last_words(reason: str) -> str:
    error = {"message": "This subscription was ended by the server.", "extensions": {"code": reason}}
    data = orjson.dumps({"errors": [error]}).decode()
    return f"event: next\r\ndata: {data}\r\n\r\nevent: complete\r\ndata: \r\n\r\n"


def _limited(scope: Scope, receive: Receive) -> Receive:
    """The same body, as long as it stays within the limit."""
    taken = 0

    async def limited() -> Message:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > _MAX_BODY:
            raise HTTPException(413, f"A GraphQL request has at most {_MAX_BODY} bytes.")
        return message

    return limited


_CODES = {
    404: "NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    406: "NOT_ACCEPTABLE",
    413: "TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
}


def _told(error: HTTPException) -> tuple[int, str, str]:
    """The status, code and message of a request that is refused before it is executed."""
    status, message = error.status_code, error.reason
    if message.startswith("mutations are not allowed"):
        status, message = 405, "Mutations are sent with POST."
    elif message.startswith("subscriptions are not allowed"):
        status, message = 406, "Subscriptions need `Accept: text/event-stream` or a WebSocket."
    return status, _CODES.get(status, "BAD_REQUEST"), message


def _refused(status: int, code: str, message: str) -> Response:
    extensions = {"code": code, "correlationId": correlation_id.get()}
    body = orjson.dumps({"errors": [{"message": message, "extensions": extensions}]})
    return Response(body, status, media_type="application/json")
