"""The entry point: graphql-core's `execute`, by plans."""

from collections.abc import Awaitable, Callable, Hashable
from contextlib import suppress
from functools import partial
from typing import Any

from graphql import DocumentNode, ExecutionResult, GraphQLError, GraphQLSchema, GraphQLTypeResolver
from graphql.execution import execute as core_execute
from graphql.execution.values import VariableValues, get_variable_values

from .cache import PlanCache
from .compile import compile_plan, operation_of
from .plan import Operation, Plan, Settings, Unsupported
from .run import Run

_NO_CHANGES = (None,) * 6
_NO_VARIABLES = VariableValues({}, {})


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
    document_key: Hashable = None,
    fallback: Callable[..., Any] | None = core_execute,
    **others: Any,
) -> ExecutionResult | Awaitable[ExecutionResult]:
    """Execute an operation of a validated document, as graphql-core's `execute` does.

    `plans` keeps compiled plans, by the identity of the document or by `document_key` where that is given.
    `native` are classes that the caller's encoder writes exactly as the scalars of such values would: they
    are left as they are. Whatever changes how graphql-core executes (a middleware, an executor class, an
    abort signal…) is left to graphql-core, as are operations that plans do not support: `fallback` is called
    with the same arguments. Raises Unsupported when that is None.
    """

    changes = (middleware, executor_class, is_awaitable, is_async_iterable, abort_signal, hooks)
    planned = None
    if not others and changes == _NO_CHANGES:
        settings = Settings(native, field_resolver, type_resolver)
        plans = PlanCache(1) if plans is None else plans
        limits = (max_coercion_errors, hide_suggestions)
        with suppress(Unsupported):
            planned = _planned(
                plans, schema, document, operation_name, document_key, settings, variable_values, limits
            )
    if planned is None:
        if fallback is None:
            raise Unsupported
        answer: ExecutionResult | Awaitable[ExecutionResult] = fallback(
            schema, document, root_value, context_value, variable_values, operation_name,
            field_resolver, type_resolver, subscribe_field_resolver, max_coercion_errors,
            enable_early_execution, *changes[:4],
            hide_suggestions, abort_signal, hooks, **others,
        )  # fmt: skip
        return answer
    if isinstance(planned, list):
        return ExecutionResult(None, planned)
    run = Run(planned[0], root_value, context_value, planned[1], hide_suggestions)
    return run.steps.drive(run.execute())


def _planned(
    plans: PlanCache,
    schema: GraphQLSchema,
    document: DocumentNode,
    operation_name: str | None,
    document_key: Hashable,
    settings: Settings,
    values: dict[str, Any] | None,
    limits: tuple[int, bool],
) -> tuple[Plan, VariableValues] | list[GraphQLError]:
    """The plan of an operation and its variables, or what is wrong with these. Raises Unsupported."""
    name = id(document) if document_key is None else document_key
    key = (id(schema), name, operation_name, settings.native, settings.field_resolver, settings.type_resolver)
    operation = plans.operation(key, document, partial(operation_of, schema, document, operation_name))
    variables = _variables(operation, values, *limits)
    if isinstance(variables, list):
        return variables
    conditions = _conditions(operation, variables)
    make = partial(compile_plan, operation, conditions, settings)
    return plans.plan((key, *conditions.values()), make), variables


def _variables(
    operation: Operation, values: dict[str, Any] | None, max_errors: int, hide_suggestions: bool
) -> VariableValues | list[GraphQLError]:
    definitions = operation.node.variable_definitions
    if not definitions:
        return _NO_VARIABLES
    return get_variable_values(
        operation.schema, definitions, values or {}, max_errors=max_errors, hide_suggestions=hide_suggestions
    )


def _conditions(operation: Operation, variables: VariableValues) -> dict[str, bool]:
    """The values of the variables that choose the plan."""
    conditions: dict[str, bool] = {}
    for name in operation.conditions:
        value = variables.coerced.get(name)
        if not isinstance(value, bool):
            raise Unsupported("a condition that is null")  # an error, for which graphql-core has the words
        conditions[name] = value
    return conditions
