"""Clients of the two live protocols: graphql-transport-ws, and graphql-sse in distinct connections mode."""

import asyncio
import itertools
import json
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import websockets
from websockets.asyncio.client import ClientConnection

from tests.support.api import Api
from tests.support.log import eventually

_PATIENCE = 15.0
_PROTOCOL = "graphql-transport-ws"


@asynccontextmanager
async def connected(
    url: str, *, subprotocols: tuple[str, ...] = (_PROTOCOL,), **options: Any
) -> AsyncIterator[ClientConnection]:
    """A WebSocket on which nothing was said yet. `options` are those of websockets' `connect`."""
    address = url.replace("http", "ws", 1) + "/graphql"
    offered = [websockets.Subprotocol(name) for name in subprotocols] or None
    # A client whose queue is full does not see the server's half of the closing handshake.
    options = {"max_size": None, "max_queue": None, **options}
    async with websockets.connect(address, subprotocols=offered, **options) as connection:
        yield connection


class Socket:
    """A graphql-transport-ws connection."""

    def __init__(self, connection: ClientConnection) -> None:
        self.connection = connection
        self._ids = itertools.count(1)
        self._early: deque[dict[str, Any]] = deque()  # what came while a pong was waited for

    @classmethod
    @asynccontextmanager
    async def opened(cls, url: str, token: str | None, **options: Any) -> AsyncIterator["Socket"]:
        """One that was acknowledged."""
        async with connected(url, **options) as connection:
            socket = cls(connection)
            payload = {"authorization": f"Bearer {token}"} if token else {}
            await socket.send({"type": "connection_init", "payload": payload})
            assert (await socket.receive())["type"] == "connection_ack"
            yield socket

    async def send(self, message: dict[str, Any]) -> None:
        await self.connection.send(json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """The next message. Raises ConnectionClosed, with the code, when the server closed."""
        return self._early.popleft() if self._early else await self._next()

    async def _next(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(await asyncio.wait_for(self.connection.recv(), _PATIENCE))
        return message

    async def until_closed(self) -> tuple[int, str, list[dict[str, Any]]]:
        """The code and the reason with which the server closes, and what it still said before."""
        said = list(self._early)
        try:
            while True:
                said.append(await self._next())
        except websockets.ConnectionClosed as closed:
            if closed.rcvd is None:
                raise AssertionError("the connection was cut, not closed") from closed
            return closed.rcvd.code, closed.rcvd.reason, said

    async def subscribe(self, query: str, **variables: Any) -> "Subscription":
        """Start an operation; it is live when this returns, as far as the protocol can tell."""
        operation = str(next(self._ids))
        payload = {"query": query, "variables": variables}
        await self.send({"id": operation, "type": "subscribe", "payload": payload})
        await self.ping()
        return Subscription(self, operation)

    async def ping(self) -> list[dict[str, Any]]:
        """Wait until the server has handled everything that was sent before; what it has said of it so far.

        `receive` gives these messages later, too.
        """
        await self.send({"type": "ping"})
        while (message := await self._next())["type"] != "pong":
            self._early.append(message)
        return list(self._early)


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
async def following(
    transport: str, url: str, api: Api, query: str, **variables: Any
) -> AsyncIterator[Callable[[], Awaitable[Any]]]:
    """A subscription over `ws` or `sse`: a function that waits for the data of the next result."""
    if transport == "ws":
        async with Socket.opened(url, api.token) as socket:
            yield (await socket.subscribe(query, **variables)).next
        return
    async with event_stream(api, query, **variables) as events:

        async def next_data() -> Any:
            event, payload = await asyncio.wait_for(anext(events), _PATIENCE)
            assert event == "next", (event, payload)
            assert not payload.get("errors"), payload
            return payload["data"]

        yield next_data


async def live_subscribers(api: Api) -> int:
    """How many subscriptions the server has."""
    return int((await api.http.get("/health")).json()["system"]["liveSubscribers"])


@asynccontextmanager
async def one_more_subscriber(api: Api) -> AsyncIterator[None]:
    """Leaving waits until the server has one live subscription more than at the beginning."""

    async def more() -> bool:
        return await live_subscribers(api) > before

    before = await live_subscribers(api)
    yield
    await eventually(more, what="a live subscription")


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
