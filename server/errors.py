"""The one place where errors get their look on the wire: GraphQL errors and RFC 9457 problem documents.

A `Refusal` of the domain is told as it is. Anything else is a defect: it is logged whole and masked.
"""

from collections.abc import Mapping
from typing import Any

import orjson
import structlog
from graphql import GraphQLError, GraphQLSyntaxError
from starlette.responses import Response

from domain.kit.correlation import correlation_id
from domain.kit.errors import (
    Conflict,
    Denied,
    Invalid,
    NotFound,
    Refusal,
    TooMany,
    Unauthenticated,
    Unavailable,
)

_log = structlog.get_logger(__name__)

_STATUS: dict[type[Refusal], int] = {
    NotFound: 404,
    Invalid: 422,
    Conflict: 409,
    Unauthenticated: 401,
    Denied: 403,
    TooMany: 429,
    Unavailable: 503,
}
TITLES = {
    400: "Bad request",
    401: "Not signed in",
    403: "Not allowed",
    404: "Not found",
    405: "Method not allowed",
    406: "Not acceptable",
    408: "Took too long",
    409: "Conflict",
    411: "Length required",
    413: "Too large",
    415: "Unsupported media type",
    416: "Range not satisfiable",
    422: "Cannot be used",
    429: "Too many requests",
    500: "Internal server error",
    503: "Not available now",
}
INTERNAL = "INTERNAL_SERVER_ERROR"
_MASKED = "Something went wrong on our side. The correlation id leads to it."


class HttpProblem(Exception):
    """A refusal that only HTTP knows: a missing length, a body too large, a type we do not take."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


def status_of(refusal: Refusal) -> int:
    """The HTTP status of a refusal."""
    return next(status for kind, status in _STATUS.items() if isinstance(refusal, kind))


def problem(
    status: int, code: str, message: str, *, details: Mapping[str, Any] | None = None, headers: Any = None
) -> Response:
    """A problem document: `type title status detail code correlationId` and the details."""
    body = {
        "type": "about:blank",
        "title": TITLES.get(status, "Error"),
        "status": status,
        "detail": message,
        "code": code,
        "correlationId": correlation_id.get(),
    }
    if details:
        body["details"] = dict(details)
    return Response(orjson.dumps(body, default=str), status, headers=headers, media_type="application/problem+json")


def problem_of(error: Exception) -> Response:
    """The problem document of any exception."""
    if isinstance(error, Refusal):
        status = status_of(error)
        return problem(status, error.code, error.message, details=error.details, headers=_headers(error, status))
    if isinstance(error, HttpProblem):
        return problem(error.status, error.code, error.message)
    _log.error("unexpected error", exc_info=error)
    return problem(500, INTERNAL, _MASKED)


def _headers(refusal: Refusal, status: int) -> dict[str, str]:
    headers = {}
    if isinstance(refusal, TooMany | Unavailable):
        headers["Retry-After"] = str(max(1, round(refusal.retry_after)))
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return headers


def graphql_error(error: GraphQLError) -> GraphQLError:
    """The same error as a client may see it, with `extensions {code, details, correlationId}`."""
    code, message, details = _described(error)
    extensions: dict[str, Any] = {"code": code, "correlationId": correlation_id.get()}
    if details:
        extensions["details"] = dict(details)
    return GraphQLError(
        message,
        nodes=error.nodes,
        source=error.source,
        positions=error.positions,
        path=error.path,
        extensions=extensions,
    )


def _described(error: GraphQLError) -> tuple[str, str, Mapping[str, Any]]:
    original = error.original_error
    while isinstance(original, GraphQLError):
        original = original.original_error
    if isinstance(original, Refusal):
        return original.code, original.message, original.details
    if isinstance(original, TimeoutError):
        return "TIMEOUT", "The operation took too long.", {}
    if original is not None:
        _log.error("unexpected error in an operation", exc_info=original, path=error.path)
        return INTERNAL, _MASKED, {}
    if isinstance(error, GraphQLSyntaxError):
        return "GRAPHQL_PARSE_FAILED", error.message, {}
    if error.extensions and "code" in error.extensions:
        return str(error.extensions["code"]), error.message, error.extensions.get("details") or {}
    return ("BAD_USER_INPUT" if error.path else "GRAPHQL_VALIDATION_FAILED"), error.message, {}
