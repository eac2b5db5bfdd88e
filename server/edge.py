"""The outermost layer of every request: its correlation id, its log line, and how its time is counted."""

import re
import time
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from domain.kit.correlation import correlation_id
from domain.kit.ids import new_id
from server.metrics import observe_request

_log = structlog.get_logger(__name__)
_USABLE = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_SILENT = ("/health", "/metrics")


class Edge:
    """`X-Request-ID` in and out, one log line and one measurement for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _USABLE.fullmatch(given) else new_id()
        token = correlation_id.set(request_id)
        seen: dict[str, Any] = {"status": 500}

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                seen["status"] = message["status"]
                MutableHeaders(scope=message)["X-Request-ID"] = request_id
            await send(message)

        started = time.perf_counter()
        try:
            await self._app(scope, receive, answer)
        finally:
            if scope["type"] == "http":
                _tell(scope, seen["status"], time.perf_counter() - started)
            correlation_id.reset(token)


def _tell(scope: Scope, status: int, seconds: float) -> None:
    # The route's pattern, not the path: paths hold keys, and there is no end of them.
    route = getattr(scope.get("route"), "path", None) or scope.get("route_path") or "other"
    observe_request(scope["method"], route, status, seconds)
    if not scope["path"].startswith(_SILENT):
        _log.info("request", method=scope["method"], path=scope["path"], status=status, ms=round(seconds * 1000, 1))
