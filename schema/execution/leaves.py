"""Leaves: scalars and enums, and how their values are completed.

Each has an exact function, which raises what graphql-core raises, and a quick one for generated code,
which raises anything at all where the value is unusual: the careful path then finds out what is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLBoolean,
    GraphQLEnumType,
    GraphQLFloat,
    GraphQLID,
    GraphQLInt,
    GraphQLScalarType,
    GraphQLString,
    Undefined,
)
from graphql.pyutils import inspect

from .classes import is_plain

LeafType = GraphQLScalarType | GraphQLEnumType
Complete = Callable[[Any], Any]

_WELL_KNOWN = (
    # (scalar, class of its values, condition under which such a value is not what it should be)
    (GraphQLString, str, "{value}.__class__ is not str"),
    (GraphQLID, str, "{value}.__class__ is not str"),
    (GraphQLBoolean, bool, "{value} is not True and {value} is not False"),
    # Numbers of 30 bits are compared quickly; what is larger has its range checked by the function.
    (GraphQLInt, int, "{value}.__class__ is not int or not -1073741824 < {value} < 1073741824"),
    # The difference is NaN for infinities and for NaN.
    (GraphQLFloat, float, "{value}.__class__ is not float or {value} - {value} != 0.0"),
)


_CALL = "{leaf}({value})"
_MOST_NAMES = 4096  # an enum of the caller's own making may find names for any number of values


class Unusual(Exception):
    """Met in generated code: leave this list to the careful path."""


@dataclass(slots=True, eq=False)
class Leaf:
    """How values of a scalar or enum become values of the response."""

    exact: Complete
    quick: "Complete | _Names"
    untouched: frozenset[type]
    """Classes whose values are answered as they are, all of them."""
    call: str
    """For generated code: `quick` of `{value}`, by the name `{leaf}`."""
    unless: str
    """For generated code: the condition under which `{value}`, not null, has to go through `quick`."""


def leaf_of(type_: LeafType, native: frozenset[type]) -> Leaf:
    """How values of this type are completed, when the encoder writes `native` classes itself."""
    if isinstance(type_, GraphQLEnumType):
        return Leaf(_exactly(type_, frozenset()), _Names(type_), frozenset(), "{leaf}[{value}]", "")
    for scalar, cls, unless in _WELL_KNOWN:
        if type_ is scalar and not (native and scalar is GraphQLID):
            untouched: frozenset[type] = frozenset({cls} if cls in {str, bool} else ())
            exact = _exactly(type_, untouched)
            return Leaf(exact, _quickly(exact), untouched, _CALL, unless)
    untouched = native.union({str}) if type_ is GraphQLID else native
    exact = _exactly(type_, untouched)
    unless = "{value}.__class__ not in {leaf}_untouched" if untouched else ""
    if len(untouched) == 1:  # the same, quicker
        unless = "{value}.__class__ is not {leaf}_only"
    if type_ is GraphQLID:
        unless = "{value}.__class__ is not str and " + unless
    return Leaf(exact, _quickly(exact), untouched, _CALL, unless)


def _exactly(type_: LeafType, untouched: frozenset[type]) -> Complete:
    coerce = type_.coerce_output_value

    def complete(value: Any) -> Any:
        if value.__class__ in untouched:
            return value
        coerced = coerce(value)
        if coerced is None or coerced is Undefined:
            raise TypeError(
                f"Expected `{inspect(type_)}.coerce_output_value({inspect(value)})`"
                f" to return non-nullable value, returned: {inspect(coerced)}"
            )
        return coerced

    return complete


def _quickly(exact: Complete) -> Complete:
    def complete(value: Any) -> Any:
        if is_plain(value.__class__):
            return exact(value)
        raise Unusual

    return complete


class _Names(dict[Any, str]):
    """An enum's names by their values, including values that equal none but were found to have a name."""

    def __init__(self, type_: GraphQLEnumType) -> None:
        super().__init__()
        self._complete = _quickly(_exactly(type_, frozenset()))

    def __missing__(self, value: Any) -> str:
        name: str = self._complete(value)
        if len(self) < _MOST_NAMES:
            self[value] = name
        return name
