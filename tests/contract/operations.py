"""Random valid operations for a schema whose fields take arguments of any kind.

Nothing here names a field: what may be asked is found in the schema. Response keys are chosen so that equal keys
are equal fields with equal arguments: what is asked twice is merged, and no operation is refused for that.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLField,
    GraphQLInterfaceType,
    GraphQLSchema,
    Undefined,
    get_named_type,
    is_leaf_type,
)

from tests.contract.values import Samples, ValueWriter
from tests.execution.queries import Writer

_DEPTH = 8
_FIELDS = 15  # under one root field, and a few leaves more


@dataclass(frozen=True)
class Asked:
    """An operation as a caller sends it."""

    text: str
    variables: dict[str, Any]
    name: str | None


class OperationWriter(Writer):
    """Writes one operation."""

    def __init__(self, schema: GraphQLSchema, seed: int, samples: Samples) -> None:
        super().__init__(schema, seed)
        self.values = ValueWriter(self.random, samples)
        self._left = _FIELDS
        self._keys: dict[str, Hashable] = {}
        self._written: dict[Hashable, list[str]] = {}

    def query(self) -> Asked:
        assert self.schema.query_type is not None
        return self._asked("query", self.selection(self.schema.query_type, _DEPTH))

    def subscription(self) -> Asked:
        """An operation with one field, which has no condition."""
        assert self.schema.subscription_type is not None
        fields = self.schema.subscription_type.fields
        name = self.random.choice(sorted(fields))
        arguments, alias = self.arguments(fields[name], name)
        body = self.selection(get_named_type(fields[name].type), _DEPTH)
        return self._asked("subscription", f"{{ {alias}{name}{arguments} {body} }}")

    def _asked(self, kind: str, body: str) -> Asked:
        declarations, values = self.values.declarations, self.values.given
        declared = f"({', '.join(declarations)})" if declarations else ""
        name = "Asked" if self.chance(50) else ""
        text = "\n".join([f"{kind} {name}{declared} {body}", *self.fragments])
        if name and self.chance(20):
            return Asked(f"{text}\nquery Other {{ __typename }}", values, name)
        return Asked(text, values, name or None if self.chance(50) else None)

    def width(self, depth: int) -> int:
        return 2 if depth == _DEPTH or self._left <= 0 else 6

    def part(self, type_: Any, depth: int) -> str:
        depth = depth if self._left > 0 or type_ is self.schema.query_type else -1
        if isinstance(type_, GraphQLInterfaceType) and depth > 0 and self.chance(60):
            return self.fragment(type_, depth)
        return "typename: __typename" if self.chance(3) else super().part(type_, depth)

    def field(self, type_: Any, depth: int) -> str:
        if type_ is self.schema.query_type:
            self._left = _FIELDS
        self._left -= 1
        return super().field(type_, depth if self._left > 0 else 0)

    def chosen(self, fields: dict[str, GraphQLField]) -> str:
        objects = [name for name, field in fields.items() if not is_leaf_type(get_named_type(field.type))]
        return self.random.choice(sorted(objects)) if objects and self.chance(35) else super().chosen(fields)

    def arguments(self, field: GraphQLField, name: str) -> tuple[str, str]:
        takes = tuple((key, str(place.type), place.default_value is Undefined) for key, place in field.args.items())
        written = self._written.setdefault((name, str(field.type), takes), [])
        if written and self.chance(35):
            arguments = self.random.choice(written)
        else:
            arguments = self.values.arguments(get_named_type(field.type).name, field.args)
            written.append(arguments)
        key = self._key(name, (name, str(field.type), arguments))
        return arguments, "" if key == name else f"{key}: "

    def _key(self, name: str, asked: Hashable) -> str:
        """A response key that nothing else has."""
        wanted = f"other_{name}" if self.chance(15) else name
        key, number = wanted, 0
        while self._keys.setdefault(key, asked) != asked:
            number += 1
            key = f"{wanted}_{number}"
        return key

    def boolean(self) -> str:
        return self.values.condition()
