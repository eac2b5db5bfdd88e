"""What was asked: one GraphQL request, whichever way it came."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.errors import HttpProblem

_SHA256 = frozenset("0123456789abcdef")


class BadRequest(HttpProblem):
    """What came is no GraphQL request."""

    def __init__(self, message: str, status: int = 400, code: str = "BAD_REQUEST") -> None:
        super().__init__(status, code, message)


@dataclass(slots=True)
class GraphQLRequest:
    """`query` is absent where the document is known by an id: `document_id` of a trusted document, or
    `persisted_hash` (the SHA-256 in hexadecimal) of one that was persisted automatically.
    """

    query: str | None = None
    variables: dict[str, Any] = field(default_factory=dict)
    operation_name: str | None = None
    document_id: str | None = None
    persisted_hash: str | None = None


def decoded(text: str | bytes, what: str) -> Any:
    """The JSON value of a body or a parameter. Raises BadRequest."""
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        raise BadRequest(f"The {what} is not JSON in UTF-8.") from None


def request_of(params: object) -> GraphQLRequest:
    """The request that a JSON object makes: `query variables operationName extensions documentId`.

    Raises BadRequest for what is none.
    """
    if not isinstance(params, dict):
        batch = isinstance(params, list)
        raise BadRequest("Batches are not supported: send one operation." if batch else "It is not a JSON object.")
    query = _text(params, "query")
    persisted_hash = _persisted_hash(_mapping(params, "extensions"))
    document_id = _text(params, "documentId")
    if not query and persisted_hash is None and document_id is None:
        raise BadRequest("There is no `query`.")
    name = _text(params, "operationName")
    return GraphQLRequest(query or None, _mapping(params, "variables"), name or None, document_id, persisted_hash)


def _text(params: Mapping[str, Any], name: str) -> str | None:
    value = params.get(name)
    if value is not None and not isinstance(value, str):
        raise BadRequest(f"`{name}` is not a string.")
    return value


def _mapping(params: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = params.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise BadRequest(f"`{name}` is not an object.")
    return value


def _persisted_hash(extensions: Mapping[str, Any]) -> str | None:
    """The hash of an automatically persisted query, as Apollo's clients send it."""
    persisted = extensions.get("persistedQuery")
    if persisted is None:
        return None
    digest = persisted.get("sha256Hash") if isinstance(persisted, dict) else None
    if (
        not isinstance(digest, str)
        or len(digest) != 64
        or not _SHA256.issuperset(digest)
        or persisted.get("version") != 1
    ):
        raise BadRequest("`extensions.persistedQuery` is not `{version: 1, sha256Hash}`.")
    return digest
