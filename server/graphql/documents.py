"""Documents: each is parsed, validated and measured once, and those used last are kept.

A document may also be named instead of sent: by its SHA-256, once some caller has sent it with that
(automatic persisted queries, kept in Redis for all processes), or by the id of a trusted document.
"""

import hashlib
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    GraphQLError,
    GraphQLSchema,
    NoSchemaIntrospectionCustomRule,
    OperationDefinitionNode,
    OperationType,
    parse,
    specified_rules,
    validate,
)
from redis.asyncio import Redis
from redis.exceptions import RedisError

from schema.execution import Measure, Plan, Recent, measure
from server import metrics
from server.errors import graphql_error
from server.graphql.request import GraphQLRequest
from server.limits import SizeRule

_MAX_TOKENS = 2_000
_MAX_ERRORS = 20
# Kept parsed, validated and planned. A parsed document weighs about a hundred times its text, and anybody may
# send valid ones without end, so neither long ones are kept nor those of callers unknown.
_LONGEST_KEPT = 4_000  # characters
_LONGEST_PERSISTED = 50_000  # characters
_PERSISTED = 7 * 24 * 3600  # seconds
_hits, _misses = (metrics.Tally(metrics.documents.labels(outcome)) for outcome in ("hit", "miss"))


class Rejected(Exception):
    """A request that was never executed: its document, its variables, or what it would cost."""

    def __init__(self, *errors: GraphQLError) -> None:
        super().__init__(*(error.message for error in errors))
        self.errors = errors

    def payload(self) -> list[dict[str, Any]]:
        """The errors as they are told."""
        return [dict(graphql_error(error).formatted) for error in self.errors]


@dataclass(slots=True, eq=False)
class Operation:
    """One operation of a valid document, with what it costs."""

    document: DocumentNode
    node: OperationDefinitionNode
    name: str | None
    """As the caller gives it: None for the only one."""
    measure: Measure
    text: str
    kept: bool
    plan: Plan | None = None
    """Once it is known that the plan is the same whatever the variables are."""
    kind: OperationType = field(init=False)
    kind_name: str = field(init=False)
    given_name: str | None = field(init=False)
    """The name in the document."""

    def __post_init__(self) -> None:
        self.kind = self.node.operation
        self.kind_name = self.kind.value
        self.given_name = self.node.name.value if self.node.name else None


@dataclass(slots=True, eq=False)
class _Document:
    text: str
    node: DocumentNode
    kept: bool
    operations: dict[str | None, Operation] = field(default_factory=dict)


