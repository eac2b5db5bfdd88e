"""What `execute` promises beyond graphql-core: how often functions are called, in which order, in which task."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import pytest
from graphql import ExecutionResult, GraphQLError, GraphQLSchema, build_schema, parse
from graphql import execute as core_execute

from schema.execution import (
    EXTENSION,
    Column,
    Computed,
    PlanCache,
    Relation,
    Root,
    Trusted,
    TypeName,
    Unsupported,
    compile_operation,
    execute,
)

SDL = """
    scalar Stamp
    enum Status { ON OFF }
    interface Node { id: ID! }
    type Query { devices(first: Int = 10, after: String): [Device] node: Node slow: Int quick: Int }
    type Device implements Node {
        id: ID! name: String! volts: Float rssi: Int seen: Stamp status: Status
        shout: String images(first: Int!): [Image!]! owner: Device!
    }
    type Image { id: ID! url: String }
    type Mutation { add(n: Int!): Int must(n: Int!): Int! }
    type Subscription { device: Device! }
"""


class Record(dict[str, Any]):
    """A row that is read by key."""


def hinted(**hints: Any) -> GraphQLSchema:
    """The schema, with hints by names such as `Device_images`."""
    schema = build_schema(SDL)
    for name, hint in hints.items():
        type_, _, field = name.partition("_")
        thing: Any = schema.type_map[type_]
        (thing.fields[field] if field else thing).extensions = {EXTENSION: hint}
    return schema


def devices_of(rows: Sequence[Any]) -> Root:
    async def devices(context: Any, **arguments: Any) -> Sequence[Any]:
        return rows

    return Root(devices)


async def run(schema: GraphQLSchema, text: str, **keywords: Any) -> ExecutionResult:
    result: Any = execute(schema, parse(text), **keywords)
    return result if isinstance(result, ExecutionResult) else await result


def messages(result: ExecutionResult) -> list[tuple[str, Any]]:
    return [(error.message, error.path) for error in result.errors or ()]


async def test_a_relation_is_asked_once_for_all_parents() -> None:
    calls = []

    async def images(context: Any, parents: Sequence[Any], first: int) -> list[Any]:
        calls.append((context, [parent["id"] for parent in parents], first))
        return [[{"id": f"{parent['id']}{number}"} for number in range(first)] for parent in parents]

    rows = [Record(id="a"), None, Record(id="b")]
    schema = hinted(Query_devices=devices_of(rows), Device_images=Relation(images))
    text = "query($n: Int!) { devices { images(first: $n) { id } } }"
    result = await run(schema, text, context_value="context", variable_values={"n": 2})
    assert calls == [("context", ["a", "b"], 2)]
    assert result.errors is None
    assert result.data == {
        "devices": [
            {"images": [{"id": "a0"}, {"id": "a1"}]},
            None,
            {"images": [{"id": "b0"}, {"id": "b1"}]},
        ]
    }


async def test_an_exception_among_a_batch_is_that_parents_error() -> None:
    async def images(context: Any, parents: Sequence[Any], first: int) -> list[Any]:
        return [[], ValueError("no images"), []]

    rows = [Record(id=letter) for letter in "abc"]
    schema = hinted(Query_devices=devices_of(rows), Device_images=Relation(images))
    result = await run(schema, "{ devices { id images(first: 1) { id } } }")
    assert result.data == {"devices": [{"id": "a", "images": []}, None, {"id": "c", "images": []}]}
    assert messages(result) == [("no images", ["devices", 1, "images"])]
    assert isinstance((result.errors or [])[0].original_error, ValueError)


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        (lambda context, parents, first: [[]], "The batch of Device.images has 1 values for 2 parents."),
        (lambda context, parents: [[], []], "unexpected keyword argument 'first'"),
    ],
)
async def test_a_batch_that_fails_is_every_parents_error(batch: Any, message: str) -> None:
    rows = [Record(id="a"), Record(id="b")]
    schema = hinted(Query_devices=devices_of(rows), Device_images=Relation(batch))
    result = await run(schema, "{ devices { images(first: 1) { id } } }")
    assert result.data == {"devices": [None, None]}
    assert [error.path for error in result.errors or ()] == [["devices", index, "images"] for index in (0, 1)]
    assert all(message in error.message for error in result.errors or ())


async def test_arguments_are_converted_once_for_a_plan_when_they_hold_no_variables() -> None:
    conversions: list[dict[str, Any]] = []

    def convert(arguments: dict[str, Any]) -> dict[str, Any]:
        conversions.append(arguments)
        return {"limit": arguments["first"]}

    async def devices(context: Any, limit: int) -> list[Any]:
        return [Record(id=str(number)) for number in range(limit)]

    schema, plans = hinted(Query_devices=Root(devices, convert)), PlanCache(5)
    static, dynamic = parse("{ devices(first: 2) { id } }"), parse("query($n: Int) { devices(first: $n) { id } }")
    for document, count in ((static, 1), (dynamic, 3)):
        conversions.clear()
        for _ in range(3):
            result: Any = execute(schema, document, variable_values={"n": 2}, plans=plans)
            assert (await result).data == {"devices": [{"id": "0"}, {"id": "1"}]}
        assert conversions == [{"first": 2}] * count


async def test_columns_are_read_by_their_own_name_from_records_and_objects() -> None:
    class Row:
        device_name = "attribute"

    rows = [Record(device_name="key"), Row()]
    schema = hinted(Query_devices=devices_of(rows), Device_name=Column("device_name"))
    result = await run(schema, "{ devices { called: name } }")
    assert result.data == {"devices": [{"called": "key"}, {"called": "attribute"}]}


async def test_a_computed_field_that_raises_is_null_for_its_row_alone() -> None:
    def shout(row: Any) -> str:
        return f"{row['name'].upper()}!"

    rows = [Record(name="a"), Record(name=None), Record(name="c")]
    schema = hinted(Query_devices=devices_of(rows), Device_shout=Computed(shout))
    result = await run(schema, "{ devices { shout } }")
    assert result.data == {"devices": [{"shout": "A!"}, {"shout": None}, {"shout": "C!"}]}
    assert messages(result) == [("'NoneType' object has no attribute 'upper'", ["devices", 1, "shout"])]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"volts": float("nan")}, "Float cannot represent non numeric value: nan"),
        ({"volts": float("-inf")}, "Float cannot represent non numeric value: -inf"),
        ({"rssi": 2**31}, "Int cannot represent non 32-bit signed integer value: 2147483648"),
        ({"status": "BROKEN"}, "Enum 'Status' cannot represent value: 'BROKEN'"),
    ],
)
async def test_values_that_a_type_does_not_have_are_errors(values: dict[str, Any], message: str) -> None:
    rows = [Record(volts=1.5, rssi=-(2**31), status="ON"), Record(volts=None, rssi=0, status="OFF") | values]
    schema = hinted(Query_devices=devices_of(rows))
    (name,) = values
    result = await run(schema, "{ devices { volts rssi status } }")
    assert messages(result) == [(message, ["devices", 1, name])]
    assert result.data is not None
    assert result.data["devices"][0] == {"volts": 1.5, "rssi": -(2**31), "status": "ON"}
    assert result.data["devices"][1] == {"volts": None, "rssi": 0, "status": "OFF"} | {name: None}


async def test_native_values_are_left_for_the_encoder() -> None:
    seen = datetime(2026, 7, 1)
    schema = hinted(Query_devices=devices_of([Record(seen=seen)]))
    stamp: Any = schema.type_map["Stamp"]
    stamp.coerce_output_value = lambda value: value.isoformat()
    text = "{ devices { seen } }"
    assert (await run(schema, text)).data == {"devices": [{"seen": "2026-07-01T00:00:00"}]}
    assert (await run(schema, text, native=frozenset({datetime}))).data == {"devices": [{"seen": seen}]}


async def test_keys_keep_the_order_of_the_selection() -> None:
    async def images(context: Any, parents: Sequence[Any], first: int) -> list[Any]:
        return [[] for _ in parents]

    rows = [Record(id="a", name="b", owner=Record(id="c"))]
    schema = hinted(Query_devices=devices_of(rows), Device_images=Relation(images), Device_owner=Column("owner"))
    result = await run(schema, "{ devices { images(first: 1) { id } name owner { id } __typename id } }")
    assert result.data is not None
    assert [*result.data["devices"][0]] == ["images", "name", "owner", "__typename", "id"]


async def test_root_fields_of_a_query_wait_together() -> None:
    begun = asyncio.Event()

    async def slow(context: Any) -> int:
        await asyncio.wait_for(begun.wait(), 5)
        return 1

    async def quick(context: Any) -> int:
        begun.set()
        return 2

    result = await run(hinted(Query_slow=Root(slow), Query_quick=Root(quick)), "{ slow quick }")
    assert result.data == {"slow": 1, "quick": 2}


async def test_root_fields_of_a_mutation_run_in_order_until_one_may_not_be_null() -> None:
    log: list[str] = []

    async def add(context: Any, n: int) -> int | None:
        log.append(f"begin {n}")
        await asyncio.sleep(0)
        log.append(f"end {n}")
        if n == 0:
            raise ValueError("nothing to add")
        return n

    schema = hinted(Mutation_add=Root(add), Mutation_must=Root(add))
    result = await run(schema, "mutation { a: add(n: 1) b: add(n: 0) c: must(n: 2) }")
    assert log == ["begin 1", "end 1", "begin 0", "end 0", "begin 2", "end 2"]
    assert result.data == {"a": 1, "b": None, "c": 2}
    log.clear()
    result = await run(schema, "mutation { a: add(n: 1) b: must(n: 0) c: add(n: 2) }")
    assert log == ["begin 1", "end 1", "begin 0", "end 0"]
    assert result.data is None
    assert messages(result) == [("nothing to add", ["b"])]


async def test_an_event_is_the_root_value_of_a_subscription() -> None:
    result = await run(hinted(), "subscription { device { id } }", root_value={"device": Record(id="a")})
    assert result.data == {"device": {"id": "a"}}


def test_what_waits_for_nothing_is_answered_at_once() -> None:
    result = execute(hinted(), parse("{ quick }"), {"quick": 3})
    assert result == ExecutionResult({"quick": 3})


async def test_functions_run_in_the_task_that_awaits_the_result() -> None:
    tasks = set()

    async def quick(context: Any) -> int:
        tasks.add(asyncio.current_task())
        async with asyncio.timeout(5):
            await asyncio.sleep(0)
        tasks.add(asyncio.current_task())
        return 1

    awaitable: Any = execute(hinted(Query_quick=Root(quick)), parse("{ quick }"))
    task = asyncio.ensure_future(awaitable)
    assert (await task).data == {"quick": 1}
    assert tasks == {task}


async def test_a_plan_is_compiled_once_for_each_choice_of_conditions() -> None:
    plans, schema = PlanCache(10), hinted()
    document = parse("query($all: Boolean!) { quick slow @include(if: $all) }")
    for _ in range(3):
        for everything in (True, False):
            result = execute(
                schema, document, {"quick": 1, "slow": 2}, variable_values={"all": everything}, plans=plans
            )
            assert result == ExecutionResult({"quick": 1} | ({"slow": 2} if everything else {}))
    assert (plans.hits, plans.misses, len(plans)) == (4, 2, 2)


async def test_plans_used_least_recently_are_forgotten() -> None:
    plans, schema = PlanCache(2), hinted()
    first, second, third = (parse(f"{{ {name} }}") for name in ("quick", "slow", "quick slow"))
    for document in (first, second, first, third, first, second):
        execute(schema, document, {}, plans=plans)
    assert (plans.hits, plans.misses, len(plans)) == (2, 4, 2)


async def test_documents_with_the_same_key_share_a_plan() -> None:
    plans, schema = PlanCache(2), hinted()
    for _ in range(3):
        execute(schema, parse("{ quick }"), {}, plans=plans, document_key="{ quick }")
    assert (plans.hits, plans.misses) == (2, 1)


async def test_a_plan_answers_rows_of_classes_that_it_has_not_met_before() -> None:
    class Other:
        id = 5

    rows: list[Any] = [Record(id="a")]
    schema, plans = hinted(Query_devices=devices_of(rows)), PlanCache(2)
    document = parse("{ devices { id } }")
    for row, answer in ((Record(id="b"), "b"), (Other(), "5"), ({"id": "c"}, "c")):
        rows[:] = [row]
        result: Any = execute(schema, document, plans=plans)
        assert (await result).data == {"devices": [{"id": answer}]}
    assert plans.misses == 1


async def test_hints_name_types_and_spare_tests_of_rows() -> None:
    schema = hinted(Node=TypeName(lambda row: row["kind"]), Device=Trusted())
    tested: list[Any] = []
    device: Any = schema.type_map["Device"]
    device.is_type_of = lambda row, info: tested.append(row)
    result = await run(schema, "{ node { __typename id } }", root_value={"node": Record(kind="Device", id="a")})
    assert result.data == {"node": {"__typename": "Device", "id": "a"}}
    assert tested == []


@pytest.mark.parametrize(
    "text",
    [
        "{ __schema { queryType { name } } }",
        '{ __type(name: "Device") { name } }',
        "{ ... @defer { quick } }",
        "query A { quick } query B { quick }",
        "{ quick @skip(if: 3) }",
    ],
)
def test_what_plans_do_not_know_is_left_to_graphql_core(text: str) -> None:
    schema, document = hinted(), parse(text)
    with pytest.raises(Unsupported):
        compile_operation(schema, document)
    answers = []
    for function in (execute, core_execute):
        try:
            answers.append(function(schema, document, {"quick": 1}))
        except GraphQLError as error:
            answers.append(error)  # type: ignore[arg-type]
    assert str(answers[0]) == str(answers[1])


async def test_an_aborted_caller_ends_what_it_waits_for() -> None:
    ended = asyncio.Event()

    async def forever(context: Any) -> int:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return 1

    schema = hinted(Query_slow=Root(forever), Query_quick=Root(forever))
    awaitable: Any = execute(schema, parse("{ slow quick }"))
    task = asyncio.ensure_future(awaitable)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert ended.is_set()
