"""The entry points: graphql-core's `execute`, by plans; and its two halves, for callers that do something
between them, or that have many root values for one operation.
"""

from collections.abc import Awaitable, Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, GraphQLTypeResolver
from graphql.execution import execute as core_execute
from graphql.execution.values import VariableValues

from .cache import PlanCache
from .compile import compile_plan, operation_of
from .plan import Operation, Plan, Settings, Unsupported
from .run import Run

_NO_CHANGES = (None,) * 6


def execute(
    schema: GraphQLSchema,
    document: DocumentNode,
    root_value: Any = None,
    context_value: Any = None,
    variable_values: dict[str, Any] | None = None,
    operation_name: str | None = None,
    field_resolver: Callable[..., Any] | None = None,
    type_resolver: GraphQLTypeResolver | None = None,
    subscribe_field_resolver: Callable[..., Any] | None = None,
    max_coercion_errors: int = 50,
    enable_early_execution: bool = False,
    middleware: Any = None,
    executor_class: Any = None,
    is_awaitable: Any = None,
    is_async_iterable: Any = None,
    hide_suggestions: bool = False,
    abort_signal: Any = None,
    hooks: Any = None,
    *,
    plans: PlanCache | None = None,
    native: frozenset[type] = frozenset(),
    written: type | None = None,
    document_key: Hashable = None,
    fallback: Callable[..., Any] | None = core_execute,
    **others: Any,
) -> ExecutionResult | Awaitable[ExecutionResult]:
    """Execute an operation of a validated document, as graphql-core's `execute` does.

    `plans` keeps compiled plans, by the identity of the document or by `document_key` where that is given.
    `native` are classes that the caller's encoder writes exactly as the scalars of such values would: they
    are left as they are. `written` is the class of what it writes as the JSON that it holds already (orjson's
    `Fragment`): functions that can make such rows are told how (`columns.py`). Whatever changes how graphql-core
    executes (a middleware, an executor class, an abort signal…) is left to graphql-core, as are operations that
    plans do not support: `fallback` is called with the same arguments. Raises Unsupported when that is None.
    """
    changes = (middleware, executor_class, is_awaitable, is_async_iterable, abort_signal, hooks)
    bound = None
    if not others and changes == _NO_CHANGES:
        with suppress(Unsupported):
            bound = bind(
                schema, document, variable_values, operation_name, field_resolver, type_resolver,
                max_coercion_errors, hide_suggestions, plans=PlanCache(1) if plans is None else plans,
                native=native, written=written, document_key=document_key,
            )  # fmt: skip
    if bound is None:
        if fallback is None:
            raise Unsupported
        answer: ExecutionResult | Awaitable[ExecutionResult] = fallback(
            schema, document, root_value, context_value, variable_values, operation_name,
            field_resolver, type_resolver, subscribe_field_resolver, max_coercion_errors,
            enable_early_execution, *changes[:4],
            hide_suggestions, abort_signal, hooks, **others,
        )  # fmt: skip
        return answer
    if isinstance(bound, list):
        return ExecutionResult(None, bound)
    return bound.execute(root_value, context_value)


@dataclass(slots=True)
class Bound:
    """An operation that is ready to be executed: its plan, and the variables, coerced."""

    plan: Plan
    variables: VariableValues
    hide_suggestions: bool

    def execute(self, root_value: Any, context: Any) -> ExecutionResult | Awaitable[ExecutionResult]:
        """Execute the operation; at once where nothing has to be waited for."""
        run = self._run(context)
        return run.steps.drive(run.execute(root_value))

    def wait(self, root_value: Any, context: Any) -> Awaitable[ExecutionResult]:
        """`execute`, for whoever waits in any case: that saves finding out whether anybody has to."""
        return self._run(context).execute(root_value)

    async def execute_each(self, root_values: Sequence[Any], context: Any) -> list[ExecutionResult]:
        """Execute a query or an event of a subscription for each of these root values.

        They are one level of rows, so that a relation is asked once for all of them. What went wrong in one
        concerns that one alone.
        """
        results = await self._run(context).execute_together(root_values)
        if results is None:
            results = [await self._run(context).execute(root_value) for root_value in root_values]
        return results

    def _run(self, context: Any) -> Run:
        return Run(self.plan, context, self.variables, self.hide_suggestions)


def bind(
    schema: GraphQLSchema,
    document: DocumentNode,
    variable_values: dict[str, Any] | None = None,
    operation_name: str | None = None,
    field_resolver: Callable[..., Any] | None = None,
    type_resolver: GraphQLTypeResolver | None = None,
    max_coercion_errors: int = 50,
    hide_suggestions: bool = False,
    *,
    plans: PlanCache,
    native: frozenset[type] = frozenset(),
    written: type | None = None,
    document_key: Hashable = None,
) -> Bound | list[GraphQLError]:
    """The first half of `execute`: find or compile the plan and coerce the variables, or say what is wrong with
    these. Raises Unsupported.
    """
    name = id(document) if document_key is None else document_key
    key = (id(schema), name, operation_name, native, written, field_resolver, type_resolver)
    operation = plans.operation(key, document, partial(operation_of, schema, document, operation_name))
    variables = operation.variables.coerce(variable_values or {}, max_coercion_errors, hide_suggestions)
    if isinstance(variables, list):
        return variables
    conditions = _conditions(operation, variables)
    settings = Settings(native, written, field_resolver, type_resolver)
    plan = plans.plan((key, *conditions.values()), partial(compile_plan, operation, conditions, settings))
    return Bound(plan, variables, hide_suggestions)


def bind_plan(
    plan: Plan, variable_values: dict[str, Any], max_coercion_errors: int = 50, hide_suggestions: bool = False
) -> Bound | list[GraphQLError]:
    """`bind` for who has kept the plan of an operation that is planned alike whatever its variables are, which is
    one without `conditions`.
    """
    variables = plan.operation.variables.coerce(variable_values, max_coercion_errors, hide_suggestions)
    return variables if isinstance(variables, list) else Bound(plan, variables, hide_suggestions)


def _conditions(operation: Operation, variables: VariableValues) -> dict[str, bool]:
    """The values of the variables that choose the plan."""
    conditions: dict[str, bool] = {}
    for name in operation.conditions:
        value = variables.coerced.get(name)
        if not isinstance(value, bool):
            raise Unsupported("a condition that is null")  # an error, for which graphql-core has the words
        conditions[name] = value
    return conditions
