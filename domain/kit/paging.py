"""Lists in pages: keyset cursors, the SQL that walks them, and the page that a connection is made of.

A cursor holds the order's name and the last row's value and id, so it stays right while rows come and go
and costs the same on page 1,000 as on page 1. The same statement serves a root list and, with a lateral
join, a list under each of many parents: one query for all of them.
"""

import base64
import binascii
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

import orjson
from orjson import Fragment
from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Select,
    Text,
    bindparam,
    cast,
    func,
    select,
    true,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.errors import Invalid
from domain.kit.ids import is_id
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.written import EVERYTHING, JSON, Unwritten, Wanted, written

R = TypeVar("R", bound=Row)

MAX_PAGE = 100
_CURSORS = {"start_cursor", "end_cursor"}


@dataclass(frozen=True)
class Order:
    """A way to sort a list: by one expression, ties broken by the id.

    `read` gives what the cursor holds of a row; `sorted_as` makes of that, in SQL, the expression's value, for
    what Python would compute a little differently. `column` is the one that `read` reads, where the expression is
    more than that. An order by the id column itself is one by time of making.
    """

    name: str
    descending: bool
    expression: ColumnElement[Any]
    read: Callable[[Any], Any]
    sorted_as: Callable[[ColumnElement[Any]], ColumnElement[Any]] = lambda value: value
    column: str | None = None

    def cursor(self, row: Any) -> str:
        return encode_cursor(self.name, self.read(row), row.id)

    def after(self, cursor: str | None) -> dict[str, Any]:
        """The parameters `after_value`, `after_id` for a cursor. Raises Invalid for one of another list."""
        if cursor is None:
            return {}
        name, value, row_id = decode_cursor(cursor, 3)
        if name != self.name:
            raise Invalid("This cursor belongs to another order of the list.", argument="after")
        if isinstance(self.expression.type, DateTime):
            value = _moment(value)
        if not isinstance(value, self.expression.type.python_type) or not is_id(str(row_id)):
            raise _not_a_cursor()
        return {"after_value": value, "after_id": row_id}


@dataclass
class Page(Generic[R]):
    """A stretch of a list. `count` asks for the length of the whole list, when somebody wants it."""

    nodes: Sequence[Any]
    """The rows; or, where they came as JSON, that."""
    rows: list[R]
    has_next: bool
    has_previous: bool
    order: Order
    count: "Count"
    is_full: bool
    """Whether it holds all that was asked for, so that looking further would change nothing."""

    @property
    def start_cursor(self) -> str | None:
        return self.order.cursor(self.rows[0]) if self.rows else None

    @property
    def end_cursor(self) -> str | None:
        return self.order.cursor(self.rows[-1]) if self.rows else None

    @cached_property
    def edges(self) -> "list[Edge[R]]":
        return [Edge(node, self.order.cursor(node)) for node in self.rows]

    @property
    def page_info(self) -> "Page[R]":
        return self

    @property
    def has_next_page(self) -> bool:
        return self.has_next

    @property
    def has_previous_page(self) -> bool:
        return self.has_previous


@dataclass(frozen=True, slots=True)
class Edge(Generic[R]):
    node: R
    cursor: str


def given_filters(scope: Scope, filters: Mapping[str, Any]) -> dict[str, Any]:
    """The filters that ask for something (None asks for nothing), and `scope` where it is one client's."""
    given = {name: value for name, value in filters.items() if value is not None}
    return given if scope.client_id is None else given | {"scope": scope.client_id}


def list_key(name: str, given: Mapping[str, Any], conditions: frozenset[str] = frozenset()) -> Hashable:
    """The `key` of a count: equal for equal filters of the same list. `conditions` are those without parameters."""
    return (name, conditions, tuple(sorted((key, str(value)) for key, value in given.items())))


@dataclass(frozen=True)
class Count:
    """A question that many pages may ask at once: `ask` is called once with the parents of all of them.

    Two counts are put together when their `key` (list, filter) is equal. `parent` None is a root list.
    """

    key: Hashable
    parent: str | None
    ask: Callable[[Sequence[str | None]], Awaitable[dict[str | None, int]]]


def projected(columns: Sequence[Any], wanted: Wanted, order: Order) -> list[ColumnElement[Any]]:
    """Those of a list's columns that are wanted, or their JSON, and those that its cursors are made of."""
    keys = {"id", order.column or order.expression.key}
    text = None if wanted.shape is None else written(columns, wanted.shape)
    if text is not None:
        told = wanted.page is None or not _CURSORS.isdisjoint(wanted.page)
        return [text.label(JSON), *(column for column in columns if told and column.name in keys)]
    if wanted.columns is None:
        return list(columns)
    return [column for column in columns if column.name in wanted.columns | keys]


def page_size(first: int | None, default: int = 20) -> int:
    """`first`, held to 1 … 100. Raises Invalid outside that."""
    if first is None:
        return default
    if not 1 <= first <= MAX_PAGE:
        raise Invalid(f"`first` must be between 1 and {MAX_PAGE}.", argument="first", given=first)
    return first


