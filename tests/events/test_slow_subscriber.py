"""A subscriber that is slow catches up; one that stops reading is dropped, costs no memory, holds up nobody,
and may resume without a loss.
"""

import asyncio
import json
import socket as sockets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest
import websockets

from domain.kit.sql import Database
from tests.support.api import Api, Organisation, TestDevice
from tests.support.live import Socket, following, live_subscribers
from tests.support.log import eventually, logged, write_events
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


class Stalled:
    """A subscriber that reads only when it is asked to."""

    def __init__(self, port: int, next_event: Callable[[], Awaitable[Any]]) -> None:
        self.port = port
        self.next = next_event

    async def rest(self) -> tuple[list[dict[str, Any]], Any]:
        """All events that are left in it, and how it ends."""
        events = []
        while "data" in (event := await self.next()):
            events.append(event)
        return events, event["end"]


@asynccontextmanager
async def stalled_socket(stack: Stack, api: Api, after: str) -> AsyncIterator[Stalled]:
    sock = narrow(stack.url)
    options = {"compression": None, "max_queue": 1, "ping_interval": None, "close_timeout": 0.1}
    async with Socket.opened(stack.url, api.token, sock=sock, **options) as socket:
        await socket.subscribe(EVENTS, filter=BEATS, after=after)

        async def next_event() -> Any:
            try:
                return (await socket.receive())["payload"]["data"]["events"]
            except websockets.ConnectionClosed as closed:
                return {"end": (closed.rcvd.code, closed.rcvd.reason) if closed.rcvd else "cut"}

        yield Stalled(sock.getsockname()[1], next_event)


@asynccontextmanager
async def stalled_stream(stack: Stack, api: Api, after: str) -> AsyncIterator[Stalled]:
    sock = narrow(stack.url)
    port = sock.getsockname()[1]
    reader, writer = await asyncio.open_connection(sock=sock, limit=64 << 10)
    body = json.dumps({"query": EVENTS, "variables": {"filter": BEATS, "after": after}})
    writer.write(
        f"POST /graphql HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {api.token}\r\nConnection: close\r\n"
        f"Accept: text/event-stream\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n\r\n{body}".encode()
    )
    await writer.drain()
    assert b" 200 " in await reader.readline()

    async def next_event() -> Any:
        line = b""
        while not line.startswith(b"data: {"):
            line = await asyncio.wait_for(reader.readline(), 15)
            assert line, "the stream was cut"
        payload = json.loads(line[6:])
        if "errors" in payload:
            return {"end": payload["errors"][0]["extensions"]["code"]}
        return payload["data"]["events"]

    yield Stalled(port, next_event)
    writer.close()


KINDS = {"ws": stalled_socket, "sse": stalled_stream}
ENDS = {"ws": (1013, "SLOW_SUBSCRIBER"), "sse": "SLOW_SUBSCRIBER"}
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])


async def start(org: Organisation) -> tuple[TestDevice, str]:
    """A device, and the cursor behind its registration."""
    device = await org.device()
    return device, (await logged(org.viewer, subjectIds=[device.id]))[-1]["cursor"]


@BOTH
async def test_a_subscriber_that_stops_reading_is_dropped_and_loses_nothing(
    transport: str, stack: Stack, org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    api = psutil.Process(stack.child("api"))
    async with (
        KINDS[transport](stack, org.viewer, after) as stalled,
        following(transport, stack.url, org.viewer, EVENTS, filter=BEATS, after=after) as next_event,
    ):
        both = await live_subscribers(org.viewer)

        async def dropped() -> bool:
            return await live_subscribers(org.viewer) < both

        async def rest() -> tuple[list[dict[str, Any]], Any]:
            await eventually(dropped, within=60, what="that it is dropped")
            return await stalled.rest()

        ending = asyncio.create_task(rest())
        before, most = api.memory_info().rss, 0
        for begin in range(0, COUNT, AT_ONCE):  # at the pace of the one who reads
            await write_events(database, org.id, device.id, AT_ONCE, at=begin, padding=PADDING)
            data = [(await next_event())["events"]["data"] for _ in range(AT_ONCE)]
            assert [(one["at"], one["n"]) for one in data] == [(begin, n) for n in range(AT_ONCE)]
            most = max(most, api.memory_info().rss)
        assert most - before < MOST_GROWTH
        delivered, end = await ending
    assert end == ENDS[transport]
    assert len(delivered) < COUNT - 1_000, "it was cut off with events waiting"
    missing = COUNT - len(delivered)
    last = delivered[-1]["cursor"] if delivered else after
    async with following(transport, stack.url, org.viewer, EVENTS, filter=BEATS, after=last) as next_event:
        resumed = [(await next_event())["events"] for _ in range(missing)]
    numbers = [event["data"]["at"] + event["data"]["n"] for event in delivered + resumed]
    assert numbers == list(range(COUNT))


@BOTH
async def test_a_subscriber_that_reads_again_in_time_catches_up(
    transport: str, stack: Stack, org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    async with (
        KINDS[transport](stack, org.viewer, after) as slow,
        following(transport, stack.url, org.viewer, EVENTS, filter=BEATS, after=after) as next_event,
    ):
        await write_events(database, org.id, device.id, 1_500, at_once=AT_ONCE, padding=PADDING)
        for _ in range(1_500):
            await next_event()
        numbers = [(await slow.next())["data"]["n"] for _ in range(1_500)]
        assert (await device.heartbeat(headers={"X-Battery-V": "3.9"})).status_code == 200
        assert (await slow.next())["data"] == {"batteryV": 3.9}
    assert numbers == list(range(1_500))


async def test_a_subscriber_that_never_reads_again_is_cut_off(
    stack: Stack, org: Organisation, database: Database
) -> None:
    """Closing waits for what was sent to be read, so it is not enough."""
    device, after = await start(org)
    api = psutil.Process(stack.child("api"))
    async with (
        stalled_socket(stack, org.viewer, after) as socket,
        stalled_stream(stack, org.viewer, after) as stream,
    ):
        ports = {socket.port, stream.port}

        async def connected() -> set[int]:
            return ports & {each.raddr.port for each in api.net_connections("tcp") if each.raddr}

        async def cut() -> bool:
            return not await connected()

        assert await connected() == ports
        await write_events(database, org.id, device.id, COUNT // 4, at_once=AT_ONCE, padding=PADDING)
        await eventually(cut, within=60, what="that the server has no such connection")


async def test_an_unread_socket_holds_up_neither_requests_nor_other_sockets(
    stack: Stack, org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    async with stalled_socket(stack, org.viewer, after):
        for _ in range(5):
            await write_events(database, org.id, device.id, 400, padding=PADDING)
        await logged(org.viewer, 100, types=["device.checked_in"])
        async with following("ws", stack.url, org.viewer, EVENTS, filter=BEATS) as next_event:
            assert (await device.heartbeat(headers={"X-Battery-V": "3.9"})).status_code == 200
            while (await next_event())["events"]["data"].get("batteryV") != 3.9:
                pass  # some of the many may not have been handed out when it began
