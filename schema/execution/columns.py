"""Which attributes of its rows an operation reads, so that whoever fetches rows may leave out the rest.

Hints say what each field reads. Where one does not, or where rows may be of several types, nothing is known
and everything has to be fetched.

Where columns are all that is read of the rows, it is also told how they are written, their *shape*: a
database that can write JSON may then answer with that, and neither its driver nor anybody here has to take every
value into the hand.
"""

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from graphql import GraphQLEnumType, GraphQLObjectType, get_named_type

from .hints import Column, Computed, Relation, sized_of
from .leaves import Leaf
from .plan import Constant, Field, Output, Selection

Columns = frozenset[str]


class Entry(NamedTuple):
    """One entry of an object: the column `column`, as the scalar `type` writes it; or, without one, a constant.

    `among` are the names of an enum, all of them equal to the values that they stand for; or the constant.
    """

    key: str
    column: str | None
    type: str
    nullable: bool
    among: tuple[str, ...] = ()


Shape = tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is read of what a function returns: be it a row, a list of rows or a page of them.

    A function that is told a `shape` may return, in place of each row, its JSON, as an instance of the class that
    the caller of the engine named for that (`written`). Where a value is not what the scalar would write as it is
    (null where none may be, a number out of range), it has to return rows.
    """

    columns: Columns | None
    """The columns of the rows; None: perhaps all."""
    page: Columns | None
    """The columns of the page that holds them, and of what is below it; None: perhaps all."""
    shape: Shape | None
    """How the rows are written; None where they are needed themselves."""
    _hash: int = dataclasses.field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        # Whoever keeps a statement for each asks for it in every execution.
        object.__setattr__(self, "_hash", hash((self.columns, self.page, self.shape)))

    def __hash__(self) -> int:
        return self._hash


def wanted_of(field: Field, shaped: bool) -> Wanted:
    """What is read of what a field returns; its shape only where that is of use."""
    return Wanted(_columns_of(field), _page_of(field), _shape_of(field) if shaped else None)


def _page_of(field: Field) -> Columns | None:
    sized, selection = sized_of(field.definition.extensions), _selection(field.output)
    if sized is None or selection is None:
        return None
    fields = [inner for inner in selection.fields if inner.name not in sized.fields]
    read = [*_read_below(fields)]
    return None if None in read else Columns(name for name in read if name is not None)


def _read_below(fields: list[Field]) -> Iterator[str | None]:
    """The columns of these fields and of all below them, and None where one is not known."""
    for field in fields:
        yield from _read(Selection([field])) or ([None] if _read(Selection([field])) is None else [])
        if field.output.leaf is None:
            below = _selection(field.output)
            yield from [None] if below is None else _read_below(below.fields)


def _shape_of(field: Field) -> Shape | None:
    sized, rows = sized_of(field.definition.extensions), _selection(field.output)
    if sized is not None and rows is not None:
        lists = [inner for inner in rows.fields if inner.name in sized.fields]
        is_one = len(lists) == 1 and not _is_edge(lists[0].output, sized.node)
        rows = _selection(lists[0].output) if is_one else None
    if rows is None or rows.others:
        return None
    entries = [_entry(inner) for inner in rows.fields]
    return None if None in entries else tuple(entry for entry in entries if entry is not None)


def _entry(field: Field) -> Entry | None:
    type_, nullable, leaf = get_named_type(field.definition.type), field.output.nullable, field.output.leaf
    match field.hint:
        case Constant(str(value)):
            return Entry(field.key, None, type_.name, False, (value,))
        case Column(name) if isinstance(type_, GraphQLEnumType):
            names = tuple(type_.values)
            plain = leaf is not None and _are_their_values(names, leaf)
            return Entry(field.key, name, type_.name, nullable, names) if plain else None
        case Column(name):
            return Entry(field.key, name, type_.name, nullable)
    return None


def _are_their_values(names: tuple[str, ...], leaf: Leaf) -> bool:
    try:
        return all(leaf.exact(name) == name for name in names)
    except Exception:  # noqa: BLE001 - an enum of other values
        return False


def _columns_of(field: Field) -> Columns | None:
    """What is read of the rows that a field returns, be it one, a list or a page of them. None: perhaps all."""
    selection = _selection(field.output)
    sized = sized_of(field.definition.extensions)
    if sized is None or selection is None:
        return _read(selection)
    items: list[Columns | None] = []
    for inner in selection.fields:
        if inner.name in sized.fields:
            listed = _selection(inner.output)
            edges = [edge for edge in listed.fields if edge.name == sized.node] if listed else []
            is_edge = listed is not None and _is_edge(inner.output, sized.node)
            items += [_read(_selection(edge.output)) for edge in edges] if is_edge else [_read(listed)]
    if None in items:
        return None
    return Columns().union(*(item for item in items if item is not None))


def _is_edge(output: Output, node: str) -> bool:
    named = output.item or output
    type_ = named.objects.type if named.objects else None
    return isinstance(type_, GraphQLObjectType) and node in type_.fields


def _selection(output: Output) -> Selection | None:
    """What is selected of the objects of one type; None for leaves, and for objects of several types."""
    named = output
    while named.item is not None:
        named = named.item
    if named.objects is None or not isinstance(named.objects.type, GraphQLObjectType):
        return None
    return named.objects.of(named.objects.type)


def _read(selection: Selection | None) -> Columns | None:
    if selection is None:
        return None
    read: set[str] = set()
    for field in selection.fields:
        match field.hint:
            case Column(name):
                read.add(name)
            case Computed(reads=reads) | Relation(reads=reads) if reads is not None:
                read |= reads
            case Constant():
                pass
            case _:
                return None
    return Columns(read)
