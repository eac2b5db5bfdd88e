"""Hints: how a schema tells the engine where the values of a field come from.

A hint stands in `extensions["execution"]` of a field or a type. A field without one is resolved exactly as
graphql-core resolves it: by its resolver, once per parent.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

EXTENSION = "execution"
SIZED = "sized"

Arguments = dict[str, Any]
Convert = Callable[[Arguments], Arguments]
"""From coerced GraphQL arguments, all or some, to the keyword arguments of a Python function, each by itself."""


@dataclass(frozen=True, slots=True)
class Hint:
    """Where the values of a field come from; one of the classes below."""


@dataclass(frozen=True, slots=True)
class Column(Hint):
    """The field is this attribute of the row, or this key where rows are mappings or records."""

    name: str


@dataclass(frozen=True, slots=True)
class Computed(Hint):
    """The field is this synchronous and pure function of the row; it may be called twice for one row."""

    function: Callable[[Any], Any]
    reads: frozenset[str] | None = None
    """The attributes that it reads; None where that is not known."""


@dataclass(frozen=True, slots=True)
class Relation(Hint):
    """`async def batch(context, parents, **arguments)`: called once for all the parents of a level.

    It returns as many values as there are parents, in their order. A value that is an exception is that
    parent's error; when the call itself raises, every parent has that error.
    """

    batch: Callable[..., Awaitable[Sequence[Any]]]
    convert: Convert | None = None
    reads: frozenset[str] | None = None
    """The attributes of the parents that it reads; None where that is not known."""
    projects: bool = False
    """Whether it takes `wanted`: what is read of what it returns (`columns.py`)."""


@dataclass(frozen=True, slots=True)
class Root(Hint):
    """`async def function(context, **arguments)`: needs no parent."""

    function: Callable[..., Awaitable[Any]]
    convert: Convert | None = None
    projects: bool = False
    """Whether it takes `wanted`, as a relation may."""


@dataclass(frozen=True, slots=True)
class Trusted:
    """On an object type: its values are not tested with the type's `is_type_of`."""


@dataclass(frozen=True, slots=True)
class TypeName:
    """On an interface or union: the name of a row's object type is this function of the row."""

    function: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Sized:
    """On a field, under SIZED: it returns a page of at most `argument` items, and never more than `maximum`.

    `fields` are the fields of the page that list the items, bare or as edges whose field `node` is the item.
    """

    argument: str
    maximum: int
    fields: tuple[str, ...]
    node: str = "node"


def hint_of(extensions: Mapping[str, Any]) -> Any:
    """The hint among the extensions of a field or type, or None."""
    return extensions.get(EXTENSION)


def sized_of(extensions: Mapping[str, Any]) -> Sized | None:
    """How the page of a field is sized, or None."""
    return extensions.get(SIZED)
