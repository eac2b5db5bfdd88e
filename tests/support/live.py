"""Clients of the two live protocols: graphql-transport-ws, and graphql-sse in distinct connections mode."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.api import Api

_PATIENCE = 15.0


class Socket:
    """A graphql-transport-ws connection that was acknowledged."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, token: str | None) -> AsyncIterator["Socket"]:
        address = url.replace("http", "ws", 1) + "/graphql"
        subprotocols = [websockets.Subprotocol("graphql-transport-ws")]
        async with websockets.connect(address, subprotocols=subprotocols, max_size=None) as connection:
            socket = cls(connection)
            payload = {"authorization": f"Bearer {token}"} if token else {}
            await socket.send({"type": "connection_init", "payload": payload})
            assert (await socket.receive())["type"] == "connection_ack"
            yield socket

    async def send(self, message: dict[str, Any]) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises ConnectionClosed, with the code, when the server closed."""
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.connection.recv(), _PATIENCE))
        return message

    async def subscribe(self, query: str, **variables: Any) -> "Subscription":
        """Start an operation; it is live when this returns, as far as the protocol can tell."""
        operation = str(next(self._ids))
        payload = {"query": query, "variables": variables}
        await self.send({"id": operation, "type": "subscribe", "payload": payload})
        await self.ping()
        return Subscription(self, operation)

    async def ping(self) -> None:
        """Wait until the server has handled everything that was sent before."""
        await self.send({"type": "ping"})
        assert (await self.receive())["type"] == "pong"


class Subscription:
    """One operation of a socket on which no other is active."""

    def __init__(self, socket: Socket, operation: str) -> None:
        self.socket = socket
        self.operation = operation

    async def next(self) -> Any:
        """The data of the next result."""
        message = await self.socket.receive()
        assert message["type"] == "next", message
        assert not message["payload"].get("errors"), message
        return message["payload"]["data"]

    async def complete(self) -> None:
        await self.socket.send({"id": self.operation, "type": "complete"})


@asynccontextmanager
async def event_stream(api: Api, query: str, **variables: Any) -> AsyncIterator[AsyncIterator[tuple[str, Any]]]:
    """The (event, data) pairs of a server-sent event stream, comments left out."""
    body = {"query": query, "variables": variables}
    headers = {**api.headers, "Accept": "text/event-stream"}
    async with api.http.stream("POST", "/graphql", json=body, headers=headers, timeout=_PATIENCE) as response:
        assert response.headers["content-type"].startswith("text/event-stream"), await response.aread()
        yield _events(response)


async def _events(response: httpx.Response) -> AsyncIterator[tuple[str, Any]]:
    event = ""
    async for line in response.aiter_lines():
        if line.startswith("event: "):
            event = line.removeprefix("event: ")
        elif line.startswith("data:"):
            text = line.removeprefix("data:").strip()
            yield event, json.loads(text) if text else None
