"""Relations: fields that are declared here, with their arguments and docs, and answered in `resolvers/`.

A relation has no body. Its batch resolver is called once with all the parents of a level and returns
their values in the same order, so there is no query per row. Stock execution asks for one parent at a
time; a DataLoader per request and per set of arguments gathers them.
"""

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

import strawberry
from strawberry.dataloader import DataLoader
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

Batch = Callable[..., Awaitable[Sequence[Any]]]
"""`async def batch(ctx, parents, **arguments)`: as many values as parents, in their order."""

_answers: dict[tuple[str, str], Batch] = {}
_reads: dict[tuple[str, str], frozenset[str] | None] = {}
_declared: set[tuple[str, str]] = set()


class LoadingContext(Protocol):
    """What a request's context has to offer for relations to be answered."""

    loaders: dict[Any, DataLoader[Any, Any]]


def relation(function: Callable[..., Any]) -> Any:
    """Declare a relation by the signature and docstring of a method without a body."""
    return strawberry.field(function, description=inspect.getdoc(function), extensions=[_Batched()])


def answers(owner: type, name: str, reads: Sequence[str] | None = None) -> Callable[[Batch], Batch]:
    """Declare that the decorated batch resolver answers the relation `name` of the type `owner`.

    `reads` are the attributes of the parents that it reads, where that is known: others are not fetched then. A
    batch resolver that takes `wanted` is told in the same way what is read of what it returns.
    """

    def register(batch: Batch) -> Batch:
        _answers[owner.__name__, name] = batch
        _reads[owner.__name__, name] = None if reads is None else frozenset(reads)
        return batch

    return register


def batch_resolver(owner: str, name: str) -> Batch:
    """The batch resolver of a relation, by the Python names of its type and field."""
    return _answers[owner, name]


def batch_of(field: StrawberryField) -> tuple[Batch, frozenset[str] | None] | None:
    """The batch resolver of a field that is a relation, and what it reads of parents; None for other fields."""
    key = next((one.key for one in field.extensions if isinstance(one, _Batched)), None)
    return None if key is None else (batch_resolver(*key), _reads[key])


def unanswered() -> set[tuple[str, str]]:
    """Relations that are declared but that nothing answers."""
    return _declared - _answers.keys()


class _Batched(FieldExtension):
    key: tuple[str, str]

    def apply(self, field: StrawberryField) -> None:
        assert field.origin is not None
        self.key = (field.origin.__name__, field.python_name)
        _declared.add(self.key)

    async def resolve_async(
        self, next_: Callable[..., Awaitable[Any]], source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        return await _loader(info.context, self.key, kwargs).load(source)


def _loader(context: LoadingContext, key: tuple[str, str], arguments: dict[str, Any]) -> DataLoader[Any, Any]:
    # Inputs are dataclasses, whose repr is their whole value.
    loader_key = (key, repr(arguments))
    if loader_key not in context.loaders:
        batch = _answers[key]

        async def load(parents: list[Any]) -> Sequence[Any]:
            return await batch(context, parents, **arguments)

        # Not cached: a socket's context lives long, and what was true for one event is not for the next.
        context.loaders[loader_key] = DataLoader(load_fn=load, cache=False)
    return context.loaders[loader_key]