class Documents:
    """Those of one process. `trusted` are texts by their ids; with `trusted_only` nothing else is executed."""

    def __init__(
        self,
        schema: GraphQLSchema,
        redis: Redis,
        namespace: str,
        *,
        size: int,
        explorable: bool,
        trusted: Mapping[str, str],
        trusted_only: bool,
    ) -> None:
        self._schema = schema
        self._redis = redis
        self._namespace = namespace
        self._rules = list(specified_rules) if explorable else [*specified_rules, NoSchemaIntrospectionCustomRule]
        self._recent: Recent[_Document] = Recent(size)
        self._trusted_only = trusted_only
        self._by_id = {name: self._trusted(name, text) for name, text in trusted.items()}
        self._by_text = {document.text: document for document in self._by_id.values()}
        self.hits = self.misses = 0

    @property
    def kept(self) -> int:
        """How many are kept at this moment, trusted ones left out."""
        return len(self._recent)

    async def operation(self, request: GraphQLRequest, *, keep: bool) -> Operation:
        """The operation that is asked for; `keep` whether its document may be remembered. Raises Rejected."""
        if request.query is not None and request.document_id is None and request.persisted_hash is None:
            document = self._from_text(request.query, keep)
        else:
            document = await self._document(request, keep)
        operation = document.operations.get(request.operation_name)
        if operation is None:
            operation = self._operation(document, request.operation_name)
            document.operations[request.operation_name] = operation
        return operation

    async def _document(self, request: GraphQLRequest, keep: bool) -> _Document:
        if request.document_id is not None:
            return self._with_id(request.document_id)
        text, digest = request.query, request.persisted_hash
        if text is None:
            assert digest is not None
            return self._by_id.get(digest) or await self._persisted(digest, keep)
        if digest is not None and hashlib.sha256(text.encode()).hexdigest() != digest:
            raise Rejected(_error("The `sha256Hash` is not that of the `query`.", "PERSISTED_QUERY_HASH_MISMATCH"))
        document = self._from_text(text, keep)
        if digest is not None and keep and len(text) <= _LONGEST_PERSISTED:
            with suppress(RedisError, OSError):  # the caller will be asked for the text again
                await self._redis.set(self._key(digest), text, ex=_PERSISTED)
        return document

    def _with_id(self, document_id: str) -> _Document:
        document = self._by_id.get(document_id)
        if document is None:
            raise Rejected(_error("There is no trusted document with this id.", "DOCUMENT_NOT_FOUND"))
        return document

    async def _persisted(self, digest: str, keep: bool) -> _Document:
        text = None
        if not self._trusted_only:
            with suppress(RedisError, OSError):
                text = await self._redis.get(self._key(digest))
        if text is None:
            # The message is what Apollo's clients look for; they send the text next.
            raise Rejected(_error("PersistedQueryNotFound", "PERSISTED_QUERY_NOT_FOUND"))
        return self._from_text(text.decode() if isinstance(text, bytes) else text, keep)

    def _key(self, digest: str) -> str:
        return f"{self._namespace}:documents:{digest}"

    def _from_text(self, text: str, keep: bool) -> _Document:
        document = self._by_text.get(text) or self._recent.recent(text)
        if document is not None:
            _hits.inc()
            self.hits += 1
            return document
        if self._trusted_only:
            raise Rejected(_error("Only trusted documents are executed here.", "DOCUMENT_NOT_TRUSTED"))
        _misses.inc()
        self.misses += 1
        kept = keep and len(text) <= _LONGEST_KEPT
        document = _Document(text, self._valid(text), kept)
        if kept:
            self._recent.keep(text, document)
        return document

    def _trusted(self, name: str, text: str) -> _Document:
        try:
            return _Document(text, self._valid(text), kept=True)
        except Rejected as error:
            raise ValueError(f"the trusted document {name!r} cannot be executed: {error}") from None

    def _valid(self, text: str) -> DocumentNode:
        try:
            document = parse(text, max_tokens=_MAX_TOKENS)
        except GraphQLError as error:
            raise Rejected(error) from None
        except RecursionError:
            raise Rejected(_error("The document is nested too deeply.", "GRAPHQL_PARSE_FAILED")) from None
        # Size first: some of the other rules take time that grows with its square.
        errors = validate(self._schema, document, [SizeRule]) or validate(
            self._schema, document, self._rules, max_errors=_MAX_ERRORS
        )
        if errors:
            raise Rejected(*errors)
        return document

    def _operation(self, document: _Document, name: str | None) -> Operation:
        found = [node for node in document.node.definitions if isinstance(node, OperationDefinitionNode)]
        if name is not None:
            found = [node for node in found if node.name and node.name.value == name]
        if not found:
            message = (
                "The document has no operation." if name is None else f"The document has no operation {name!r}."
            )
            raise Rejected(_error(message, "OPERATION_NOT_FOUND"))
        if len(found) > 1:
            message = "The document has several operations: say which in `operationName`."
            raise Rejected(_error(message, "GRAPHQL_VALIDATION_FAILED"))
        measured = measure(self._schema, document.node, name)
        return Operation(document.node, found[0], name, measured, document.text, document.kept)


def _error(message: str, code: str) -> GraphQLError:
    return GraphQLError(message, extensions={"code": code})
