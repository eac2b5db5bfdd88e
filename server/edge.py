"""The outermost layer of every request: its correlation id, its log line, and how its time is counted."""

import re
import time

from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.kit.correlation import correlation_id
from domain.kit.ids import new_id
from server import telemetry
from server.errors import problem_of
from server.logs import log_request
from server.metrics import observe_request

_USABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SILENT = ("/health", "/metrics")
_GONE = 499  # what is counted when the caller left before it was answered


class Edge:
    """`X-Request-ID` in and out; one log line, one measurement and one span for each request.

    `direct` are routes that need nothing of what is inside of this layer: their requests go to them at once, since
    middleware and routing take as long as reading a row.
    """

    def __init__(self, app: ASGIApp, direct: dict[str, Route]) -> None:
        self.app = app
        self._direct = direct

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        given = headers.get(b"x-request-id", b"").decode("latin-1")
        request_id = given if given and _USABLE.fullmatch(given) else new_id()
        token = correlation_id.set(request_id)
        try:
            if scope["type"] == "http":
                traceparent = headers.get(b"traceparent")
                await self._measured(scope, receive, send, traceparent and traceparent.decode("latin-1"))
            else:
                await self.app(scope, receive, send)
        finally:
            correlation_id.reset(token)

    async def _measured(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> None:
        request_id = correlation_id.get()
        assert request_id is not None
        told = (b"x-request-id", request_id.encode())
        status = 0  # until the answer begins

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), told]
            await send(message)

        started = time.perf_counter()
        with _span(scope, traceparent) as span:
            try:
                route = self._direct.get(scope["path"])
                if route is None:
                    await self.app(scope, receive, answer)
                else:
                    scope["route"] = route
                    await route.app(scope, receive, answer)
            except ClientDisconnect:
                status = status or _GONE
            except Exception as error:
                # Here and not further out, where the correlation id is no longer known.
                response = problem_of(error)
                if status:
                    raise
                await response(scope, receive, answer)
            finally:
                pattern = _route(scope)
                if span is not telemetry.NOTHING:
                    span.set(
                        f"{scope['method']} {pattern}",
                        failed=status in (0, *range(500, 600)),
                        http__route=pattern,
                        http__response__status_code=status or 500,
                    )
                _tell(scope, pattern, status or 500, time.perf_counter() - started)


def _span(scope: Scope, traceparent: str | None) -> telemetry.Span:
    if scope["path"].startswith(_SILENT):
        return telemetry.NOTHING
    method = scope["method"]
    return telemetry.span(method, kind="SERVER", traceparent=traceparent, http__request__method=method)


def _route(scope: Scope) -> str:
    # The route's pattern, not the path: paths hold keys, and there is no end of them.
    return getattr(scope.get("route"), "path", None) or "other"


def _tell(scope: Scope, route: str, status: int, seconds: float) -> None:
    observe_request(scope["method"], route, status, seconds)
    if not scope["path"].startswith(_SILENT):
        log_request(scope["method"], scope["path"], status, round(seconds * 1000, 1))
