"""One operation: its document, its cost, its execution by a plan, and its answer.

Every transport ends here. What plans cannot execute (introspection) graphql-core executes, by the same resolvers.
"""

import time
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from inspect import isawaitable
from typing import Any

import orjson
import strawberry
from graphql import ExecutionResult, GraphQLError, OperationType, VariableNode, Visitor, visit
from graphql import execute as core_execute
from graphql.execution.values import get_argument_values
from redis.asyncio import Redis

from domain.events.interest import Wanted
from domain.events.models import EventRow
from domain.kit.budgets import Budgets, Spent, Throttled
from domain.kit.errors import Refusal, Unavailable
from domain.kit.scope import Scope
from domain.users.principals import Principal
from resolvers.context import Context
from resolvers.plans import source_of
from resolvers.root import build_schema
from schema.execution import Bound, PlanCache, Unsupported, bind, bind_plan
from server import metrics, telemetry
from server.deadlines import Deadlines
from server.errors import graphql_error
from server.graphql import repeats
from server.graphql.documents import Documents, Operation, Rejected
from server.graphql.request import GraphQLRequest
from server.graphql.trusted import trusted_documents
from server.settings import PREFIX, Settings, SettingsError

NATIVE = frozenset({datetime})
"""Classes that orjson writes as their scalars would."""


@dataclass(slots=True)
class Prepared:
    """A valid operation and what was asked of it."""

    operation: Operation
    variables: dict[str, Any]

    @property
    def kind(self) -> OperationType:
        return self.operation.kind


@dataclass(slots=True)
class Answer:
    """The answer to a query or mutation, as JSON."""

    body: bytes
    spent: Spent | None


@dataclass(frozen=True, slots=True)
class Watch:
    """A subscription that was checked and may begin.

    Subscriptions with equal keys are told the same bytes of the same events. `render` makes the payloads of
    several events at once. It raises Unavailable while the database is away. Events about none of the `subjects`
    are not wanted (None: any).
    """

    key: Hashable
    scope: Scope
    wanted: Wanted
    subjects: frozenset[str] | None
    after: str | None
    render: Callable[[Sequence[EventRow]], Awaitable[list[bytes]]]


class Executor:
    """Executes the operations of one process. `most` is what one may cost, `timeout` its seconds."""

    def __init__(
        self,
        schema: strawberry.Schema,
        documents: Documents,
        plans: PlanCache,
        budgets: Budgets,
        *,
        most: int,
        timeout: float,
    ) -> None:
        self._schema = schema
        self._core = schema._schema
        self.documents = documents
        self._plans = plans
        self._budgets = budgets
        self._most = most
        self._deadlines = Deadlines(timeout)
        subscription = self._core.subscription_type
        assert subscription is not None
        self._sources = {name: source_of(schema, name) for name in subscription.fields}

    async def prepare(self, ctx: Context, request: GraphQLRequest) -> Prepared:
        """Find the operation. Raises Rejected."""
        try:
            operation = await self.documents.operation(request, keep=ctx.principal.id is not None)
        except Rejected:
            metrics.observe_operation("invalid", None, True, 0.0)
            raise
        return Prepared(operation, request.variables)

    async def answer(self, ctx: Context, prepared: Prepared) -> Answer:
        """Execute a query or mutation. Raises Rejected when it is not even begun."""
        operation, started, failed = prepared.operation, time.perf_counter(), True
        kind, name = operation.kind_name, operation.given_name
        with telemetry.span("graphql") as span:
            try:
                bound = self._bound(operation, prepared.variables)
                spent = await self._spend(ctx, operation, bound, prepared.variables)
                if (
                    operation.kind is OperationType.MUTATION
                    and ctx.idempotency_key is not None
                    and ctx.principal.id
                ):
                    run = lambda: self._execute(ctx, prepared, bound)  # noqa: E731
                    result = await repeats.once(ctx, _asked(ctx, prepared), run)
                else:
                    result = await self._execute(ctx, prepared, bound)
                failed = "errors" in result
            finally:
                metrics.observe_operation(kind, name, failed, time.perf_counter() - started)
                if span is not telemetry.NOTHING:
                    span.set(
                        f"{kind} {name}" if name else kind,
                        failed=failed,
                        graphql__operation__type=kind,
                        graphql__operation__name=name or "",
                    )
        if spent is not None:
            result["extensions"] = {"cost": {"requested": spent.requested, "remaining": spent.remaining}}
        return Answer(orjson.dumps(result), spent)

    async def watch(self, ctx: Context, prepared: Prepared) -> Watch:
        """Check a subscription. Raises Rejected."""
        operation, started = prepared.operation, time.perf_counter()
        bound = self._bound(operation, prepared.variables)
        if bound is None:
            raise Rejected(GraphQLError("This cannot be subscribed to."))
        await self._spend(ctx, operation, bound, prepared.variables)
        field = bound.plan.root.fields[0] if bound.plan.root.fields else None
        if field is None or field.name not in self._sources:
            raise Rejected(GraphQLError("A subscription selects one of its fields."))
        try:
            arguments = get_argument_values(field.definition, field.nodes[0], bound.variables)
            interest, scope = self._sources[field.name](ctx, arguments), ctx.scope
        except (Refusal, GraphQLError) as error:
            raise Rejected(GraphQLError(str(error), field.nodes, path=[field.key], original_error=error)) from None
        metrics.observe_operation("subscription", operation.given_name, False, time.perf_counter() - started)
        # What is shared must not depend on who asks: whoever may see the same sees the same.
        principal = _anyone(ctx.principal)
        shared = Context(ctx.services, principal, address="")
        name = field.name

        async def render(events: Sequence[EventRow]) -> list[bytes]:
            results = await bound.execute_each([{name: event} for event in events], shared)
            for error in (error for result in results for error in result.errors or ()):
                if isinstance(error.original_error, Unavailable):
                    raise error.original_error  # these events are told when it is back
            return [orjson.dumps(_presented(result)) for result in results]

        told = {key: value for key, value in prepared.variables.items() if key != _cursor_variable(operation)}
        key = (operation.text, operation.name, orjson.dumps(told, option=orjson.OPT_SORT_KEYS), principal)
        return Watch(key, scope, interest.wanted, interest.subjects, arguments.get("after"), render)

    def _bound(self, operation: Operation, variables: dict[str, Any]) -> Bound | None:
        """The plan and variables; None for what graphql-core has to execute. Raises Rejected."""
        if operation.plan is not None:
            self._plans.hits += 1
            bound = bind_plan(operation.plan, variables)
        else:
            try:
                bound = self._planned(operation, variables)
            except Unsupported:
                return None
        if isinstance(bound, list):
            raise Rejected(*bound)
        return bound

    def _planned(self, operation: Operation, variables: dict[str, Any]) -> Bound | list[GraphQLError]:
        bound = bind(
            self._core,
            operation.document,
            variables,
            operation.name,
            plans=self._plans if operation.kept else PlanCache(1),
            native=NATIVE,
            # The statement of a shape is prepared by each connection: not for what is asked once.
            written=orjson.Fragment if operation.kept else None,
            document_key=operation.text,
        )
        if isinstance(bound, Bound) and not bound.plan.operation.conditions:
            operation.plan = bound.plan
        return bound

    async def _spend(
        self, ctx: Context, operation: Operation, bound: Bound | None, variables: Mapping[str, Any]
    ) -> Spent | None:
        """Charge the operation to its caller, before anything is asked of the database. Raises Rejected."""
        cost = operation.measure.cost(bound.variables.coerced if bound else variables)
        if not cost:
            return None
        if cost > self._most:
            message = f"This costs {cost}, and an operation may cost {self._most}: ask for smaller pages."
            details = {"requested": cost, "most": self._most}
            raise Rejected(GraphQLError(message, extensions={"code": "COST_TOO_HIGH", "details": details}))
        who = ctx.principal.id or ctx.address
        try:
            return self._budgets.spend_now(who, cost) or await self._budgets.spend(who, cost)
        except Throttled as error:
            raise Rejected(GraphQLError(str(error), original_error=error)) from None

    async def _execute(self, ctx: Context, prepared: Prepared, bound: Bound | None) -> dict[str, Any]:
        try:
            with self._deadlines.limit():
                if bound is not None:
                    return _presented(await bound.wait(None, ctx))
                operation = prepared.operation
                result = core_execute(self._core, operation.document, None, ctx, prepared.variables, operation.name)
                return _presented(await result if isawaitable(result) else result)
        except TimeoutError as error:
            return _presented(ExecutionResult(None, [GraphQLError(str(error), original_error=error)]))


