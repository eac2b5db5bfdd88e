"""What happens around the execution of every GraphQL operation: Strawberry extensions, from the outside in.

Errors get their look, time is measured, idempotency keys are honoured, size is limited, and the operation
itself is executed by a compiled plan. How requests and sockets come and go is in `graphql.py`.
"""

import hashlib
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime
from inspect import isawaitable
from typing import Any

import orjson
import strawberry
import structlog
from graphql import DocumentNode, GraphQLError, OperationDefinitionNode
from strawberry.extensions import AddValidationRules, DisableIntrospection, MaxTokensLimiter, SchemaExtension
from strawberry.schema.exceptions import CannotGetOperationTypeError
from strawberry.types import ExecutionResult
from strawberry.types.graphql import OperationType

from domain.kit.errors import Refusal
from resolvers.root import build_schema
from schema.execution import PlanCache, Recent, Unsupported, execute
from server import metrics, telemetry
from server.errors import graphql_error
from server.limits import SizeRule

_log = structlog.get_logger(__name__)

_MAX_TOKENS = 2_000
# Kept parsed, validated and planned: so many documents, none longer than this. A parsed one weighs about a
# hundred times its text, and anybody may send valid ones without end, so those of callers unknown are not kept.
_DOCUMENTS = 300
_LONGEST_KEPT = 4_000  # characters
_NATIVE = frozenset({datetime})  # orjson writes these as their scalars would


class Errors(SchemaExtension):
    """Gives every error its code, and masks what is not ours to tell."""

    def on_operation(self) -> Iterator[None]:
        self._streamed = False
        yield
        if not self._streamed:
            _present(self.execution_context.result)

    def on_stream_result(self, result: Any) -> Iterator[None]:
        self._streamed = True
        _present(result)
        yield


def _present(result: Any) -> None:
    if getattr(result, "errors", None):
        result.errors = [graphql_error(error) for error in result.errors]


class Measured(SchemaExtension):
    """Counts operations by name. Subscriptions are counted when they end."""

    def on_operation(self) -> Iterator[None]:
        started = time.perf_counter()
        with telemetry.span("graphql") as span:
            finished = False
            try:
                yield
                finished = True
            finally:  # an operation that ran out of time is counted too
                kind, name = self._operation()
                failed = not finished or bool(getattr(self.execution_context.result, "errors", None))
                metrics.observe_operation(kind, name, failed, time.perf_counter() - started)
                span.set(
                    f"{kind} {name}" if name else kind,
                    failed=failed,
                    graphql__operation__type=kind,
                    graphql__operation__name=name or "",
                )

    def _operation(self) -> tuple[str, str | None]:
        context = self.execution_context
        try:
            return context.operation_type.value, context.operation_name
        except (RuntimeError, CannotGetOperationTypeError):  # no document, or none of its operations
            return "invalid", None


class Idempotent(SchemaExtension):
    """A mutation under an `Idempotency-Key` is done once; the same request again gets the same answer."""

    async def on_execute(self) -> AsyncIterator[None]:
        execution, ctx = self.execution_context, self.execution_context.context
        principal, key = ctx.principal.id, ctx.idempotency_key
        if key is None or principal is None or execution.operation_type is not OperationType.MUTATION:
            yield
            return
        keeper, db = ctx.services.keeper, ctx.db
        try:
            answer = await keeper.claim(db, principal, key, _fingerprint(execution))
        except Exception as error:  # noqa: BLE001 - raised from here it would reach the caller unmasked
            execution.result = _failed(error)
            yield
            return
        if answer is not None:
            execution.result = _replayed(answer)
            yield
            return
        yield
        try:
            await self._settle(principal, key)
        except Refusal as error:  # what was done is done, and is answered; only a repeat will be refused
            _log.warning("an answer could not be kept for its key", error=str(error))

    async def _settle(self, principal: str, key: str) -> None:
        ctx = self.execution_context.context
        result: Any = self.execution_context.result
        keeper, db = ctx.services.keeper, ctx.db
        if ctx.applied:
            errors = [graphql_error(error).formatted for error in result.errors or ()]
            await keeper.keep(db, principal, key, orjson.dumps({"data": result.data, "errors": errors}))
        else:
            await keeper.release(db, principal, key)


def _failed(error: Exception) -> ExecutionResult:
    return ExecutionResult(data=None, errors=[GraphQLError(str(error), original_error=error)])


def _fingerprint(execution: Any) -> str:
    # What the caller may do is part of it: who lost a permission must not get what it once allowed.
    principal = execution.context.principal
    caller = [principal.client_id, principal.granted]
    request = [execution.query, execution.variables, execution.operation_name, caller]
    return hashlib.sha256(orjson.dumps(request, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _replayed(answer: bytes) -> ExecutionResult:
    kept = orjson.loads(answer)
    errors = [
        GraphQLError(error["message"], path=error.get("path"), extensions=error.get("extensions"))
        for error in kept["errors"]
    ]
    return ExecutionResult(data=kept["data"], errors=errors or None)


class Compiled(SchemaExtension):
    """Documents are parsed and validated once, and executed by plans; what plans cannot do, Strawberry does."""

    def __init__(self, documents: Recent[DocumentNode], plans: PlanCache) -> None:
        self._documents = documents
        self._plans = plans

    def on_operation(self) -> Iterator[None]:
        execution = self.execution_context
        known = self._documents.recent(execution.query or "")
        if known is not None:
            execution.graphql_document = known
            execution.pre_execution_errors = []  # not None: it was validated, and there were none
        yield

    def on_validate(self) -> Iterator[None]:
        execution = self.execution_context
        assert execution.graphql_document is not None
        if execution._provided_operation_name is None and _operations(execution.graphql_document) > 1:
            # Strawberry would take the first.
            message = "The document has several operations: say which in `operationName`."
            execution.pre_execution_errors = [GraphQLError(message)]
        yield
        if execution.query and self._is_kept() and not execution.pre_execution_errors:
            self._documents.keep(execution.query, execution.graphql_document)

    async def on_execute(self) -> AsyncIterator[None]:
        execution = self.execution_context
        if execution.result is None and execution.operation_type is not OperationType.SUBSCRIPTION:
            assert execution.graphql_document is not None
            with suppress(Unsupported):
                result = execute(
                    execution.schema._schema,
                    execution.graphql_document,
                    execution.root_value,
                    execution.context,
                    execution.variables,
                    execution.operation_name,
                    plans=self._plans if self._is_kept() else None,
                    native=_NATIVE,
                    document_key=execution.query,
                    fallback=None,
                )
                execution.result = await result if isawaitable(result) else result
        yield

    def _is_kept(self) -> bool:
        execution = self.execution_context
        return len(execution.query or "") <= _LONGEST_KEPT and execution.context.principal.id is not None


def _operations(document: DocumentNode) -> int:
    return sum(isinstance(definition, OperationDefinitionNode) for definition in document.definitions)


def executable_schema(*, explorable: bool) -> strawberry.Schema:
    """The schema with everything that happens around its execution."""
    limits: list[Any] = [lambda: MaxTokensLimiter(_MAX_TOKENS), lambda: AddValidationRules([SizeRule])]
    if not explorable:
        limits.append(DisableIntrospection)
    documents: Recent[DocumentNode] = Recent(_DOCUMENTS)
    plans = PlanCache(_DOCUMENTS)
    # In this order: whoever comes first sees the operation first, and its result last.
    around: list[Any] = [Errors, Measured, Idempotent, *limits, lambda: Compiled(documents, plans)]
    return build_schema(around)
