"""What executing costs without a network or a database: plans, graphql-core, and code written by hand.

Q2 is 50 devices of 10 fields, Q3 the same with 3 images of 6 fields each, from rows that are asyncpg's
records: they are fetched once, from the embedded PostgreSQL, before anything is measured. `rows` is the
loop over Q2's rows alone. `python -m bench.execution` prints the CPU time of one execution, the least of
many interleaved rounds.
"""

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import asyncpg
from graphql import GraphQLObjectType, build_schema, parse
from graphql import execute as core_execute

from schema.execution import EXTENSION, Column, PlanCache, Relation, Root, compile_operation, execute
from schema.execution.generate import generate
from server.embedded import running

SDL = """
    scalar DateTime
    enum Status { ACTIVE INACTIVE }
    type Query { devices(first: Int! = 20): DeviceConnection! }
    type DeviceConnection { nodes: [Device!]! }
    type ImageConnection { nodes: [Image!]! }
    type Device {
        id: ID! key: String! name: String! enabled: Boolean! wakeIntervalSeconds: Int! createdAt: DateTime!
        lastSeenAt: DateTime batteryV: Float firmware: String status: Status!
        images(first: Int! = 3): ImageConnection!
    }
    type Image { id: ID! url: String! width: Int! height: Int! capturedAt: DateTime! sharpness: Float }
"""
DEVICE = "id key name enabled wakeIntervalSeconds createdAt lastSeenAt batteryV firmware status"
IMAGE = "id url width height capturedAt sharpness"
Q2 = f"query($first: Int!) {{ devices(first: $first) {{ nodes {{ {DEVICE} }} }} }}"
IMAGES_OF = f"images(first: 3) {{ nodes {{ {IMAGE} }} }}"
Q3 = f"query($first: Int!) {{ devices(first: $first) {{ nodes {{ {DEVICE} {IMAGES_OF} }} }} }}"


SQL_DEVICES = """
    SELECT 'device-' || i AS id, 'cam-' || i AS key, 'Pantry' AS name, true AS enabled,
           300 AS wake_interval_seconds, now() AS created_at, now() AS last_seen_at, 3.7::float8 AS battery_v,
           NULL::text AS firmware, 'ACTIVE' AS status
    FROM generate_series(1, 50) AS i
"""
SQL_IMAGES = """
    SELECT 'image-' || i AS id, '/i/' || i AS url, 1600 AS width, 1200 AS height, now() AS captured_at,
           0.5::float8 AS sharpness
    FROM generate_series(1, 150) AS i
"""
Record = Any  # asyncpg.Record is not generic over its keys


@dataclass(slots=True)
class Page:
    nodes: list[Record]


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


DEVICES = Page([])
IMAGES: list[Page] = []


async def fetch() -> None:
    """Get the rows."""
    with tempfile.TemporaryDirectory() as folder, running(Path(folder) / "services") as services:
        connection = await asyncpg.connect(services.database_url)
        DEVICES.nodes = await connection.fetch(SQL_DEVICES)
        images = await connection.fetch(SQL_IMAGES)
        await connection.close()
    IMAGES[:] = [Page(images[start : start + 3]) for start in range(0, 150, 3)]


async def devices(context: Any, *, first: int) -> Page:
    return DEVICES


async def images_of(context: Any, parents: list[Record], *, first: int) -> list[Page]:
    return IMAGES


def hinted_schema() -> Any:
    schema = build_schema(SDL)
    for name in ("Device", "Image", "DeviceConnection", "ImageConnection"):
        type_ = schema.type_map[name]
        assert isinstance(type_, GraphQLObjectType)
        for field_name, field in type_.fields.items():
            column = snake(field_name)
            field.extensions = {EXTENSION: Column(column)}
            if name.endswith("Connection"):
                field.resolve = lambda row, _info: row.nodes
            else:
                field.resolve = lambda row, _info, column=column: row[column]
    images, root = schema.type_map["Device"].fields["images"], schema.query_type.fields["devices"]  # type: ignore[attr-defined, union-attr]
    images.extensions, root.extensions = {EXTENSION: Relation(images_of)}, {EXTENSION: Root(devices)}

    async def one(row: Record, _info: Any, first: int) -> Page:
        return IMAGES[0]

    images.resolve, root.resolve = one, lambda _root, info, first: devices(info.context, first=first)
    return schema


