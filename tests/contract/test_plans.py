"""Random operations over the real schema and database: plans answer what graphql-core answers, byte for byte.

graphql-core executes the same schema by Strawberry's own resolvers and DataLoaders; data is compared as the
bytes that would be sent, errors as callers see them. What cannot be expected to be equal, and how it is:

- The order of errors. Both run resolvers concurrently, and the specification gives errors no order.
- Which error is told where several would make the same position null: of these the specification wants one,
  and which comes first is up to the clock. So each error that only one of them tells has to be what the other
  tells when it is asked for that field alone, and the positions that are null have to be the same.
- Links to images change with the hour: what was asked across its turn is asked again.

`QM_TESTS_PLANS=5000` asks for so many operations, new ones in each run. Without it they are always the same,
and Hypothesis prints the seed of one that fails.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from inspect import isawaitable
from typing import Any, TypeVar

import orjson
import pytest
from graphql import DocumentNode, ExecutionResult, parse, validate
from graphql import execute as core_execute
from hypothesis import HealthCheck, Phase, given, note, settings
from hypothesis import strategies as st

from schema.execution import PlanCache, bind, execute
from server.errors import INTERNAL, graphql_error
from tests.contract.documents import graphql_schema
from tests.contract.operations import Asked, OperationWriter
from tests.contract.pruning import alone
from tests.contract.world import World
from tests.support.stack import Stack

T = TypeVar("T")

# graphql-core gives up what it does not need any more without awaiting it.
pytestmark = [
    pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning"),
    pytest.mark.filterwarnings("ignore:Exception ignored in. <coroutine:pytest.PytestUnraisableExceptionWarning"),
]

_EXAMPLES = os.environ.get("QM_TESTS_PLANS")
_NATIVE = frozenset({datetime})  # as the server's
_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS
_CALLERS = [
    *("admin", "operator", "viewer", "client") * 4,
    *("viewer of another client", "device", "nobody", "nobody any more"),
]
_seeds = st.integers(0, 2**32)
_callers = st.sampled_from(_CALLERS)
_two_callers = st.lists(_callers, min_size=2, max_size=2)
_plans = PlanCache(20)


def _thorough(share: float) -> settings:
    return settings(
        max_examples=max(1, int(share * int(_EXAMPLES or 300))),
        derandomize=_EXAMPLES is None,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow],
        phases=[Phase.explicit, Phase.generate],  # a smaller seed is no smaller operation
    )


class _Inside:
    """The world, and the event loop in which it is. Hypothesis would print a dataclass whole."""

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


@dataclass(frozen=True)
class _Answer:
    body: bytes
    errors: list[dict[str, Any]]

    @classmethod
    async def of(cls, result: Any, option: int = 0) -> "_Answer":
        result = await result if isawaitable(result) else result
        assert isinstance(result, ExecutionResult)
        errors = [graphql_error(error).formatted for error in result.errors or ()]
        assert INTERNAL not in [error["extensions"]["code"] for error in errors], result.errors
        return cls(orjson.dumps(result.data, option=option), [dict(error) for error in errors])

    def nulls(self) -> set[tuple[Any, ...]]:
        """The positions that errors made null, as far as the data shows them."""
        data = orjson.loads(self.body)
        return {_null_position(data, error.get("path") or []) for error in self.errors}


def _null_position(data: Any, path: list[Any]) -> tuple[Any, ...]:
    for depth, key in enumerate(path):
        if data is None:
            return tuple(path[:depth])
        data = data[key]
    assert data is None
    return tuple(path)


Execution = Callable[[DocumentNode], Awaitable[list[_Answer]]]
"""Of an operation, for one root value or several."""


async def _assert_equal(asked: Asked, document: DocumentNode, plan: Execution, core: Execution) -> None:
    expected, told = await _within_an_hour(lambda: _both(core(document), plan(document)))
    for index, (meant, answer) in enumerate(zip(expected, told, strict=True)):
        assert answer.body == meant.body
        if not any("path" in error for error in meant.errors):  # it was not even begun
            assert answer.errors == meant.errors
            continue
        assert answer.nulls() == meant.nulls()
        ours, theirs = (Counter(map(orjson.dumps, each.errors)) for each in (answer, meant))
        for error in ours - theirs:
            assert error in await _alone(core, index, document, asked, error)
        for error in theirs - ours:
            assert error in await _alone(plan, index, document, asked, error)


async def _both(expected: Awaitable[T], told: Awaitable[T]) -> tuple[T, T]:
    return await expected, await told


async def _within_an_hour(ask: Callable[[], Awaitable[T]]) -> T:
    while True:
        began = time.time() // 3600
        answer = await ask()
        if time.time() // 3600 == began:
            return answer


async def _alone(
    execution: Execution, index: int, document: DocumentNode, asked: Asked, error: bytes
) -> list[bytes]:
    """The errors of an execution in which only the field of this error is asked."""
    path = orjson.loads(error)["path"]
    answers = await execution(alone(document, asked.name, [key for key in path if isinstance(key, str)]))
    return [*map(orjson.dumps, answers[index].errors)]


def _parsed(asked: Asked) -> DocumentNode:
    note(str(asked))
    document = parse(asked.text)
    assert not validate(graphql_schema(), document)
    return document


def _turned_around(asked: Asked) -> Asked:
    """The same operation under the opposite conditions."""
    values = asked.variables.items()
    return replace(
        asked, variables={name: not value if isinstance(value, bool) else value for name, value in values}
    )


@_thorough(0.7)
@given(_seeds, _two_callers)
def test_data_and_errors_are_those_of_graphql_core(inside: _Inside, seed: int, callers: list[str]) -> None:
    """For two callers, of whom the second is answered by what was kept of the first."""
    world, schema = inside.world, graphql_schema()
    first = OperationWriter(schema, seed, world.samples).query()
    document = _parsed(first)
    for caller, asked in zip(callers, [first, _turned_around(first)], strict=True):

        async def plan(document: DocumentNode, caller: str = caller, asked: Asked = asked) -> list[_Answer]:
            request = (schema, document, None, world.context(caller), asked.variables, asked.name)
            return [await _Answer.of(execute(*request, plans=_plans, native=_NATIVE, fallback=None))]

        async def core(document: DocumentNode, caller: str = caller, asked: Asked = asked) -> list[_Answer]:
            request = (schema, document, None, world.context(caller), asked.variables, asked.name)
            return [await _Answer.of(core_execute(*request), _PLAIN)]

        inside.run(_assert_equal(asked, document, plan, core))


@_thorough(0.3)
@given(_seeds, _callers)
def test_events_of_subscriptions_are_those_of_graphql_core(inside: _Inside, seed: int, caller: str) -> None:
    """Several events at once, as one level of rows."""
    world, schema = inside.world, graphql_schema()
    asked = OperationWriter(schema, seed, world.samples).subscription()
    document = _parsed(asked)
    events = random.Random(seed).sample(world.events, 5)

    async def plan(document: DocumentNode) -> list[_Answer]:
        bound = bind(schema, document, asked.variables, asked.name, plans=_plans, native=_NATIVE)
        if isinstance(bound, list):
            return [await _Answer.of(ExecutionResult(None, bound))] * len(events)
        name = bound.plan.root.fields[0].name
        results = await bound.execute_each([{name: event} for event in events], world.context(caller))
        return [await _Answer.of(result) for result in results]

    async def core(document: DocumentNode) -> list[_Answer]:
        results = [
            core_execute(schema, document, event, world.context(caller), asked.variables, asked.name)
            for event in events
        ]
        return [await _Answer.of(result, _PLAIN) for result in results]

    inside.run(_assert_equal(asked, document, plan, core))
