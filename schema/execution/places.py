"""Places: where the values of a column stand in the response.

Nothing is tracked while values are completed. A column only remembers how it came about: from the fields of
a level of parents, by flattening lists, by picking some values of another column. When an error or a
resolver needs the path of a value it is worked out from that.
"""

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, Protocol

from graphql import GraphQLResolveInfo
from graphql.pyutils import Path

from .plan import Field

Order = tuple[int, ...]
"""Like a path, but of the fields' positions: sorts as graphql-core visits, field by field, depth first."""


class Places(Protocol):
    """Where the values of a column stand; `index` is a value's position in the column."""

    def path(self, index: int) -> Path | None:
        """The path of the value in the response."""

    def order(self, index: int) -> Order:
        """The path of the value, comparable."""


class FieldPlaces(Places, Protocol):
    """Places of values of one field."""

    @property
    def field(self) -> Field:
        """The field that the values belong to."""

    def info(self, index: int) -> GraphQLResolveInfo[Any]:
        """What graphql-core tells resolvers of the field. Within lists it is that of the whole list."""


class Top:
    """The root object."""

    def path(self, index: int) -> None:
        return None

    def order(self, index: int) -> Order:
        return ()


class Items:
    """The items of lists, one list after the other."""

    def __init__(self, lists: Sequence[Sequence[object]], outer: FieldPlaces) -> None:
        self.field = outer.field
        self._lists = lists
        self._outer = outer
        self._starts: list[int] = []

    def path(self, index: int) -> Path:
        owner, item = self._find(index)
        return Path(self._outer.path(owner), item, None)

    def order(self, index: int) -> Order:
        owner, item = self._find(index)
        return (*self._outer.order(owner), item)

    def info(self, index: int) -> GraphQLResolveInfo[Any]:
        return self._outer.info(self._find(index)[0])

    def _find(self, index: int) -> tuple[int, int]:
        if not self._starts:
            self._starts = list(accumulate(map(len, self._lists), initial=0))
        # Empty lists start where the next one does: the last that starts there has the item.
        owner = bisect_right(self._starts, index) - 1
        return owner, index - self._starts[owner]


class Picked:
    """Some values of another column."""

    def __init__(self, indexes: Sequence[int], outer: FieldPlaces) -> None:
        self.field = outer.field
        self._indexes = indexes
        self._outer = outer

    def path(self, index: int) -> Path | None:
        return self._outer.path(self._indexes[index])

    def order(self, index: int) -> Order:
        return self._outer.order(self._indexes[index])

    def info(self, index: int) -> GraphQLResolveInfo[Any]:
        return self._outer.info(self._indexes[index])
