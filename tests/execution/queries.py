"""Random valid operations for a schema.

An operation is made from a seed, not drawn choice by choice: that gives twenty times as many examples in
the same time, and a failing example prints its whole text anyway.
"""

import random
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    is_leaf_type,
)
from hypothesis import strategies as st

CONDITIONS = ("p", "q")
VARIABLES = "query($n: Int = 1, $p: Boolean!, $q: Boolean!)"


class Writer:
    """Writes selections; fragments that it names on the way are written by `document`.

    What depends on the schema's own arguments are methods of their own, for other schemas to write otherwise.
    """

    def __init__(self, schema: GraphQLSchema, seed: int) -> None:
        self.schema = schema
        self.random = random.Random(seed)
        self.fragments: list[str] = []

    def chance(self, percent: int) -> bool:
        return self.random.randrange(100) < percent

    def document(self) -> str:
        assert self.schema.query_type is not None
        body = self.selection(self.schema.query_type, 3)
        return "\n".join([f"{VARIABLES} {body}", *self.fragments])

    def width(self, depth: int) -> int:
        """How many parts a selection has at most."""
        return 4 + max(depth, 0)

    def selection(self, type_: Any, depth: int) -> str:
        parts = [self.part(type_, depth) for _ in range(self.random.randint(1, self.width(depth)))]
        return "{ " + " ".join(parts) + " }"

    def part(self, type_: Any, depth: int) -> str:
        union = isinstance(type_, GraphQLUnionType)
        if self.chance(10) or (union and depth < 0):
            return "__typename"
        if union or (depth >= 0 and self.chance(20)):
            return self.fragment(type_, depth)
        return self.field(type_, depth)

    def fragment(self, type_: Any, depth: int) -> str:
        on = self.random.choice(self.overlapping(type_))
        body = self.selection(on, depth - 1)
        if self.chance(50):
            return f"... on {on} {self.condition()} {body}"
        name = f"F{len(self.fragments)}"
        self.fragments.append(f"fragment {name} on {on} {body}")
        return f"...{name} {self.condition()} ...{name}"

    def overlapping(self, type_: Any) -> list[Any]:
        """The types that fragments within this one may be on."""
        if isinstance(type_, GraphQLObjectType):
            return [type_, *type_.interfaces]
        return [type_, *self.schema.get_possible_types(type_)]

    def field(self, type_: GraphQLObjectType | GraphQLInterfaceType, depth: int) -> str:
        fields = {
            name: field
            for name, field in type_.fields.items()
            if depth > 0 or is_leaf_type(get_named_type(field.type))
        }
        if not fields:
            return "__typename"
        name = self.chosen(fields)
        arguments, alias = self.arguments(fields[name], name)
        named = get_named_type(fields[name].type)
        body = "" if is_leaf_type(named) else self.selection(named, depth - 1)
        return f"{alias}{name}{arguments} {self.condition()} {body}"

    def chosen(self, fields: dict[str, GraphQLField]) -> str:
        """One of these fields."""
        return self.random.choice(sorted(fields))

    def arguments(self, field: GraphQLField, name: str) -> tuple[str, str]:
        """Arguments, and the alias that belongs to them, so that equal keys have equal arguments."""
        if "n" not in field.args or self.chance(30):
            return "", f"other_{name}: " if self.chance(20) else ""
        value = self.random.choice(["0", "1", "2", "5", "$n"])
        return f"(n: {value})", f"{name}_{value.replace('$', 'v')}: "

    def condition(self) -> str:
        if not self.chance(20):
            return ""
        names = self.random.choice([["skip"], ["include"], ["skip", "include"]])
        return " ".join(f"@{name}(if: {self.boolean()})" for name in names)

    def boolean(self) -> str:
        """What a condition depends on."""
        return self.random.choice(["true", "false", *(f"${name}" for name in CONDITIONS)])


def queries(schema: GraphQLSchema) -> st.SearchStrategy[str]:
    """The text of a query; a few are not valid and are left to whoever draws them to discard."""
    return st.integers(0, 2**32).map(lambda seed: Writer(schema, seed).document())
