"""Failures: errors on their way up, and which of them the response shows.

A value that could not be completed is replaced by a `Failure`. It moves up through whatever may not be
null and ends at the nearest position that may, which becomes null. All fields of a level are executed, so
there may be several failures where graphql-core, which gives up a selection at its first error, has one;
`shown` leaves out those that it would not have met.
"""

from dataclasses import dataclass
from typing import NamedTuple

from graphql import GraphQLError, located_error

from .places import FieldPlaces, Order


@dataclass(slots=True, eq=False)
class Failure:
    """Stands in a column in the place of a value that could not be completed."""

    error: GraphQLError
    order: Order


class Nulled(NamedTuple):
    """A failure that made a position of the response null."""

    order: Order
    position: Order
    error: GraphQLError


def failure_at(error: Exception, places: FieldPlaces, index: int) -> Failure:
    """The failure of one value of a column."""
    path = places.path(index)
    assert path is not None
    return Failure(located_error(error, places.field.nodes, path.as_list()), places.order(index))


def shown(failures: list[Nulled]) -> list[GraphQLError]:
    """The errors of the response: all but those below a position that an earlier one had made null."""
    positions: set[Order] = set()
    errors = []
    for _, position, error in sorted(failures, key=lambda failure: failure.order):
        if not any(position[:depth] in positions for depth in range(len(position) + 1)):
            positions.add(position)
            errors.append(error)
    return errors
