"""GraphQL over HTTP: requests read, answers written, in the media type and with the status that the
specification says. Everything else at this address begins here too: GraphiQL, event streams and WebSockets.
"""

import asyncio
import zlib
from dataclasses import replace
from urllib.parse import parse_qsl

import orjson
from graphql import OperationType
from starlette.requests import ClientDisconnect, HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from domain.kit.budgets import Spent, Throttled
from domain.kit.correlation import correlation_id
from domain.kit.errors import Refusal, Unauthenticated
from domain.users.principals import ANONYMOUS
from resolvers.context import Context, Services
from server.connections import Connections
from server.errors import HttpProblem, status_of
from server.graphiql import page as graphiql
from server.graphql import sse
from server.graphql.documents import Rejected
from server.graphql.executor import Executor
from server.graphql.fanout import Fanout
from server.graphql.negotiation import JSON, RESPONSE_JSON, Accepted, accepted, accepts_gzip, is_json
from server.graphql.request import BadRequest, GraphQLRequest, decoded, request_of
from server.settings import Settings

_MAX_BODY = 256 * 1024
_COMPRESSED_FROM = 8 * 1024  # bytes; below, a client on a slow line gains less than the time it takes
_APART_FROM = 128 * 1024  # bytes; above, others wait too long if it is done between them

_RawHeaders = dict[bytes, bytes]
_Headers = list[tuple[bytes, bytes]]
_TEXTS = ("query", "operationName", "documentId")
_OBJECTS = ("variables", "extensions")
_ALLOW = (b"allow", b"GET, POST")


