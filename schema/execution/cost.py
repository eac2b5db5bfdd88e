"""The cost of an operation, known before anything of it is executed.

Root functions and relations weigh 1, everything else nothing: what is read from a row that is there anyway is
free. A field that is declared `Sized` returns a page, and costs 1 more for each item that the page may hold;
what is selected of the items counts so many times. The words are those of the cost directives that several
servers share: weights, slicing arguments, sized fields.

    devices(first: 50) { nodes { key images(first: 3) { nodes { id } } } }      1 + 50 + 50 × (1 + 3) = 251

A document is looked through once. What is left is a tree of numbers and of the names of variables, in which a
fragment stands once, however often it is spread, so that adding up takes no longer than reading the document.
A response key that is selected twice costs twice.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLField,
    GraphQLIncludeDirective,
    GraphQLInterfaceType,
    GraphQLNamedType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLSkipDirective,
    InlineFragmentNode,
    IntValueNode,
    OperationDefinitionNode,
    SelectionNode,
    SelectionSetNode,
    ValueNode,
    VariableNode,
    get_named_type,
)
from graphql.utilities.coerce_input_value import coerce_default_value

from .hints import Relation, Root, Sized, hint_of, sized_of

_MOST = 10**9
"""Where counting stops: far more than anybody may spend."""

Number = int | str
"""A number, or the name of the variable that holds it."""

Variables = Mapping[str, Any]


@dataclass(slots=True, eq=False)
class _Part:
    """What a field, or a fragment wherever it is spread, adds to the cost of one parent."""

    weight: int = 0
    parts: list["_Part"] = field(default_factory=list)
    unless: Sequence[tuple[str, bool]] = ()
    """Variables, and the value of each with which the part is left out."""
    length: "_Length | None" = None
    of_items: list["_Part"] = field(default_factory=list)
    """Of a page: what is selected of its items."""
    counts: bool = False
    """Of a page: whether its items are selected at all."""


@dataclass(frozen=True, slots=True)
class _Length:
    size: Number
    default: int
    most: int

    def value(self, variables: Variables) -> int:
        size = variables.get(self.size) if isinstance(self.size, str) else self.size
        size = self.default if size is None else size
        # What the resolver refuses costs no more than the most that it grants.
        return min(size, self.most) if isinstance(size, int) and size >= 0 else 0


class Measure:
    """What an operation costs."""

    def __init__(self, root: _Part, constant: bool) -> None:
        self._root = root
        self._constant = _total(root, {}, {}) if constant else None

    def cost(self, variables: Variables) -> int:
        """The cost with these variables, coerced."""
        return self._constant if self._constant is not None else _total(self._root, variables, {})


def measure(schema: GraphQLSchema, document: DocumentNode, operation_name: str | None = None) -> Measure:
    """Look through an operation of a validated document."""
    reader = _Reader(schema, document)
    operation = next(
        node
        for node in document.definitions
        if isinstance(node, OperationDefinitionNode)
        and (operation_name is None or (node.name is not None and node.name.value == operation_name))
    )
    root_type = schema.get_root_type(operation.operation)
    root = _Part(parts=reader.parts(operation.selection_set, root_type))
    return Measure(root, constant=not reader.depends)


def _total(part: _Part, variables: Variables, known: dict[int, int]) -> int:
    found = known.get(id(part))
    if found is not None:
        return found
    if any(variables.get(name) is value for name, value in part.unless):
        total = 0
    else:
        total = part.weight + sum([_total(inner, variables, known) for inner in part.parts])
        if part.length is not None and part.counts:
            each = 1 + sum([_total(inner, variables, known) for inner in part.of_items])
            total += part.length.value(variables) * each
        total = min(total, _MOST)
    known[id(part)] = total
    return total


class _Reader:
    """Reads one document. `depends` says whether anything in it depends on variables."""

    def __init__(self, schema: GraphQLSchema, document: DocumentNode) -> None:
        self.depends = False
        self._schema = schema
        self._definitions = {
            node.name.value: node for node in document.definitions if isinstance(node, FragmentDefinitionNode)
        }
        self._fragments: dict[str, list[_Part]] = {}

    def parts(self, selection_set: SelectionSetNode, type_: GraphQLNamedType | None) -> list[_Part]:
        """What a selection set of this type adds. Parts that cost nothing are left out."""
        parts = []
        for selection in selection_set.selections:
            unless = self._unless(selection)
            if unless is not None:
                for part in self._selected(selection, type_):
                    parts.append(_Part(parts=[part], unless=unless) if unless else part)
        return parts

    def _selected(self, selection: SelectionNode, type_: GraphQLNamedType | None) -> list[_Part]:
        match selection:
            case FragmentSpreadNode():
                return self._fragment(selection.name.value)
            case InlineFragmentNode():
                condition = selection.type_condition
                inner = self._schema.get_type(condition.name.value) if condition else type_
                return self.parts(selection.selection_set, inner)
            case FieldNode():
                return self._field(selection, type_)
        raise AssertionError(selection)

    def _fragment(self, name: str) -> list[_Part]:
        found = self._fragments.get(name)
        if found is None:
            definition = self._definitions[name]
            inner = self.parts(
                definition.selection_set, self._schema.get_type(definition.type_condition.name.value)
            )
            # One part of its own, so that it is added up once for all its spreads.
            found = self._fragments[name] = [_Part(parts=inner)] if inner else []
        return found

    def _field(self, node: FieldNode, type_: GraphQLNamedType | None) -> list[_Part]:
        definition = None
        if isinstance(type_, GraphQLObjectType | GraphQLInterfaceType):
            definition = type_.fields.get(node.name.value)
        if definition is None:  # introspection
            return []
        declared = [definition]
        if isinstance(type_, GraphQLInterfaceType):  # hints are of the object types' fields
            types = self._schema.get_possible_types(type_)
            declared += [one.fields[node.name.value] for one in types]
        weighs = any(isinstance(hint_of(one.extensions), Relation | Root) for one in declared)
        part = _Part(weight=int(weighs))
        sized = next((sized for one in declared if (sized := sized_of(one.extensions))), None)
        inner = get_named_type(definition.type)
        if sized is not None and node.selection_set is not None:
            part.length = self._length(sized, definition, node)
            self._page(part, sized, node.selection_set, inner)
        elif node.selection_set is not None:
            part.parts = self.parts(node.selection_set, inner)
        return [part] if part.weight or part.parts or part.counts else []

    def _page(self, part: _Part, sized: Sized, selection_set: SelectionSetNode, type_: GraphQLNamedType) -> None:
        """Tell what is selected of a page's items from what is selected of the page itself."""
        for node, owner, unless in self._flat(selection_set, type_):
            if node.name.value in sized.fields:
                part.counts = True
                if node.selection_set is not None and isinstance(owner, GraphQLObjectType | GraphQLInterfaceType):
                    below = self.parts(node.selection_set, get_named_type(owner.fields[node.name.value].type))
                    part.of_items += [_Part(parts=below, unless=unless)] if unless and below else below
            else:
                below = self._field(node, owner)
                part.parts += [_Part(parts=below, unless=unless)] if unless and below else below

    def _flat(
        self, selection_set: SelectionSetNode, type_: GraphQLNamedType | None
    ) -> list[tuple[FieldNode, GraphQLNamedType | None, tuple[tuple[str, bool], ...]]]:
        """The fields of a page, through fragments, each fragment once."""
        found = []
        seen: set[str] = set()
        waiting: list[tuple[SelectionSetNode, GraphQLNamedType | None, tuple[tuple[str, bool], ...]]]
        waiting = [(selection_set, type_, ())]
        while waiting:
            current, owner, around = waiting.pop()
            for selection in current.selections:
                own = self._unless(selection)
                if own is None:
                    continue
                unless = (*around, *own)
                if isinstance(selection, FieldNode):
                    found.append((selection, owner, unless))
                elif isinstance(selection, InlineFragmentNode):
                    condition = selection.type_condition
                    inner = self._schema.get_type(condition.name.value) if condition else owner
                    waiting.append((selection.selection_set, inner, unless))
                elif isinstance(selection, FragmentSpreadNode):
                    # A fragment spread again under another condition counts without any: never too little.
                    name = selection.name.value
                    if name not in seen:
                        seen.add(name)
                        definition = self._definitions[name]
                        inner = self._schema.get_type(definition.type_condition.name.value)
                        waiting.append((definition.selection_set, inner, ()))
        return found

    def _length(self, sized: Sized, definition: GraphQLField, node: FieldNode) -> _Length:
        default = coerce_default_value(definition.args[sized.argument])
        otherwise = default if isinstance(default, int) else sized.maximum
        value = next((one.value for one in node.arguments or () if one.name.value == sized.argument), None)
        size: Number = otherwise
        if isinstance(value, VariableNode):
            self.depends = True
            size = value.name.value
        elif isinstance(value, IntValueNode):
            size = int(value.value)
        return _Length(size, otherwise, sized.maximum)

    def _unless(self, selection: SelectionNode) -> tuple[tuple[str, bool], ...] | None:
        """The conditions of a selection; None when it is left out in any case."""
        unless = []
        for directive in selection.directives or ():
            leaves_out = {GraphQLSkipDirective.name: True, GraphQLIncludeDirective.name: False}.get(
                directive.name.value
            )
            if leaves_out is None:
                continue
            condition: ValueNode | None = directive.arguments[0].value if directive.arguments else None
            if isinstance(condition, VariableNode):
                self.depends = True
                unless.append((condition.name.value, leaves_out))
            elif getattr(condition, "value", None) is leaves_out:
                return None
        return tuple(unless)