def build_executor(settings: Settings, redis: Redis) -> Executor:
    """The executor of a process, as the settings say. Raises SettingsError for trusted documents that are none."""
    schema = build_schema()
    try:
        documents = Documents(
            schema._schema,
            redis,
            settings.redis_namespace,
            size=settings.documents_kept,
            explorable=settings.explorable,
            trusted=trusted_documents(settings.trusted_documents),
            trusted_only=settings.trusted_documents_only,
        )
    except ValueError as error:
        raise SettingsError(f"{PREFIX}TRUSTED_DOCUMENTS: {error}.") from None
    return Executor(
        schema,
        documents,
        PlanCache(settings.documents_kept),
        Budgets(redis, settings.redis_namespace, settings.cost_per_minute),
        most=settings.operation_cost,
        timeout=settings.operation_timeout,
    )


def _presented(result: ExecutionResult) -> dict[str, Any]:
    """A result as it is told: errors first, for people who look at it."""
    if not result.errors:
        return {"data": result.data}
    return {"errors": [graphql_error(error).formatted for error in result.errors], "data": result.data}


def _asked(ctx: Context, prepared: Prepared) -> list[Any]:
    # What the caller may do is part of it: who lost a permission must not get what it once allowed.
    caller = [ctx.principal.client_id, ctx.principal.granted]
    return [prepared.operation.text, prepared.variables, prepared.operation.name, caller]


def _anyone(principal: Principal) -> Principal:
    return replace(principal, id=None, session_id=None, key=None, expires_at=None, refusal=None)


class _Cursors(Visitor):
    """Counts the variables of a document, and finds the one that is passed as a root field's `after`."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, int] = {}

    def enter_variable(self, node: VariableNode, *_: Any) -> None:
        self.seen[node.name.value] = self.seen.get(node.name.value, 0) + 1


def _cursor_variable(operation: Operation) -> str | None:
    """The variable that says where a subscription begins and nothing else, which those who share may differ in."""
    for selection in operation.node.selection_set.selections:
        for argument in getattr(selection, "arguments", None) or ():
            if argument.name.value == "after" and isinstance(argument.value, VariableNode):
                name: str = argument.value.name.value
                counted = _Cursors()
                visit(operation.document, counted)
                if counted.seen[name] == 2:  # where it is declared, and here
                    return name
    return None
