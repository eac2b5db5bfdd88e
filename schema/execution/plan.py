"""Plans: what the compiler writes down and the runtime follows. A tree of selections and their fields.

A plan belongs to an operation and to one combination of the booleans that its `@skip` and `@include` take
from variables, so nothing in it is conditional. It holds no values of an execution and is shared by all.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    GraphQLAbstractType,
    GraphQLField,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    GraphQLTypeResolver,
    OperationDefinitionNode,
)
from graphql.execution.collect_fields import FragmentDetails

from .hints import Arguments, Convert, Hint
from .inputs import Partly, Variables
from .leaves import Leaf

Build = Callable[[Sequence[Any]], list[dict[str, Any]]]
"""A generated function: from rows of one class to the dicts of a selection."""


class Unsupported(Exception):
    """The operation holds what plans do not know; graphql-core's own `execute` has to answer it."""


@dataclass(slots=True)
class Settings:
    """What the caller chose, and what a plan therefore depends on beside schema and document."""

    native: frozenset[type]
    written: type | None
    field_resolver: Callable[..., Any] | None
    type_resolver: GraphQLTypeResolver | None


@dataclass(slots=True)
class Operation:
    """One operation of a document, looked up and found to be supported."""

    schema: GraphQLSchema
    document: DocumentNode
    node: OperationDefinitionNode
    fragments: dict[str, FragmentDetails]
    definitions: dict[str, FragmentDefinitionNode]
    root_type: GraphQLObjectType
    conditions: tuple[str, ...]
    """The variables that `@skip` and `@include` ask for."""
    variables: Variables


@dataclass(slots=True)
class Plan:
    """An operation, compiled."""

    operation: Operation
    root: "Selection"
    written: type | None
    """The class of rows that are JSON already."""
    serial: bool
    """Whether root fields run one after the other: those of a mutation."""


@dataclass(slots=True, eq=False)
class Selection:
    """What is asked of one object type at one place of the operation."""

    fields: list["Field"]
    builds: dict[type, Build] = field(default_factory=dict)
    """The generated functions, by the class of the rows."""

    inline: bool = field(init=False)
    """Whether there is anything for generated functions to read."""
    others: list["Field"] = field(init=False)
    """The fields that generated functions leave open."""

    def __post_init__(self) -> None:
        self.inline = any(field.inline for field in self.fields)
        self.others = [field for field in self.fields if not field.inline]


@dataclass(slots=True, eq=False)
class Field:
    """One response key of a selection; several field nodes where the document repeats it."""

    key: str
    index: int
    name: str
    parent: GraphQLObjectType
    definition: GraphQLField
    nodes: list[FieldNode]
    hint: Hint
    output: "Output"
    arguments: Arguments | None
    """Coerced at compile time; None when they hold variables."""
    partly: Partly | None
    """Then those of them that do not."""
    convert: Convert | None

    inline: bool
    """Whether a generated function may read it."""
    projects: bool = field(init=False)
    """Whether its function takes `wanted`."""
    projection: Arguments | None = None
    """That argument, once it was worked out."""

    def __post_init__(self) -> None:
        self.projects = getattr(self.hint, "projects", False)


@dataclass(slots=True, eq=False)
class Output:
    """A type with its wrappers: nullable or not; a list of items, a leaf, or objects."""

    type: GraphQLOutputType
    nullable: bool
    item: "Output | None" = None
    leaf: Leaf | None = None
    objects: "Objects | None" = None


@dataclass(eq=False)
class Objects:
    """What is asked of the objects of a field, by their type. Compiled when a type is first met.

    An interface of many types, nested in itself, would otherwise be compiled for combinations of types
    that no value ever has.
    """

    type: GraphQLObjectType | GraphQLAbstractType
    compile: Callable[[GraphQLObjectType], Selection]
    resolve_type: GraphQLTypeResolver | None
    """For interfaces and unions."""
    type_name: Callable[[Any], str] | None
    """The hint that takes the place of `resolve_type`."""
    trusted: bool
    """Whether it is an object type, of which values are not tested."""
    selections: dict[GraphQLObjectType, Selection] = field(default_factory=dict)

    @cached_property
    def columns(self) -> Selection | None:
        """What is asked of trusted objects, where generated functions read all of it."""
        if not self.trusted or not isinstance(self.type, GraphQLObjectType):
            return None
        selection = self.of(self.type)
        return selection if selection.inline and not selection.others else None

    def of(self, type_: GraphQLObjectType) -> Selection:
        """What is asked of objects of this type."""
        selection = self.selections.get(type_)
        if selection is None:
            selection = self.selections[type_] = self.compile(type_)
        return selection


@dataclass(frozen=True, slots=True)
class Constant(Hint):
    """The same for every row: `__typename`."""

    value: Any


@dataclass(frozen=True, slots=True)
class Default(Hint):
    """graphql-core's default resolver: an entry or attribute of the parent, called where it is callable."""

    name: str


@dataclass(frozen=True, slots=True)
class Resolver(Hint):
    """A resolver as graphql-core knows it: called with the parent and a `GraphQLResolveInfo`."""

    function: Callable[..., Any]
