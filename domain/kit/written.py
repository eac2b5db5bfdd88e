"""Rows that the database writes as JSON itself, where nobody needs their values.

Taking 10 columns of 50 rows into Python's hands, only to write them out again, takes longer than all the rest of
such a read. So where a caller says how the rows are to be written, their *shape*, each comes as one text.

What stands there is, to the byte, what the scalars would write. An expression is null for a value that they would
not write as it is (null where none may be, a number out of range), and so is then the whole text: the rows are
asked for again as they are, and whoever completes them finds the right words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import groupby
from operator import add
from typing import Any, Protocol

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    DateTime,
    Float,
    Integer,
    SmallInteger,
    String,
    Text,
    and_,
    case,
    cast,
    func,
    literal_column,
    or_,
)
from sqlalchemy.types import UserDefinedType

from domain.kit.tables import Id

JSON = "json"
"""The column of the text."""


class Entry(Protocol):
    """One entry of an object: a column as the scalar `type` writes it, or without one a constant, `among[0]`.

    `among` are otherwise the names of an enum that the column holds.
    """

    @property
    def key(self) -> str: ...
    @property
    def column(self) -> str | None: ...
    @property
    def type(self) -> str: ...
    @property
    def nullable(self) -> bool: ...
    @property
    def among(self) -> tuple[str, ...]: ...


class Wanted(Protocol):
    """What is read of a list or of one row. Hashable; None stands for everything, or for a useless shape."""

    def __hash__(self) -> int: ...

    @property
    def columns(self) -> frozenset[str] | None:
        """Those of the rows."""

    @property
    def page(self) -> frozenset[str] | None:
        """What is read of the page: `has_next_page`, `end_cursor`, …"""

    @property
    def shape(self) -> Sequence[Entry] | None:
        """How the rows are written."""


@dataclass(frozen=True, slots=True)
class Everything:
    """Nothing is known of what is wanted."""

    columns: None = None
    page: None = None
    shape: None = None


@dataclass(frozen=True, slots=True)
class Unwritten:
    """As wanted, but as rows."""

    columns: frozenset[str] | None
    page: frozenset[str] | None
    shape: None = None


EVERYTHING: Wanted = Everything()


def chosen(columns: Sequence[Any], wanted: Wanted) -> list[Any]:
    """Those of the columns that are wanted, or their JSON; and the id."""
    text = None if wanted.shape is None else written(columns, wanted.shape)
    if text is not None:
        return [*(column for column in columns if column.name == "id"), text.label(JSON)]
    if wanted.columns is None:
        return list(columns)
    return [column for column in columns if column.name == "id" or column.name in wanted.columns]


def written(columns: Sequence[Any], shape: Sequence[Entry]) -> ColumnElement[str] | None:
    """The text of a row as an expression of these columns; None where the shape holds what is not known here."""
    by_name = {column.name: column for column in columns}
    pieces: list[Any] = ["{"]
    for index, entry in enumerate(shape):
        pieces.append(f'{"," if index else ""}"{entry.key}":')
        if entry.column is None:
            pieces.append(f'"{entry.among[0]}"')
            continue
        value = _value(by_name.get(entry.column), entry)
        if value is None:
            return None
        pieces.append(value)
    pieces.append("}")
    joined: list[Any] = []
    for is_text, grouped in groupby(pieces, lambda piece: isinstance(piece, str)):
        run = [*grouped]
        joined += [_literal("".join(run))] if is_text else run
    text: ColumnElement[str] = reduce(add, joined)
    return text


def _value(column: Any, entry: Entry) -> Any:
    if column is None:
        return None
    if entry.among:
        known = column.in_([_literal(name) for name in entry.among])
        value: Any = case((known, _quoted(column))) if isinstance(column.type, String) else None
    elif isinstance(column.type, Float) and entry.type == "Float":
        value = _float(column)
    elif isinstance(column.type, DateTime) and entry.type == "DateTime":
        value = _moment(column)
    elif isinstance(column.type, BigInteger) and entry.type == "Int":
        value = case((column.between(_number(-(2**31)), _number(2**31 - 1)), cast(column, Text)))
    elif (isinstance(column.type, Integer | SmallInteger) and entry.type == "Int") or (
        isinstance(column.type, Boolean) and entry.type == "Boolean"
    ):
        value = cast(column, Text)
    elif isinstance(column.type, Id) and entry.type in ("ID", "String"):
        value = _quoted(cast(column, Text))
    elif isinstance(column.type, String) and entry.type in ("ID", "String"):
        value = cast(func.to_json(column), Text)
    else:
        return None
    if entry.nullable and value is not None:
        return case((column.is_(None), _literal("null")), else_=value)
    return value


def _float(column: Any) -> ColumnElement[str]:
    """Whole numbers have a `.0`. Very large and very small ones, which are written with exponents, are left out."""
    usual = or_(func.abs(column).between(_number(0.0001), _number(999_999_999_999_999)), column == _number(0))
    text = cast(column, Text)
    return case((and_(column == func.trunc(column), usual), text + _literal(".0")), (usual, text))


def _moment(column: Any) -> Any:
    """ISO 8601 in UTC, which is every connection's time zone; a fraction only where there is one."""
    # A cast to whole seconds rounds, which shows whether there is a fraction quicker than taking it out does.
    return _quoted(func.to_char(column, case((cast(column, _Seconds) == column, _WHOLE), else_=_FRACTION)))


class _Seconds(UserDefinedType[Any]):
    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        return "timestamptz(0)"


def _quoted(text: Any) -> Any:
    return _literal('"') + text + _literal('"')


def _literal(text: str) -> Any:
    return literal_column("'" + text.replace("'", "''") + "'", Text)


def _number(value: float) -> Any:
    return literal_column(repr(value))


_WHOLE = _literal('YYYY-MM-DD"T"HH24:MI:SS"+00:00"')
_FRACTION = _literal('YYYY-MM-DD"T"HH24:MI:SS.US"+00:00"')