class GraphQLEndpoint:
    """The ASGI app at `/graphql`."""

    def __init__(
        self,
        settings: Settings,
        services: Services,
        executor: Executor,
        fanout: Fanout,
        connections: Connections,
        socket: ASGIApp,
    ) -> None:
        self._settings = settings
        self._services = services
        self._executor = executor
        self._fanout = fanout
        self._connections = connections
        self._socket = socket

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        headers: _RawHeaders = dict(scope["headers"])
        try:
            await self._answer(scope, receive, send, headers)
        except HttpProblem as problem:
            allow = [_ALLOW] if problem.status == 405 else []
            await _respond(send, problem.status, JSON, _refused(problem.code, problem.message), allow)
        except Refusal as refusal:
            await _respond(send, status_of(refusal), JSON, _refused(refusal.code, refusal.message), [])

    async def _answer(self, scope: Scope, receive: Receive, send: Send, headers: _RawHeaders) -> None:
        accept = accepted(headers.get(b"accept", b"").decode("latin-1"))
        method = scope["method"]
        if method == "GET":
            params = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
            if accept.page and "query" not in params:
                await self._page(scope, receive, send)
                return
            request = _from_parameters(params)
        elif method == "POST":
            request = await _from_body(receive, headers)
        else:
            raise BadRequest("Only GET and POST are understood here.", 405, "METHOD_NOT_ALLOWED")
        if accept.media is None and not accept.stream:
            raise BadRequest(f"Answers are {RESPONSE_JSON}, {JSON} or text/event-stream.", 406, "NOT_ACCEPTABLE")
        ctx = await self._context(scope, headers)
        await self._execute(scope, receive, send, ctx, request, accept, headers)

    async def _execute(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        ctx: Context,
        request: GraphQLRequest,
        accept: Accepted,
        headers: _RawHeaders,
    ) -> None:
        try:
            prepared = await self._executor.prepare(ctx, request)
            if scope["method"] == "GET" and prepared.kind is OperationType.MUTATION:
                raise BadRequest("Mutations are sent with POST.", 405, "METHOD_NOT_ALLOWED")
            if prepared.kind is OperationType.SUBSCRIPTION and not accept.stream:
                message = "Subscriptions need `Accept: text/event-stream` or a WebSocket."
                raise BadRequest(message, 406, "NOT_ACCEPTABLE")
            if prepared.kind is OperationType.SUBSCRIPTION or accept.media is None:
                stream = await sse.stream(self._executor, self._fanout, self._connections, ctx, prepared)
                await stream(scope, receive, send)
                return
            answer = await self._executor.answer(ctx, prepared)
        except Rejected as rejected:
            if accept.media is None:
                await sse.rejected(rejected)(scope, receive, send)
            else:
                await _reject(send, rejected, accept.media)
            return
        extra = [] if answer.spent is None else _rate_limit(answer.spent)
        body = answer.body
        if len(body) >= _COMPRESSED_FROM:
            extra.append((b"vary", b"Accept, Accept-Encoding"))
            if accepts_gzip(headers.get(b"accept-encoding", b"").decode("latin-1")):
                extra.append((b"content-encoding", b"gzip"))
                body = await asyncio.to_thread(_gzip, body) if len(body) >= _APART_FROM else _gzip(body)
        await _respond(send, 200, accept.media, body, extra)

    async def _page(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._settings.explorable:
            raise BadRequest("GraphiQL is off here.", 404, "NOT_FOUND")
        page = graphiql.page(f"{self._settings.url}/graphql")
        await page(scope, receive, send)

    async def _context(self, scope: Scope, headers: _RawHeaders) -> Context:
        ctx = _context(self._services, scope, headers)
        key = headers.get(b"idempotency-key")
        ctx.idempotency_key = key.decode("latin-1") if key is not None else None
        try:
            ctx.principal = await self._services.authenticator.principal(ctx.authorization)
        except Unauthenticated as refusal:
            # Public operations go on: a session is refreshed with the old access token still in the header.
            ctx.principal = replace(ANONYMOUS, refusal=refusal)
        return ctx


def new_context(services: Services, connection: HTTPConnection) -> Context:
    """The context of a socket of which nobody knows yet whose it is."""
    return _context(services, connection.scope, dict(connection.scope["headers"]))


def _context(services: Services, scope: Scope, headers: _RawHeaders) -> Context:
    client, authorization = scope.get("client"), headers.get(b"authorization")
    return Context(
        services=services,
        principal=ANONYMOUS,
        address=client[0] if client else "",
        authorization=authorization.decode("latin-1") if authorization is not None else None,
    )


def _from_parameters(params: dict[str, str]) -> GraphQLRequest:
    request: dict[str, object] = {name: params[name] for name in _TEXTS if name in params}
    request |= {name: decoded(params[name], name) for name in _OBJECTS if params.get(name)}
    return request_of(request)


async def _from_body(receive: Receive, headers: _RawHeaders) -> GraphQLRequest:
    if not is_json(headers.get(b"content-type", b"").decode("latin-1")):
        raise BadRequest(f"Requests are sent as {JSON}, in UTF-8.", 415, "UNSUPPORTED_MEDIA_TYPE")
    body = b""
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > _MAX_BODY:
            raise BadRequest(f"A GraphQL request has at most {_MAX_BODY} bytes.", 413, "TOO_LARGE")
    return request_of(decoded(body, "body"))


async def _reject(send: Send, rejected: Rejected, media: str) -> None:
    """Errors without data. Of the older media type it is said that all well-formed requests are answered by 200."""
    error = next((one.original_error for one in rejected.errors if isinstance(one.original_error, Throttled)), None)
    extra: _Headers = []
    status = 200 if media == JSON else 400
    if error is not None:
        status = 429
        extra.append((b"retry-after", b"%d" % error.retry_after))
        extra += _rate_limit(Spent(0, error.details["remaining"], error.details["limit"], round(error.retry_after)))
    await _respond(send, status, media, orjson.dumps({"errors": rejected.payload()}), extra)


def _rate_limit(spent: Spent) -> _Headers:
    return [
        (b"ratelimit-policy", b'"cost";q=%d;w=60' % spent.limit),
        (b"ratelimit", b'"cost";r=%d;t=%d' % (spent.remaining, spent.reset)),
    ]


def _gzip(body: bytes) -> bytes:
    return zlib.compress(body, 1, wbits=31)


def _refused(code: str, message: str) -> bytes:
    extensions = {"code": code, "correlationId": correlation_id.get()}
    return orjson.dumps({"errors": [{"message": message, "extensions": extensions}]})


async def _respond(send: Send, status: int, media: str, body: bytes, extra: _Headers) -> None:
    headers = [(b"content-type", _CONTENT_TYPES[media]), (b"content-length", b"%d" % len(body)), *extra]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


_CONTENT_TYPES = {JSON: b"application/json", RESPONSE_JSON: b"application/graphql-response+json"}
