"""A schema with every kind of field, and random data for it in which things are wrong here and there.

Its fields carry hints for plans and resolvers with the same meaning for graphql-core, so that one schema
serves both: a relation is resolved for one parent by the same batch function that gets all of them.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from graphql import (
    GraphQLInterfaceType,
    GraphQLObjectType,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    build_schema,
    get_named_type,
    is_list_type,
    is_non_null_type,
)

from schema.execution import EXTENSION, Column, Computed, Relation, Root

SDL = """
    scalar Stamp
    enum Kind { SMALL LARGE }
    interface Thing { id: ID! name: String things: [Thing!] }
    union Any = Box | Lid | Nail
    type Box implements Thing {
        id: ID! name: String things: [Thing!]
        count: Int! ratio: Float flag: Boolean! kind: Kind stamp: Stamp!
        tags: [String!] matrix: [[Int]!] strict: [[Int!]!]!
        lid: Lid mustLid: Lid! any: Any many: [Any]
        label: String! size: Int
        boxes(n: Int! = 2): [Box!] nail(n: Int): Nail! late(n: Int): String lateList: [Int!]
    }
    type Lid implements Thing {
        id: ID! name: String things: [Thing!]
        count: Int! box: Box! tags: [String!] label: String! nail(n: Int): Nail!
    }
    type Nail { id: ID! ratio: Float kind: Kind any: Any thing: Thing }
    type Query {
        box: Box mustBox: Box! boxes(n: Int! = 2): [Box!] things: [Thing]! any: Any many: [[Any!]]
        stored(n: Int): [Box] count: Int
    }
