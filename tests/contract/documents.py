"""Every operation of the schema, found by walking it, and the smallest document that asks for each."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLSchema,
    get_named_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

from domain.users.principals import Permission
from resolvers.operation import PERMISSION
from resolvers.root import build_schema

SOME_ID = "00000000-0000-7000-8000-000000000000"
_LITERALS = {
    "ID": f'"{SOME_ID}"',
    "String": '"x"',
    "Int": "1",
    "Float": "1.0",
    "Boolean": "true",
    "DateTime": '"2026-01-01T00:00:00Z"',
    "MacAddress": '"00-00-00-00-00-01"',
    "JSON": "{}",
}


@cache
def graphql_schema() -> GraphQLSchema:
    return build_schema()._schema


@dataclass(frozen=True)
class Operation:
    """A root field. `kind` is query, mutation or subscription."""

    kind: str
    name: str
    field: GraphQLField

    @property
    def permission(self) -> Permission | None:
        """What it declares that its caller needs."""
        declared = self.field.extensions["strawberry-definition"].metadata.get(PERMISSION)
        return declared if isinstance(declared, Permission) else None

    @property
    def document(self) -> str:
        """The smallest document with this field: required arguments, and nothing of the answer."""
        given = [
            f"{name}: {_literal(argument.type)}"
            for name, argument in self.field.args.items()
            if is_required_argument(argument)
        ]
        arguments = f"({', '.join(given)})" if given else ""
        selection = "" if is_leaf_type(get_named_type(self.field.type)) else " { __typename }"
        return f"{self.kind} {{ {self.name}{arguments}{selection} }}"

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"


def operations() -> list[Operation]:
    """All root fields."""
    schema = graphql_schema()
    roots = {
        "query": schema.query_type,
        "mutation": schema.mutation_type,
        "subscription": schema.subscription_type,
    }
    return [
        Operation(kind, name, field) for kind, root in roots.items() if root for name, field in root.fields.items()
    ]


def id_arguments() -> set[str]:
    """Where an id may be passed, as `Type.field.argument` or `Type.field.argument.part`."""
    return set(_id_arguments())


def _id_arguments() -> Iterator[str]:
    for type_name, type_ in graphql_schema().type_map.items():
        for field_name, field in getattr(type_, "fields", {}).items():
            for argument_name, argument in getattr(field, "args", {}).items():
                for path in _id_paths(argument.type):
                    yield ".".join([type_name, field_name, argument_name, *path])


def _id_paths(type_: GraphQLInputType) -> Iterator[list[str]]:
    named: Any = get_named_type(type_)
    if named.name == "ID":
        yield []
    elif isinstance(named, GraphQLInputObjectType):
        for name, part in named.fields.items():
            for path in _id_paths(part.type):
                yield [name, *path]


def _literal(type_: GraphQLInputType) -> str:
    if isinstance(type_, GraphQLNonNull):
        return _literal(type_.of_type)
    if isinstance(type_, GraphQLList):
        return f"[{_literal(type_.of_type)}]"
    if isinstance(type_, GraphQLEnumType):
        return str(next(iter(type_.values)))
    if isinstance(type_, GraphQLInputObjectType):
        parts = [
            f"{name}: {_literal(part.type)}" for name, part in type_.fields.items() if is_required_input_field(part)
        ]
        return "{" + ", ".join(parts) + "}"
    return _LITERALS[type_.name]
