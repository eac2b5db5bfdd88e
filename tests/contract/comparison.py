"""Two ways to execute an operation, compared: data as the bytes that would be sent, errors as callers see them.

What cannot be expected to be equal, and what is required of it instead:

- The order of errors. Resolvers run concurrently, and the specification gives errors no order.
- Which error is told where several would make the same position null: the specification wants one of them, and
  which comes first is up to the clock. So the positions that are null have to be the same; each error that one
  way alone tells has to be what the other tells when it is asked for that field alone; and a plan tells none
  for what an error that it told before had made null.
- Links to images change with the hour: what was asked across its turn is asked again.
"""

import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import isawaitable
from typing import Any

import orjson
from graphql import DocumentNode, ExecutionResult

from server.errors import INTERNAL, graphql_error
from tests.contract.pruning import alone

# Of graphql-core's answers everything has to be what JSON knows.
_PLAIN = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_PASSTHROUGH_SUBCLASS | orjson.OPT_PASSTHROUGH_DATACLASS

Position = tuple[Any, ...]


@dataclass(frozen=True)
class Answer:
    """`errors` as bytes, too."""

    data: bytes
    errors: list[bytes]

    @classmethod
    async def of_plan(cls, result: Any) -> "Answer":
        return await cls._of(result, 0)

    @classmethod
    async def of_core(cls, result: Any) -> "Answer":
        return await cls._of(result, _PLAIN)

    @classmethod
    async def _of(cls, result: Any, option: int) -> "Answer":
        result = await result if isawaitable(result) else result
        assert isinstance(result, ExecutionResult)
        errors = [graphql_error(error).formatted for error in result.errors or ()]
        assert INTERNAL not in [error["extensions"]["code"] for error in errors], result.errors
        return cls(orjson.dumps(result.data, option=option), [*map(orjson.dumps, errors)])

    @property
    def began(self) -> bool:
        """Whether it was executed at all."""
        return all("path" in orjson.loads(error) for error in self.errors)

    def null(self, error: bytes) -> Position:
        """The position that this error made null, as far as the data shows it."""
        data, path = orjson.loads(self.data), orjson.loads(error)["path"]
        for depth, key in enumerate(path):
            if data is None:
                return tuple(path[:depth])
            data = data[key]
        assert data is None
        return tuple(path)

    def nulls(self) -> Counter[Position]:
        return Counter(map(self.null, self.errors))


Execution = Callable[[DocumentNode], Awaitable[list[Answer]]]
"""Executes an operation, for one root value or for several."""


@dataclass(frozen=True)
class Comparison:
    """Of the operation of this name."""

    document: DocumentNode
    name: str | None
    plan: Execution
    core: Execution

    async def check(self) -> None:
        """Raises AssertionError where the answers differ."""
        planned, expected = await self._answers()
        assert len(planned) == len(expected)
        for index, (answer, meant) in enumerate(zip(planned, expected, strict=True)):
            assert answer.data == meant.data, _difference(answer.data, meant.data)
            if not meant.began:
                assert answer.errors == meant.errors, (answer.errors, meant.errors)
            elif sorted(answer.errors) != sorted(meant.errors):
                await self._compare_errors(index, answer, meant)

    async def _answers(self) -> tuple[list[Answer], list[Answer]]:
        while True:
            hour = time.time() // 3600
            answers = await self.plan(self.document), await self.core(self.document)
            if time.time() // 3600 == hour:
                return answers

    async def _compare_errors(self, index: int, answer: Answer, meant: Answer) -> None:
        assert answer.nulls().keys() == meant.nulls().keys(), (answer.errors, meant.errors)
        told, expected = Counter(answer.errors), Counter(meant.errors)
        for error in told - expected:
            assert error in (await self._alone(self.core, index, error)).errors, (error, meant.errors)
        for error in expected - told:
            assert error in (await self._alone(self.plan, index, error)).errors, (error, answer.errors)
        await self._assert_none_is_in_vain(index, answer)

    async def _assert_none_is_in_vain(self, index: int, answer: Answer) -> None:
        several = [position for position, count in answer.nulls().items() if count > 1]
        before: list[Position] = []
        for error in answer.errors:
            if answer.null(error) in several:
                position = (await self._alone(self.plan, index, error)).null(error)
                assert not [above for above in before if position[: len(above)] == above], answer.errors
                before.append(position)

    async def _alone(self, execution: Execution, index: int, error: bytes) -> Answer:
        """The answer to an operation in which only the field of this error is asked."""
        keys = [key for key in orjson.loads(error)["path"] if isinstance(key, str)]
        return (await execution(alone(self.document, self.name, keys)))[index]


def _difference(data: bytes, expected: bytes) -> str:
    """Where data begins to differ: what the plan says there, and what graphql-core says."""
    same = next((index for index, (one, other) in enumerate(zip(data, expected, strict=False)) if one != other), 0)
    begin = max(0, same - 100)
    return f"at {begin}: {data[begin : begin + 300]!r} instead of {expected[begin : begin + 300]!r}"