"""

COLUMNS = {"count", "flag", "stamp", "lid", "mustLid", "many", "strict", "ratio"}
"""Hinted as columns; of other fields without resolvers the default resolver has to find the values."""


class Trouble(Exception):
    """Raised here and there."""


class Record(dict[str, Any]):
    """A row that is read by key."""


class Thing:
    """A row that is read by attribute."""

    def __init__(self, values: dict[str, Any]) -> None:
        self.__dict__.update(values)

    def __repr__(self) -> str:
        return f"<{self.__dict__.get('typename')}>"


def read(row: Any, name: str) -> Any:
    return row[name] if isinstance(row, dict) else getattr(row, name)


class World:
    """Random rows, and the functions that answer fields; how often something is wrong is `trouble`."""

    def __init__(self, seed: int, trouble: float, waits: bool) -> None:
        self.random = random.Random(seed)
        self.trouble = trouble
        self.waits = waits
        assert SCHEMA.query_type is not None
        self.root = self.row(SCHEMA.query_type, 3)
        self.context = {"waits": waits, "stored": self.value(SCHEMA.query_type.fields["stored"].type, 3)}

    def wrong(self) -> bool:
        return self.random.random() < self.trouble

    def row(self, type_: GraphQLObjectType, depth: int) -> Any:
        values: dict[str, Any] = {"typename": type_.name, "__typename": type_.name}
        for name, field in type_.fields.items():
            if not self.wrong():  # otherwise it is missing
                values[name] = self.value(field.type, depth)
                if name not in COLUMNS and field.resolve is None and self.random.random() < 0.1:
                    values[name] = self.function(values[name])
        if self.random.random() < 0.7:
            return Record(values)
        values.pop("__typename")
        return Thing({**values, "_Thing__typename": type_.name})

    def function(self, value: Any) -> Callable[..., Any]:
        """What the default resolver calls."""
        if self.waits and self.random.random() < 0.5:

            async def later(info: Any, **arguments: Any) -> Any:
                await asyncio.sleep(0)
                return value

            return later
        return lambda info, **arguments: value

    def value(self, type_: Any, depth: int) -> Any:
        if is_non_null_type(type_):
            return None if self.wrong() else self.value(type_.of_type, depth)
        if self.wrong():
            return self.random.choice([
                None, Trouble("value"), "odd", 1.5, -(2**31) - 1, float("nan"), True, {}, (), b"x", ["a"],
            ])  # fmt: skip
        if self.random.random() < 0.1:
            return None
        if is_list_type(type_):
            length = self.random.choice([0, 1, 2, 3, 3]) if depth > 0 else 0
            kind = tuple if self.random.random() < 0.2 else list
            return kind(self.value(type_.of_type, depth) for _ in range(length))
        return self.named_value(get_named_type(type_), depth)

    def named_value(self, type_: Any, depth: int) -> Any:
        if isinstance(type_, GraphQLObjectType):
            return self.row(type_, depth - 1) if depth > 0 else None
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            return self.named_value(self.random.choice(SCHEMA.get_possible_types(type_)), depth)
        choices: dict[str, list[Any]] = {
            "Int": [0, 7, -(2**30), 2**31 - 1, True, 2.0, "12"],
            "Float": [0.5, -1.25, 3, "2.5"],
            "String": ["a", "b", "", 3, False],
            "ID": ["1", "x", 12],
            "Boolean": [True, False, 1],
            "Kind": ["SMALL", "LARGE"],
            "Stamp": [1, 2, 3],
        }
        return self.random.choice(choices[type_.name])


def _stamp(value: Any) -> str | None:
    if value == 3:
        raise Trouble("stamp")
    return None if value == 1.5 else f"stamp {value}"


def _label(row: Any) -> str:
    name = read(row, "name")
    if name == "":
        raise Trouble("label")
    return f"label {name!r}" if not callable(name) else "label"


def _size(row: Any) -> Any:
    return len(read(row, "tags"))


def _related(name: str) -> Callable[..., Awaitable[Sequence[Any]]]:
    """A batch function: what the row has under this name, with an error for some arguments."""

    async def batch(context: Any, parents: list[Any], n: int | None = None) -> list[Any]:
        if context["waits"]:
            await asyncio.sleep(0)
        if n == 5:
            raise Trouble("batch")
        return [_one(row, name, n) for row in parents]

    return batch


def _one(row: Any, name: str, n: int | None) -> Any:
    try:
        value = read(row, name)
    except Exception as error:  # noqa: BLE001 - a batch returns the errors of single parents
        return error
    return value[:n] if isinstance(value, list) else value


def _alone(batch: Any) -> Callable[..., Any]:
    """The resolver for graphql-core: the batch function with one parent, at once where nothing waits."""

    async def resolve(row: Any, info: Any, **arguments: Any) -> Any:
        return (await batch(info.context, [row], **arguments))[0]

    return _perhaps_at_once(resolve)


def _perhaps_at_once(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(row: Any, info: Any, **arguments: Any) -> Any:
        work = function(row, info, **arguments)
        if info.context["waits"]:
            return work
        try:
            work.send(None)
        except StopIteration as stop:
            return stop.value
        raise AssertionError("it waited")

    return call


def _late(row: Any, info: Any, n: int | None = None) -> Any:
    if n == 5:
        raise Trouble(f"late {info.path.as_list()}")
    if not info.context["waits"]:
        return f"{info.parent_type} {info.path.as_list()} {n}"

    async def later() -> Any:
        await asyncio.sleep(0)
        if n == 1:
            raise Trouble("later")
        return f"{info.path.as_list()}"

    return later()


def _late_list(row: Any, info: Any) -> Any:
    value = read(row, "lateList")
    if not info.context["waits"] or not isinstance(value, list):
        return value

    async def later(item: Any) -> Any:
        await asyncio.sleep(0)
        return item

    return [later(item) for item in value]


def _schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    stamp = schema.type_map["Stamp"]
    assert isinstance(stamp, GraphQLScalarType)
    stamp.coerce_output_value = _stamp
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                _answer(field, name, root=type_ is schema.query_type)
    for name in ("Thing", "Any"):
        schema.type_map[name].resolve_type = _resolve_type  # type: ignore[attr-defined]
    schema.type_map["Nail"].is_type_of = lambda row, info: read(row, "typename") == "Nail"  # type: ignore[attr-defined]
    return schema


def _answer(field: Any, name: str, root: bool) -> None:
    if root and name == "stored":

        async def stored(context: Any, n: int | None = None) -> Any:
            return _late_value(context, n)

        field.extensions = {EXTENSION: Root(stored, lambda given: {"n": given.get("n")})}
        field.resolve = _perhaps_at_once(lambda _root, info, n=None: stored(info.context, n=n))
    elif name in {"boxes", "nail"}:
        batch = _related(name)
        field.extensions = {EXTENSION: Relation(batch)}
        field.resolve = _alone(batch)
    elif name in {"label", "size"}:
        function = {"label": _label, "size": _size}[name]
        field.extensions = {EXTENSION: Computed(function)}
        field.resolve = lambda row, info: function(row)
    elif name in COLUMNS:
        field.extensions = {EXTENSION: Column(name)}
        field.resolve = lambda row, info: read(row, name)
    elif name in {"late", "lateList"}:
        field.resolve = {"late": _late, "lateList": _late_list}[name]


def _late_value(context: Any, n: int | None) -> Any:
    if n == 5:
        raise Trouble("root")
    value = context["stored"]
    return value[:n] if isinstance(value, list) else value


def _resolve_type(row: Any, info: Any, type_: Any) -> Any:
    name = read(row, "typename")
    if not info.context["waits"]:
        return name

    async def later() -> str:
        await asyncio.sleep(0)
        return str(name)

    return later()


SCHEMA = _schema()