def by_hand_2(rows: list[Record]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"], "key": row["key"], "name": row["name"], "enabled": row["enabled"],
            "wakeIntervalSeconds": row["wake_interval_seconds"], "createdAt": row["created_at"],
            "lastSeenAt": row["last_seen_at"], "batteryV": row["battery_v"], "firmware": row["firmware"],
            "status": row["status"],
        }
        for row in rows
    ]  # fmt: skip


def by_hand_3(rows: list[Record], pages: list[Page]) -> list[dict[str, Any]]:
    return [
        {
            "id": row["id"], "key": row["key"], "name": row["name"], "enabled": row["enabled"],
            "wakeIntervalSeconds": row["wake_interval_seconds"], "createdAt": row["created_at"],
            "lastSeenAt": row["last_seen_at"], "batteryV": row["battery_v"], "firmware": row["firmware"],
            "status": row["status"],
            "images": {"nodes": [
                {
                    "id": image["id"], "url": image["url"], "width": image["width"], "height": image["height"],
                    "capturedAt": image["captured_at"], "sharpness": image["sharpness"],
                }
                for image in page.nodes
            ]},
        }
        for row, page in zip(rows, pages, strict=True)
    ]  # fmt: skip


async def hand_2() -> Any:
    return {"devices": {"nodes": by_hand_2((await devices(None, first=50)).nodes)}}


async def hand_3() -> Any:
    rows = (await devices(None, first=50)).nodes
    return {"devices": {"nodes": by_hand_3(rows, await images_of(None, rows, first=3))}}


def built(schema: Any) -> Callable[[], Awaitable[Any]]:
    """The generated function for the rows of Q2, alone."""
    selection = compile_operation(schema, parse(Q2), native=frozenset({datetime})).root
    for _ in range(2):
        (field,) = selection.fields
        output = field.output.item or field.output
        assert output.objects is not None
        assert isinstance(output.objects.type, GraphQLObjectType)
        selection = output.objects.of(output.objects.type)
    build = generate(selection, type(DEVICES.nodes[0]))

    async def call() -> Any:
        return build(DEVICES.nodes)

    return call


async def rows_by_hand() -> Any:
    return by_hand_2(DEVICES.nodes)


async def least(work: dict[str, Callable[[], Awaitable[Any]]], rounds: int = 40) -> dict[str, float]:
    """CPU microseconds of one call of each, taking turns so that a noisy moment does not favour one."""
    best = dict.fromkeys(work, float("inf"))
    for _ in range(rounds):
        for name, function in work.items():
            calls = 4 if name == "graphql-core" else 60
            begin = time.process_time()
            for _ in range(calls):
                await function()
            best[name] = min(best[name], (time.process_time() - begin) / calls * 1e6)
    return best


async def main() -> None:
    await fetch()
    schema, plans, native = hinted_schema(), PlanCache(100), frozenset({datetime})
    print(f"{'':4}{'by hand':>10}{'plan':>10}{'graphql-core':>14}   plan ÷ by hand   graphql-core ÷ plan")
    times = await least({"by hand": rows_by_hand, "plan": built(schema)})
    print(f"rows{times['by hand']:>8.1f}µs{times['plan']:>8.1f}µs{times['plan'] / times['by hand']:>28.2f} ×")
    for name, text, hand in (("Q2", Q2, hand_2), ("Q3", Q3, hand_3)):
        document = parse(text)

        async def plan(document: Any = document) -> Any:
            result = execute(schema, document, variable_values={"first": 50}, plans=plans, native=native)
            return await result  # type: ignore[misc]

        async def core(document: Any = document) -> Any:
            return await core_execute(schema, document, variable_values={"first": 50})  # type: ignore[misc]

        assert (await plan()).data == await hand()
        assert (await core()).errors is None
        times = await least({"by hand": hand, "plan": plan, "graphql-core": core})
        ours, ratio = times["plan"], times["plan"] / times["by hand"]
        print(
            f"{name:4}{times['by hand']:>8.1f}µs{ours:>8.1f}µs{times['graphql-core']:>12.0f}µs"
            f"{ratio:>14.2f} ×{times['graphql-core'] / ours:>18.1f} ×"
        )


if __name__ == "__main__":
    asyncio.run(main())
