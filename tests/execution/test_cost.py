"""What operations cost: pages by their size, fragments once, conditions honoured, and never in long time."""

from typing import Any

import pytest
from graphql import GraphQLObjectType, GraphQLSchema, build_schema, parse, validate
from graphql.execution.values import get_variable_values

from schema.execution import EXTENSION, SIZED, Column, Relation, Root, Sized, measure

SDL = """
    interface Thing { id: ID! owner: Owner }
    type Owner implements Thing { id: ID! owner: Owner name: String boxes(first: Int = 20): Boxes! }
    type Box implements Thing { id: ID! owner: Owner boxes(first: Int = 20): Boxes! parts: [Box!] }
    type Boxes { nodes: [Box!]! edges: [Edge!]! info: Info! total: Int! }
    type Edge { node: Box! cursor: String! }
    type Info { more: Boolean! }
    type Query { boxes(first: Int = 20): Boxes! all(first: Int): Boxes! thing: Thing }
"""
RELATIONS = {"owner", "total"}


async def nothing(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing is executed here")


def _schema() -> GraphQLSchema:
    schema = build_schema(SDL)
    for type_ in schema.type_map.values():
        if isinstance(type_, GraphQLObjectType) and not type_.name.startswith("__"):
            for name, field in type_.fields.items():
                field.extensions[EXTENSION] = Relation(nothing) if name in RELATIONS else Column(name)
                if "first" in field.args:
                    field.extensions[EXTENSION] = Relation(nothing)
                    field.extensions[SIZED] = Sized("first", 100, ("nodes", "edges"))
                if type_ is schema.query_type:
                    field.extensions[EXTENSION] = Root(nothing)
    return schema


SCHEMA = _schema()


def cost(text: str, **variables: Any) -> int:
    document = parse(text)
    assert validate(SCHEMA, document) == []
    operation: Any = document.definitions[0]
    coerced = get_variable_values(SCHEMA, operation.variable_definitions or (), variables)
    assert not isinstance(coerced, list), coerced
    return measure(SCHEMA, document).cost(coerced.coerced)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{ __typename }", 0),
        ("{ __schema { types { name fields { name } } } }", 0),
        ("{ thing { id } }", 1),
        ("{ thing { id owner { id } } }", 2),
        ("{ boxes(first: 50) { nodes { id } } }", 51),
        ("{ boxes(first: 50) { nodes { id boxes(first: 3) { nodes { id } } } } }", 1 + 50 + 50 * 4),
        ("{ boxes { nodes { id } } }", 21),
        ("{ all { nodes { id } } }", 101),
        ("{ all(first: null) { nodes { id } } }", 101),
        ("{ boxes(first: 1000000) { nodes { id } } }", 101),
        ("{ boxes(first: -5) { nodes { owner { id } } } }", 1),
        ("{ boxes { info { more } } }", 1),
        ("{ boxes { total } }", 2),
        ("{ boxes(first: 10) { nodes { id } edges { cursor node { owner { id } } } total } }", 1 + 1 + 10 + 10),
        ("{ boxes(first: 2) { nodes { parts { owner { id } } } } }", 1 + 2 + 2),
        ("{ a: boxes(first: 2) { nodes { id } } b: boxes(first: 3) { nodes { id } } }", 7),
        (
            "{ boxes(first: 2) { ...P } } fragment P on Boxes { nodes { ...B } } "
            "fragment B on Box { owner { id } }",
            5,
        ),
        ("{ thing { ... on Box { owner { id } } ... on Owner { owner { id } } } }", 3),
        ("{ thing { ... { owner { id } } } }", 2),
        ("{ boxes(first: 2) { ... @skip(if: true) { nodes { id } } } }", 1),
        ("{ thing @include(if: false) { id } }", 0),
        ("{ thing @include(if: true) { id } }", 1),
    ],
)
def test_what_an_operation_costs(text: str, expected: int) -> None:
    assert cost(text) == expected


def test_the_size_of_a_page_may_be_a_variable() -> None:
    text = "query ($first: Int) { boxes(first: $first) { nodes { owner { id } } } }"
    assert [cost(text, first=size) for size in (0, 1, 100, 500)] == [1, 3, 201, 201]
    assert cost(text) == cost(text, first=20)
    assert cost("query ($n: Int = 7) { boxes(first: $n) { nodes { id } } }") == 8


@pytest.mark.parametrize(("directive", "chosen"), [("include", True), ("skip", False)])
def test_a_condition_may_be_a_variable(directive: str, chosen: bool) -> None:
    place = f"@{directive}(if: $v)"
    for text in (
        f"query ($v: Boolean!) {{ boxes(first: 9) {{ nodes {place} {{ id }} }} }}",
        f"query ($v: Boolean!) {{ boxes(first: 9) {{ ... {place} {{ nodes {{ id }} }} }} }}",
    ):
        assert cost(text, v=chosen) == 10
        assert cost(text, v=not chosen) in (1, 10), "what is counted once may count in any case, never less"
    below = f"query ($v: Boolean!) {{ boxes(first: 9) {{ nodes {{ owner {place} {{ id }} }} }} }}"
    assert (cost(below, v=chosen), cost(below, v=not chosen)) == (19, 10)


def test_fragments_that_spread_each_other_twice_take_no_longer_than_others() -> None:
    chain = " ".join(f"fragment F{n} on Owner {{ ...F{n + 1} owner {{ ...F{n + 1} }} }}" for n in range(60))
    text = f"{{ thing {{ ... on Owner {{ ...F0 }} }} }} {chain} fragment F60 on Owner {{ owner {{ id }} }}"
    document = parse(text)
    assert measure(SCHEMA, document).cost({}) == 10**9


def test_one_operation_of_several_is_measured() -> None:
    document = parse("query a { thing { id } } query b { boxes(first: 2) { nodes { id } } }")
    assert [measure(SCHEMA, document, name).cost({}) for name in ("a", "b")] == [1, 3]
