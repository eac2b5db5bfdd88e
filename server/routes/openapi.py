"""The OpenAPI 3.1 document of declared routes."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from server import VERSION
from server.errors import TITLES
from server.routes.declared import Answer, Body, Declaration, DeclaredRoute, Parameter, Schema, obj

_ABOUT = """\
What devices, browsers and operators reach without GraphQL. Everything else is GraphQL, at `/graphql`.

Refusals are problem documents (RFC 9457); branch on `code`. Each answer has an `X-Request-ID`, which leads to \
the server's log; send your own to choose it.
"""
TAGS = {
    "Devices": "What a device calls. Its token opens only that device; a client's token opens all of the client's.",
    "Images": "For people and their programs.",
    "Media": "Bytes behind signed links.",
    "Operations": "For probes, for monitoring and for people.",
}
_PROBLEM_TYPE = "application/problem+json"
_TOKEN_PROBLEMS: Mapping[int, Sequence[str]] = {
    401: ("UNAUTHENTICATED", "INVALID_TOKEN", "TOKEN_EXPIRED", "SESSION_OVER"),
    403: ("FORBIDDEN",),
}
_SECURITY = {
    "type": "http",
    "scheme": "bearer",
    "description": "The token of a device (of `registerDevice` or `rotateDeviceToken`), of a client "
    "(`regenerateClientToken`), or of a user (`login`).",
}
_PROBLEM_HEADERS = {
    401: {"WWW-Authenticate": "`Bearer`"},
    429: {"Retry-After": "Seconds after which to send it again."},
    503: {"Retry-After": "Seconds after which to send it again."},
}


def document(routes: Iterable[DeclaredRoute]) -> dict[str, Any]:
    """The OpenAPI document, ready for JSON."""
    paths: dict[str, dict[str, Any]] = {}
    components: dict[str, Any] = {}
    for route in routes:
        operation = _hoisted(_operation(route), components)
        paths.setdefault(route.path_format, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Quartermaster", "version": VERSION, "description": _ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": _SECURITY}},
    }


def _operation(route: DeclaredRoute) -> dict[str, Any]:
    declaration = route.declaration
    told: dict[str, Any] = {
        "operationId": route.name,
        "tags": [declaration.tag],
        "summary": declaration.summary,
        "description": declaration.description,
        "security": [{"token": []}] if declaration.secured else [],
        "parameters": [_parameter(parameter) for parameter in declaration.parameters],
        "responses": {str(status): answer for status, answer in sorted(_responses(declaration).items())},
    }
    if declaration.body is not None:
        told["requestBody"] = _body(declaration.body)
    return {key: value for key, value in told.items() if value not in ("", [])} | {"security": told["security"]}


def _parameter(parameter: Parameter) -> dict[str, Any]:
    return {
        "name": parameter.name,
        "in": parameter.where,
        "required": parameter.required or parameter.where == "path",
        "description": parameter.description,
        "schema": parameter.schema,
    }


def _body(body: Body) -> dict[str, Any]:
    return {"description": body.description, "required": body.required, "content": _content(body.content)}


def _responses(declaration: Declaration) -> dict[int, dict[str, Any]]:
    responses = {status: _response(answer) for status, answer in declaration.answers.items()}
    for status, codes in problems_of(declaration).items():
        schema = {"allOf": [_PROBLEM, {"properties": {"code": {"enum": list(codes)}}}]}
        said = Answer(
            description=f"{TITLES[status]}: {', '.join(f'`{code}`' for code in codes)}.",
            content={_PROBLEM_TYPE: schema},
            headers=_PROBLEM_HEADERS.get(status, {}),
        )
        responses[status] = _merged(responses.get(status), _response(said))
    return responses


def problems_of(declaration: Declaration) -> dict[int, list[str]]:
    """The codes of the problem documents of each status, those that a token may cause among them."""
    found: dict[int, list[str]] = {}
    for problems in (_TOKEN_PROBLEMS if declaration.secured else {}, declaration.problems):
        for status, codes in problems.items():
            found.setdefault(status, []).extend(codes)
    return dict(sorted(found.items()))


def _response(answer: Answer) -> dict[str, Any]:
    headers = {name: {"description": about, "schema": {"type": "string"}} for name, about in answer.headers.items()}
    told = {"description": answer.description, "content": _content(answer.content), "headers": headers}
    return {key: value for key, value in told.items() if value}


def _merged(answer: dict[str, Any] | None, problem: dict[str, Any]) -> dict[str, Any]:
    """A status that is both an answer of the route and a refusal: 503 of the health route is one."""
    if answer is None:
        return problem
    return {**problem, **answer, "content": {**answer.get("content", {}), **problem["content"]}}


def _content(content: Mapping[str, Schema]) -> dict[str, Any]:
    return {media_type: {"schema": schema} for media_type, schema in content.items()}


def _hoisted(value: Any, components: dict[str, Any]) -> Any:
    """The same with every schema that has a title moved to the components, and referred to."""
    if isinstance(value, list):
        return [_hoisted(item, components) for item in value]
    if not isinstance(value, Mapping):
        return value
    inside = {key: _hoisted(item, components) for key, item in value.items()}
    title = value.get("title")
    if not isinstance(title, str):
        return inside
    if components.setdefault(title, inside) != inside:
        raise ValueError(f"two schemas are called {title}")
    return {"$ref": f"#/components/schemas/{title}"}


_PROBLEM = obj(
    "Problem",
    ["type", "title", "status", "detail", "code", "correlationId"],
    type={"type": "string"},
    title={"type": "string"},
    status={"type": "integer"},
    detail={"type": "string", "description": "One sentence for a person."},
    code={"type": "string", "description": "For programs; stable."},
    correlationId={"type": "string", "description": "Leads to the server's log."},
    details={"type": "object", "description": "For example `argument`, the name of what was malformed."},
)
