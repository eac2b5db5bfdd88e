"""Random valid operations for a schema."""

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


class _Writer:
    """Writes selections; fragments that it names on the way are written by `document`."""

    def __init__(self, schema: GraphQLSchema, draw: Any) -> None:
        self.schema = schema
        self.draw = draw
        self.fragments: list[str] = []

    def chance(self, percent: int) -> bool:
        return bool(self.draw(st.integers(0, 99)) < percent)

    def document(self) -> str:
        assert self.schema.query_type is not None
        body = self.selection(self.schema.query_type, 4)
        return "\n".join([f"{VARIABLES} {body}", *self.fragments])

    def selection(self, type_: Any, depth: int) -> str:
        parts = [self.part(type_, depth) for _ in range(self.draw(st.integers(1, 5)))]
        return "{ " + " ".join(parts) + " }"

    def part(self, type_: Any, depth: int) -> str:
        if self.chance(10):
            return "__typename"
        if isinstance(type_, GraphQLUnionType) or self.chance(20):
            return self.fragment(type_, depth)
        return self.field(type_, depth)

    def fragment(self, type_: Any, depth: int) -> str:
        on = self.draw(st.sampled_from(self.overlapping(type_)))
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
        name = self.draw(st.sampled_from(sorted(fields)))
        arguments, alias = self.arguments(fields[name], name)
        named = get_named_type(fields[name].type)
        body = "" if is_leaf_type(named) else self.selection(named, depth - 1)
        return f"{alias}{name}{arguments} {self.condition()} {body}"

    def arguments(self, field: GraphQLField, name: str) -> tuple[str, str]:
        """Arguments, and the alias that belongs to them, so that equal keys have equal arguments."""
        if "n" not in field.args or self.chance(30):
            return "", f"other_{name}: " if self.chance(20) else ""
        value = self.draw(st.sampled_from(["0", "1", "2", "5", "$n"]))
        return f"(n: {value})", f"{name}_{value.replace('$', 'v')}: "

    def condition(self) -> str:
        if not self.chance(20):
            return ""
        value = self.draw(st.sampled_from(["true", "false", *(f"${name}" for name in CONDITIONS)]))
        return f"@{self.draw(st.sampled_from(['skip', 'include']))}(if: {value})"


@st.composite
def queries(draw: Any, schema: GraphQLSchema) -> str:
    """The text of a query; a few are not valid and are left to whoever draws them to discard."""
    return _Writer(schema, draw).document()
