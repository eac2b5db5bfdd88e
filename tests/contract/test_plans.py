"""Random operations over the real schema and database: plans answer what graphql-core answers, byte for byte.

graphql-core executes the same schema by Strawberry's own resolvers and DataLoaders. `comparison.py` says what
equal means.

`QM_TESTS_PLANS=5000` asks for so many operations, new ones in each run. Without it they are always the same, and
either way Hypothesis prints the seed of one that fails.
"""

import asyncio
import os
import random
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from graphql import DocumentNode, ExecutionResult, parse, validate
from graphql import execute as core_execute
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st
from orjson import Fragment

from schema.execution import PlanCache, bind, execute
from tests.contract.comparison import Answer, Comparison
from tests.contract.documents import graphql_schema
from tests.contract.operations import Asked, OperationWriter
from tests.contract.world import World
from tests.support.stack import Stack

# graphql-core gives up what it does not need any more without awaiting it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"),
]

_OPERATIONS = os.environ.get("QM_TESTS_PLANS")
_NATIVE = frozenset({datetime})  # as the server's, and `Fragment`
_CALLERS = [
    *("admin", "operator", "viewer", "client") * 4,
    *("viewer of another client", "device", "nobody", "nobody any more"),
]
_seeds = st.integers(0, 2**32)
_callers = st.sampled_from(_CALLERS)
_two_callers = st.lists(_callers, min_size=2, max_size=2)
_plans = PlanCache(20)


def _so_many(by_default: int) -> settings:
    return settings(
        max_examples=int(_OPERATIONS or by_default),
        derandomize=_OPERATIONS is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.generate],  # a smaller seed is no smaller operation
    )


class _Inside:
    """The world, and the event loop that it is in. Not a dataclass: Hypothesis would print all of it."""

    def __init__(self, world: World, run: Callable[[Coroutine[Any, Any, Any]], Any]) -> None:
        self.world = world
        self.run = run


@pytest.fixture(scope="module")
def inside(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Inside]:
    with asyncio.Runner() as runner:
        opened = AsyncExitStack()
        world = runner.run(opened.enter_async_context(World.opened(stack, tmp_path_factory.mktemp("plans"))))
        yield _Inside(world, runner.run)
        runner.run(opened.aclose())


def _parsed(asked: Asked) -> DocumentNode:
    note(str(asked))
    document = parse(asked.text)
    assert not validate(graphql_schema(), document)
    return document


@_so_many(300)
@given(_seeds, _two_callers)
def test_data_and_errors_are_those_of_graphql_core(inside: _Inside, seed: int, callers: list[str]) -> None:
    """For two callers; the second asks under the opposite conditions and is answered by what was kept."""
    asked = OperationWriter(graphql_schema(), seed, inside.world.samples).query()
    document = _parsed(asked)
    values = asked.variables.items()
    opposite = {name: not value if isinstance(value, bool) else value for name, value in values}
    for caller, variables in zip(callers, (asked.variables, opposite), strict=True):
        inside.run(_query(inside.world, caller, replace(asked, variables=variables), document).check())


def _query(world: World, caller: str, asked: Asked, document: DocumentNode) -> Comparison:
    schema = graphql_schema()

    async def plan(document: DocumentNode) -> list[Answer]:
        request = (schema, document, None, world.context(caller), asked.variables, asked.name)
        return [
            await Answer.of_plan(execute(*request, plans=_plans, native=_NATIVE, written=Fragment, fallback=None))
        ]

    async def core(document: DocumentNode) -> list[Answer]:
        request = (schema, document, None, world.context(caller), asked.variables, asked.name)
        return [await Answer.of_core(core_execute(*request))]

    return Comparison(document, asked.name, plan, core)


@_so_many(100)
@given(_seeds, _callers)
def test_what_subscribers_are_told_of_events_is_that_of_graphql_core(
    inside: _Inside, seed: int, caller: str
) -> None:
    """Plans execute several events at once, as one level of rows."""
    asked = OperationWriter(graphql_schema(), seed, inside.world.samples).subscription()
    inside.run(_subscription(inside.world, caller, asked, random.Random(seed)).check())


def _subscription(world: World, caller: str, asked: Asked, random_: random.Random) -> Comparison:
    schema, events = graphql_schema(), random_.sample(world.events, 5)

    async def plan(document: DocumentNode) -> list[Answer]:
        bound = bind(schema, document, asked.variables, asked.name, plans=_plans, native=_NATIVE)
        if isinstance(bound, list):
            return [await Answer.of_plan(ExecutionResult(None, bound))] * len(events)
        name = bound.plan.root.fields[0].name
        results = await bound.execute_each([{name: event} for event in events], world.context(caller))
        return [await Answer.of_plan(result) for result in results]

    async def core(document: DocumentNode) -> list[Answer]:
        return [
            await Answer.of_core(
                core_execute(schema, document, event, world.context(caller), asked.variables, asked.name)
            )
            for event in events
        ]

    return Comparison(_parsed(asked), asked.name, plan, core)
