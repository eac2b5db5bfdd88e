"""Which attributes of its rows an operation reads, so that whoever fetches rows may leave out the rest.

Hints say what each field reads. Where one does not, or where rows may be of several types, nothing is known
and everything has to be fetched.
"""

from graphql import GraphQLObjectType

from .hints import Column, Computed, Relation, sized_of
from .plan import Constant, Field, Output, Selection

Columns = frozenset[str]


def columns_of(field: Field) -> Columns | None:
    """What is read of the rows that a field returns, be it one, a list or a page of them. None: perhaps all.

    Of a page it is what is read of its items and of itself, so that a page that nobody asks whether there is more
    need not find out.
    """
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
        else:
            items.append(_read_by(inner))
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
    read = [_read_by(field) for field in selection.fields]
    return None if None in read else Columns().union(*(columns for columns in read if columns is not None))


def _read_by(field: Field) -> Columns | None:
    match field.hint:
        case Column(name):
            return Columns({name})
        case Computed(reads=reads) | Relation(reads=reads):
            return reads
        case Constant():
            return Columns()
        case _:
            return None
