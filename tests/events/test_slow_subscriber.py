"""A subscriber that stops reading is cut off, costs no memory, holds up nobody, and may resume without a loss."""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from domain.kit.sql import Database
from tests.support.api import Api, Organisation
from tests.support.live import Socket, following
from tests.support.log import logged, write_events
from tests.support.stack import Stack

EVENTS = (
    "subscription ($filter: EventFilter, $after: String) { events(filter: $filter, after: $after) { cursor data } }"
)
BEATS = {"types": ["device.checked_in"]}
COUNT, AT_ONCE, PADDING = 4_000, 200, "x" * 16_000  # 64 MB in all, far more than any buffer on the way
MOST_GROWTH = 40 << 20  # without a bound it is 70 MB


def narrow(url: str) -> sockets.socket:
    """A connection that takes in little of what it does not read."""
    address = urlsplit(url)
    narrow = sockets.socket()
    narrow.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 16 << 10)
    narrow.connect((address.hostname, address.port))
    narrow.setblocking(False)
    return narrow


Rest = Callable[[], Awaitable[tuple[list[dict[str, Any]], Any]]]


@asynccontextmanager
async def stalled_socket(stack: Stack, api: Api, after: str) -> AsyncIterator[Rest]:
    """A WebSocket that subscribes and reads nothing until asked for all that is left in it, and its end."""
    options = {
        "sock": narrow(stack.url),
        "compression": None,
        "max_queue": 1,
        "ping_interval": None,
        "close_timeout": 0.1,
    }
    async with Socket.opened(stack.url, api.token, **options) as socket:
        await socket.subscribe(EVENTS, filter=BEATS, after=after)

        async def rest() -> tuple[list[dict[str, Any]], Any]:
            code, reason, said = await socket.until_closed()
            return [message["payload"]["data"]["events"] for message in said], (code, reason)

        yield rest


@asynccontextmanager
async def stalled_stream(stack: Stack, api: Api, after: str) -> AsyncIterator[Rest]:
    """The same, of server-sent events."""
    reader, writer = await asyncio.open_connection(sock=narrow(stack.url), limit=64 << 10)
    body = json.dumps({"query": EVENTS, "variables": {"filter": BEATS, "after": after}})
    writer.write(
        f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\nConnection: close\r\n"
        f"Accept: text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    assert b" 200 " in await reader.readline()

    async def rest() -> tuple[list[dict[str, Any]], Any]:
        text = (await asyncio.wait_for(reader.read(), 30)).decode()
        payloads = [json.loads(line[6:]) for line in text.split("\r\n") if line.startswith("data: {")]
        *events, end = payloads
        return [payload["data"]["events"] for payload in events], end["errors"][0]["extensions"]["code"]

    yield rest
    writer.close()


STALLED = pytest.mark.parametrize(
    ("transport", "stalled", "end"),
    [("ws", stalled_socket, (1013, "SLOW_SUBSCRIBER")), ("sse", stalled_stream, "SLOW_SUBSCRIBER")],
    ids=["ws", "sse"],
)


@STALLED
async def test_a_subscriber_that_stops_reading_is_dropped_and_loses_nothing(
    transport: str, stalled: Any, end: Any, stack: Stack, org: Organisation, database: Database
) -> None:
    device = await org.device()
    after = (await logged(org.viewer, subjectIds=[device.id]))[-1]["cursor"]
    api = psutil.Process(stack.child("api"))
    async with (
        stalled(stack, org.viewer, after) as rest,
        following(transport, stack.url, org.viewer, EVENTS, filter=BEATS, after=after) as next_event,
    ):
        before, most = api.memory_info().rss, 0
        for begin in range(0, COUNT, AT_ONCE):  # at the pace of the one who reads
            await write_events(database, org.id, device.id, AT_ONCE, at=begin, padding=PADDING)
            data = [(await next_event())["events"]["data"] for _ in range(AT_ONCE)]
            assert [(one["at"], one["n"]) for one in data] == [(begin, n) for n in range(AT_ONCE)]
            most = max(most, api.memory_info().rss)
        assert most - before < MOST_GROWTH
        delivered, ended = await rest()
    assert ended == end
    assert len(delivered) < COUNT - 1_000, "it was cut off with events waiting"
    missing = COUNT - len(delivered)
    last = delivered[-1]["cursor"] if delivered else after
    async with following(transport, stack.url, org.viewer, EVENTS, filter=BEATS, after=last) as next_event:
        resumed = [(await next_event())["events"] for _ in range(missing)]
    numbers = [event["data"]["at"] + event["data"]["n"] for event in delivered + resumed]
    assert numbers == list(range(COUNT))


async def test_an_unread_socket_holds_up_neither_requests_nor_other_sockets(
    stack: Stack, org: Organisation, database: Database
) -> None:
    device = await org.device()
    after = (await logged(org.viewer, subjectIds=[device.id]))[-1]["cursor"]
    async with stalled_socket(stack, org.viewer, after):
        for _ in range(5):
            await write_events(database, org.id, device.id, 400, padding=PADDING)
        await logged(org.viewer, 100, types=["device.checked_in"])
        async with following("ws", stack.url, org.viewer, EVENTS, filter=BEATS) as next_event:
            assert (await device.heartbeat(headers={"X-Battery-V": "3.9"})).status_code == 200
            while (await next_event())["events"]["data"].get("batteryV") != 3.9:
                pass  # some of the many may not have been handed out when it began