def paged(
    query: Select[Any], row_id: ColumnElement[str], order: Order, *, after: bool, parent: Any = None
) -> Select[Any]:
    """The query in keyset order, limited by the parameter `limit`, from `after_value` / `after_id` on.

    With `parent` (the column that names a row's parent) there is one such stretch for each of the
    parameter `parents`, and a first column `parent` says whose, counting them from 1.
    """
    keys = [row_id] if order.expression is row_id else [order.expression, row_id]
    if after:
        last: list[Any] = [
            order.sorted_as(bindparam("after_value", type_=order.expression.type)),
            bindparam("after_id", type_=row_id.type),
        ]
        here, there = tuple_(*keys), tuple_(*last[-len(keys) :])
        query = query.where(here < there if order.descending else here > there)
    query = query.order_by(*(key.desc() if order.descending else key for key in keys))
    query = query.limit(bindparam("limit", type_=BigInteger))
    if parent is None:
        return query
    # As text: its ids were read from the database, and need not be checked one by one on their way back.
    ids = cast(bindparam("parents", type_=ARRAY(Text)), ARRAY(Id))
    parents = func.unnest(ids).table_valued("id", with_ordinality="number").render_derived(name="parents")
    stretch = query.where(parent == parents.c.id).lateral("stretch")
    # The lateral join is a nested loop, which keeps each stretch in its own order.
    return select(parents.c.number.label("parent"), *stretch.c).select_from(parents.join(stretch, true()))


StatementOf = Callable[[Wanted], Statement[R]]


async def fetch_page(
    db: Runner,
    statement: StatementOf[R],
    order: Order,
    count: Count,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **parameters: Any,
) -> Page[R]:
    """One page of a root list. `statement` is that of `paged` for what is wanted."""
    limit = _limit(first, wanted)
    rows, as_json = await _rows(db, statement, wanted, {"limit": limit, **order.after(after), **parameters})
    return _page(rows, as_json, first, after, order, count, limit)


async def fetch_pages(
    db: Runner,
    statement: StatementOf[R],
    order: Order,
    count: Callable[[str], Count],
    parents: Sequence[str],
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **parameters: Any,
) -> list[Page[R]]:
    """One page for each parent, aligned with them."""
    asked = list(dict.fromkeys(parents))  # one that is asked for twice would have its rows twice
    limit = _limit(first, wanted)
    parameters |= {"parents": asked, "limit": limit, **order.after(after)}
    rows, as_json = await _rows(db, statement, wanted, parameters)
    found: list[list[R]] = [[] for _ in asked]
    for row in rows:
        found[row["parent"] - 1].append(row)  # by key: attributes of records take three times as long
    under = dict(zip(asked, found, strict=True))
    return [_page(under[parent], as_json, first, after, order, count(parent), limit) for parent in parents]


def _limit(first: int, wanted: Wanted) -> int:
    """One row more than the page holds, where somebody wants to know whether there is one."""
    return first + (wanted.page is None or "has_next_page" in wanted.page)


async def _rows(
    db: Runner, statement: StatementOf[R], wanted: Wanted, parameters: dict[str, Any]
) -> tuple[list[R], bool]:
    """The rows, and whether they hold their JSON."""
    rows = await db.all(statement(wanted), **parameters)
    if wanted.shape is None or not rows or JSON not in rows[0].keys():  # noqa: SIM118 - a record yields values
        return rows, False
    if None not in [row[JSON] for row in rows]:
        return rows, True
    return await db.all(statement(Unwritten(wanted.columns, wanted.page)), **parameters), False


def _page(
    rows: list[R], as_json: bool, first: int, after: str | None, order: Order, count: Count, limit: int
) -> Page[R]:
    stretch = rows[:first]
    nodes: Sequence[Any] = [Fragment(row[JSON]) for row in stretch] if as_json else stretch
    return Page(nodes, stretch, len(rows) > first, after is not None, order, count, len(rows) == limit)


async def fetch_by_id(
    db: Runner, statement: StatementOf[R], scope: Scope, id: str, wanted: Wanted
) -> R | Fragment | None:
    """The row with this id, or its JSON where `wanted` says how it is written. `statement` is that of
    `Runner.by_ids` for what is `chosen`. Raises Invalid.
    """
    row = await db.by_id(statement(wanted), scope, id)
    if row is None or wanted.shape is None or JSON not in row.keys():  # noqa: SIM118 - a record yields values
        return row
    if (text := row[JSON]) is not None:
        return Fragment(text)
    return await db.by_id(statement(Unwritten(wanted.columns, wanted.page)), scope, id)


def encode_cursor(*parts: Any) -> str:
    return base64.urlsafe_b64encode(orjson.dumps(parts)).decode().rstrip("=")


def decode_cursor(cursor: str, length: int) -> list[Any]:
    """The parts of a cursor. Raises Invalid for what `encode_cursor` did not make."""
    try:
        parts = orjson.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (ValueError, binascii.Error):
        raise _not_a_cursor() from None
    if not isinstance(parts, list) or len(parts) != length:
        raise _not_a_cursor()
    return parts


def _moment(value: Any) -> datetime:
    try:
        return datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise _not_a_cursor() from None


def _not_a_cursor() -> Invalid:
    return Invalid("This is not a cursor of this list: pass one that a page gave you.", argument="after")
