"""How a REST route is declared: once, for Starlette and for OpenAPI alike.

A `DeclaredRoute` is a Starlette route that carries what callers have to know of it: parameters, body, every answer
and every refusal. `server/routes/openapi.py` makes the document from these, and no other kind of route is
taken by the app, so that none is forgotten.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

Schema = Mapping[str, Any]
"""A JSON Schema. One with a `title` gets that name among the document's components."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """`where` it stands in the request; those in the path are always required."""

    name: str
    where: Literal["path", "query", "header"]
    description: str
    schema: Schema = field(default_factory=lambda: {"type": "string"})
    required: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Body:
    """A request's body: a schema for each media type that is taken."""

    content: Mapping[str, Schema]
    description: str = ""
    required: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a status means: a schema for each media type (none: no body), and headers with their description."""

    description: str
    content: Mapping[str, Schema] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What OpenAPI says of a route. `problems`: for each status the codes that its problem documents may have."""

    tag: str
    summary: str
    answers: Mapping[int, Answer]
    description: str = ""
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    problems: Mapping[int, Sequence[str]] = field(default_factory=dict)
    secured: bool = False
    """Needs a token; 401 and 403 are then among its answers without being named in `problems`."""


class DeclaredRoute(Route):
    """A route of one method, with its declaration."""

    def __init__(
        self,
        method: Literal["GET", "POST", "PUT", "DELETE"],
        path: str,
        endpoint: Callable[[Request], Awaitable[Response]],
        declaration: Declaration,
    ) -> None:
        super().__init__(path, endpoint, methods=[method])
        self.method = method
        self.declaration = declaration


def obj(title: str | None = None, required: Sequence[str] | None = None, /, **properties: Schema) -> Schema:
    """The schema of an object, whose properties are all required unless `required` names those that are."""
    named = {"title": title} if title else {}
    needed = list(properties) if required is None else list(required)
    return {**named, "type": "object", "properties": properties, **({"required": needed} if needed else {})}


def nullable(schema: Schema) -> Schema:
    return {"oneOf": [schema, {"type": "null"}]}
