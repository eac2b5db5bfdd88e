"""Random operations over random data: plans answer what graphql-core answers."""

import asyncio
import json
from typing import Any

import pytest
from graphql import DocumentNode, ExecutionResult, GraphQLError, parse, validate
from graphql import execute as core_execute
from graphql.pyutils import is_awaitable
from graphql.validation import NoUnusedVariablesRule, specified_rules
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schema.execution import PlanCache, compile_operation, execute
from tests.execution.queries import CONDITIONS, queries
from tests.execution.world import SCHEMA, World

_RULES = [rule for rule in specified_rules if rule is not NoUnusedVariablesRule]
_plans = PlanCache(20)

# graphql-core gives up what it does not need any more without awaiting it.
pytestmark = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")

_thorough = settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)

_worlds = st.tuples(st.integers(0, 2**32), st.sampled_from([0.0, 0.02, 0.1]))
_variables = st.fixed_dictionaries(
    dict.fromkeys(CONDITIONS, st.booleans()), optional={"n": st.sampled_from([0, 1, 2, 5])}
)


def document_of(text: str) -> DocumentNode:
    document = parse(text)
    assume(not validate(SCHEMA, document, _RULES))
    return document


def encoded(result: ExecutionResult) -> str:
    """The data, with the order of its keys."""
    return json.dumps(result.data)


def told(error: GraphQLError) -> tuple[Any, ...]:
    original = type(error.original_error).__name__
    return error.message, error.path, [(each.line, each.column) for each in error.locations or ()], original


def nulls(result: ExecutionResult) -> list[tuple[Any, ...]]:
    """The positions that errors made null, as far as the data shows them."""
    return sorted({null_position(result.data, error.path or []) for error in result.errors or ()}, key=str)


def null_position(data: Any, path: list[Any]) -> tuple[Any, ...]:
    for depth, key in enumerate(path):
        if data is None:
            return tuple(path[:depth])
        data = data[key]
    assert data is None
    return tuple(path)


async def both(world: World, document: DocumentNode, variables: dict[str, Any]) -> tuple[Any, Any]:
    """The results of graphql-core and of a plan."""
    request = (SCHEMA, document, world.root, world.context, variables)
    expected: Any = core_execute(*request)
    expected = await expected if is_awaitable(expected) else expected
    result: Any = execute(*request, plans=_plans)
    return expected, await result if is_awaitable(result) else result


@_thorough
@given(_worlds, queries(SCHEMA), _variables)
def test_data_and_errors_equal_those_of_graphql_core(
    origin: tuple[int, float], text: str, variables: dict[str, Any]
) -> None:
    document = document_of(text)
    expected, result = asyncio.run(both(World(*origin, waits=False), document, variables))
    assert encoded(result) == encoded(expected)
    assert [*map(told, result.errors or ())] == [*map(told, expected.errors or ())]


@_thorough
@given(_worlds, queries(SCHEMA), _variables)
def test_what_is_awaited_is_answered_as_by_graphql_core(
    origin: tuple[int, float], text: str, variables: dict[str, Any]
) -> None:
    """Which of several errors that make the same position null is told depends on the clock there."""
    document = document_of(text)
    expected, result = asyncio.run(both(World(*origin, waits=True), document, variables))
    assert encoded(result) == encoded(expected)
    assert nulls(result) == nulls(expected)


@_thorough
@given(queries(SCHEMA), st.fixed_dictionaries(dict.fromkeys(CONDITIONS, st.booleans())))
def test_every_random_operation_is_supported_by_plans(text: str, conditions: dict[str, bool]) -> None:
    document = document_of(text)
    plan = compile_operation(SCHEMA, document, None, conditions)
    assert plan.operation.document is document
