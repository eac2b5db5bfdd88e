"""The three queries by hand: Starlette, asyncpg and orjson, with nothing around them. The least that a server in
Python could do: no credential, no log, no measurement, no limit.
"""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import orjson
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

_DEVICE = (
    "SELECT id::text, key, name, enabled, wake_interval_seconds, created_at, last_seen_at, battery_pct, rssi, "
    "firmware FROM devices WHERE "
)
_ONE = _DEVICE + "id = $1 AND client_id = $2"
_MANY = _DEVICE + "deregistered_at IS NULL AND client_id = $1 ORDER BY key LIMIT $2"
# `id` alone would be the text that is selected, by which no index is ordered.
_IMAGES = """SELECT parent.id::text AS device, image.* FROM unnest($1::uuid[]) parent(id) CROSS JOIN LATERAL (
    SELECT id::text, status, content_type, size_bytes, received_at, captured_at FROM images
    WHERE device_id = parent.id ORDER BY images.id DESC LIMIT 3) image"""


def device(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "id": row["id"],
        "key": row["key"],
        "name": row["name"],
        "enabled": row["enabled"],
        "wakeIntervalSeconds": row["wake_interval_seconds"],
        "createdAt": row["created_at"],
        "lastSeenAt": row["last_seen_at"],
        "batteryPct": row["battery_pct"],
        "rssi": row["rssi"],
        "firmware": row["firmware"],
    }


def image(row: asyncpg.Record) -> dict[str, Any]:
    return {
        "id": row["id"],
        "status": row["status"],
        "contentType": row["content_type"],
        "sizeBytes": row["size_bytes"],
        "receivedAt": row["received_at"],
        "capturedAt": row["captured_at"],
    }


class Handlers:
    """One for each query."""

    def __init__(self, url: str, client: str) -> None:
        self._url = url
        self._client = client

    @asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        async with asyncpg.create_pool(self._url, min_size=10, max_size=10) as self._pool:
            yield

    async def one(self, request: Request) -> Response:
        variables = orjson.loads(await request.body())["variables"]
        row = await self._pool.fetchrow(_ONE, variables["id"], self._client)
        return _answer({"device": row and device(row)})

    async def many(self, request: Request) -> Response:
        variables = orjson.loads(await request.body())["variables"]
        rows = await self._pool.fetch(_MANY, self._client, variables["first"])
        return _answer({"devices": {"nodes": [device(row) for row in rows]}})

    async def nested(self, request: Request) -> Response:
        variables = orjson.loads(await request.body())["variables"]
        async with self._pool.acquire() as connection:
            rows = await connection.fetch(_MANY, self._client, variables["first"])
            found = await connection.fetch(_IMAGES, [row["id"] for row in rows])
        images: dict[str, list[dict[str, Any]]] = {}
        for row in found:
            images.setdefault(row["device"], []).append(image(row))
        nodes = [{**device(row), "images": {"nodes": images.get(row["id"], [])}} for row in rows]
        return _answer({"devices": {"nodes": nodes}})


def _answer(data: Any) -> Response:
    return Response(orjson.dumps({"data": data}), media_type="application/json")


def main(url: str, port: str, client: str) -> None:
    handlers = Handlers(url, client)
    routes = [Route(f"/{name}", getattr(handlers, name), methods=["POST"]) for name in ("one", "many", "nested")]
    app = Starlette(routes=routes, lifespan=handlers.lifespan)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="error", access_log=False)


if __name__ == "__main__":
    main(*sys.argv[1:])
