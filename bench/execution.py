"""What executing costs without a network or a database: plans, graphql-core, and code written by hand.

Q2 is 50 devices of 10 fields, Q3 the same with 3 images of 6 fields each, from rows that are records.
`python -m bench.execution` prints the CPU time of one execution, the least of many interleaved rounds.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from graphql import GraphQLObjectType, build_schema, parse
from graphql import execute as core_execute

from schema.execution import EXTENSION, Column, PlanCache, Relation, Root, execute

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
Q3 = f"query($first: Int!) {{ devices(first: $first) {{ nodes {{ {DEVICE} images(first: 3) {{ nodes {{ {IMAGE} }} }} }} }} }}"


class Record(dict[str, Any]):
    """Stands for asyncpg's, which only a connection can make; reading it costs about the same."""


@dataclass(slots=True)
class Page:
    nodes: list[Record]


def snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)


def device(number: int) -> Record:
    now = datetime.now(UTC)
    return Record(
        id=f"device-{number}", key=f"cam-{number}", name="Pantry", enabled=True, wake_interval_seconds=300,
        created_at=now, last_seen_at=now, battery_v=3.7, firmware=None, status="ACTIVE",
    )  # fmt: skip


def image(number: int) -> Record:
    now = datetime.now(UTC)
    return Record(id=f"image-{number}", url=f"/i/{number}", width=1600, height=1200, captured_at=now, sharpness=0.5)


DEVICES = Page([device(number) for number in range(50)])
IMAGES = [Page([image(3 * number + each) for each in range(3)]) for number in range(50)]


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
    schema, plans, native = hinted_schema(), PlanCache(100), frozenset({datetime})
    print(f"{'':4}{'by hand':>10}{'plan':>10}{'graphql-core':>14}   plan ÷ by hand   graphql-core ÷ plan")
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
