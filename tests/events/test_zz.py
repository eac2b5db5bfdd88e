"""A subscription that was cut off goes on after its last cursor: no event is left out, none comes twice."""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest
import websockets

from domain.events.queries import event_cursor
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from tests.support.api import Organisation, TestDevice
from tests.support.live import Socket, event_stream, following
from tests.support.log import logged, whole_log, write_events
from tests.support.stack import Stack

EVENTS = "subscription ($after: String) { events(after: $after) { id cursor data } }"
LIST = "query ($after: String) { events(after: $after) { nodes { id } } }"
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])
WRITERS, EACH = 4, 300


async def start(org: Organisation) -> tuple[TestDevice, str]:
    """A device, and the cursor behind its registration."""
    device = await org.device()
    return device, (await logged(org.viewer, subjectIds=[device.id]))[-1]["cursor"]


async def write(database: Database, seed: int, ours: tuple[str, str], foreign: tuple[str, str]) -> None:
    """Write events in transactions of many sizes, some of which stay open while later ones commit."""
    rng = random.Random(seed)
    written = 0
    while written < EACH:
        async with transaction(database) as tx:
            for _ in range(min(rng.choice((1, 1, 2, 5, 40)), EACH - written)):
                for (client_id, device_id), chance in ((ours, 1.0), (foreign, 0.3)):
                    if rng.random() < chance:
                        subject = ("Device", device_id)
                        tx.emit(
                            SYSTEM, "device.checked_in", client_id=client_id, subject=subject, by=seed, n=written
                        )
                written += 1
            await tx.flush()  # the rows have their numbers now, and others get later ones before the commit
            tx._outbox.clear()
            await asyncio.sleep(rng.choice((0, 0, 0.005, 0.02)))


async def read(transport: str, url: str, org: Organisation, after: str, seed: int) -> list[str]:
    """The ids of all events up to the one that says it is the last, over many connections."""
    rng = random.Random(seed)
    got: list[str] = []
    while True:
        try:
            import time
            t0=time.time()
            async with following(transport, url, org.viewer, EVENTS, after=after) as next_event:
                t1=time.time(); k=rng.randint(1,120)
                for _ in range(k):
                    event = (await next_event())["events"]
                    after = event["cursor"]
                    got.append(event["id"])
                    if event["data"].get("last"):
                        return got
                t2=time.time()
            print(transport, seed, k, len(got), "open %.2f read %.2f close %.2f" % (t1-t0, t2-t1, time.time()-t2))
        except (websockets.ConnectionClosedError, AssertionError) as cut:
            if "SLOW_SUBSCRIBER" not in str(cut):  # which is one more way to be cut off
                raise


async def test_subscribers_that_come_and_go_get_exactly_what_the_log_has(
    stack: Stack, org: Organisation, other_org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    foreign = await other_org.device()
    readers = [
        asyncio.create_task(read(transport, stack.url, org, after, seed))
        for seed, transport in enumerate(("ws", "sse", "ws", "sse"))
    ]
    ours, theirs = (org.id, device.id), (other_org.id, foreign.id)
    await asyncio.gather(*(write(database, seed, ours, theirs) for seed in range(WRITERS)))
    await write_events(database, org.id, device.id, 1, last=True)
    received = await asyncio.gather(*readers)
    log = [event["id"] for event in await whole_log(org.viewer, types=["device.checked_in"])]
    assert len(log) == WRITERS * EACH + 1
    for ids in received:
        assert ids == log


async def test_the_log_keeps_the_order_of_each_writer(
    org: Organisation, other_org: Organisation, database: Database
) -> None:
    device, _ = await start(org)
    foreign = await other_org.device()
    ours, theirs = (org.id, device.id), (other_org.id, foreign.id)
    await asyncio.gather(*(write(database, seed, ours, theirs) for seed in range(2)))
    log = await logged(org.viewer, 2 * EACH, types=["device.checked_in"])
    for seed in range(2):
        assert [event["data"]["n"] for event in log if event["data"]["by"] == seed] == list(range(EACH))


@BOTH
async def test_what_happened_meanwhile_comes_first_and_then_what_happens(
    transport: str, stack: Stack, org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    await write_events(database, org.id, device.id, 1_200)  # more than one page of catching up
    await logged(org.viewer, 1_200, types=["device.checked_in"])
    async with following(transport, stack.url, org.viewer, EVENTS, after=after) as next_event:
        past = [(await next_event())["events"]["data"]["n"] for _ in range(1_200)]
        assert (await device.heartbeat(headers={"X-Battery-V": "3.3"})).status_code == 200
        assert (await next_event())["events"]["data"] == {"batteryV": 3.3}
    assert past == list(range(1_200))


@BOTH
async def test_a_cursor_of_the_list_resumes_a_subscription(transport: str, stack: Stack, org: Organisation) -> None:
    device, _ = await start(org)
    for voltage in ("3.1", "3.2", "3.3"):
        assert (await device.heartbeat(headers={"X-Battery-V": voltage})).status_code == 200
    beats = await logged(org.viewer, 3, types=["device.checked_in"])
    async with following(transport, stack.url, org.viewer, EVENTS, after=beats[0]["cursor"]) as next_event:
        assert [(await next_event())["events"]["id"] for _ in range(2)] == [event["id"] for event in beats[1:]]


async def test_a_subscriptions_cursor_reads_on_in_the_list(stack: Stack, org: Organisation) -> None:
    device, after = await start(org)
    async with following("ws", stack.url, org.viewer, EVENTS, after=after) as next_event:
        assert (await device.heartbeat()).status_code == 200
        cursor = (await next_event())["events"]["cursor"]
    older = (await org.viewer.run(LIST, after=cursor))["events"]["nodes"]
    assert [event["id"] for event in older] == [event["id"] for event in (await whole_log(org.viewer))[-2::-1]]


@BOTH
@pytest.mark.parametrize("field", ["deviceUpdates", "imageUpdates"])
async def test_updates_resume_too(
    field: str, transport: str, stack: Stack, org: Organisation, database: Database
) -> None:
    device, after = await start(org)
    kind, type = ("Device", "device.checked_in") if field == "deviceUpdates" else ("Image", "image.received")
    query = f"subscription ($after: String) {{ {field}(after: $after) {{ cursor event {{ data }} }} }}"
    subject = (kind, device.id)
    got = []
    for round in range(3):
        async with transaction(database) as tx:
            for n in range(4 * round, 4 * round + 4):
                tx.emit(SYSTEM, type, client_id=org.id, subject=subject, deviceId=device.id, n=n)
        async with following(transport, stack.url, org.viewer, query, after=after) as next_update:
            for _ in range(4):
                update = (await next_update())[field]
                after = update["cursor"]
                got.append(update["event"]["data"]["n"])
    assert got == list(range(12))


@asynccontextmanager
async def refusals(
    transport: str, stack: Stack, org: Organisation
) -> AsyncIterator[Callable[[str], Awaitable[Any]]]:
    """A function that gives the error with which a subscription after this cursor is refused."""
    if transport == "ws":
        async with Socket.opened(stack.url, org.viewer.token) as socket:

            async def over_socket(cursor: str) -> Any:
                await socket.subscribe(EVENTS, after=cursor)
                message = await socket.receive()
                assert await socket.receive() == {"id": message["id"], "type": "complete"}
                return message["payload"]["errors"][0]

            yield over_socket
        return

    async def over_stream(cursor: str) -> Any:
        async with event_stream(org.viewer, EVENTS, after=cursor) as events:
            first, answer = await asyncio.wait_for(anext(events), 15)
            assert (first, await anext(events)) == ("next", ("complete", None))
        return answer["errors"][0]

    yield over_stream


@BOTH
async def test_cursors_that_are_none_are_refused(transport: str, stack: Stack, org: Organisation) -> None:
    await org.device()
    devices = await org.viewer.run("{ devices { pageInfo { endCursor } } }")
    of_another_list = devices["devices"]["pageInfo"]["endCursor"]
    async with refusals(transport, stack, org) as refused:
        for cursor in ("garbage", "", "ü", of_another_list, event_cursor(-1), event_cursor(1 << 63)):
            error = await refused(cursor)
            assert error["extensions"]["code"] == "BAD_USER_INPUT", cursor
            assert error["extensions"]["details"] == {"argument": "after"}
            assert error["extensions"]["correlationId"]


@BOTH
async def test_a_cursor_ahead_of_the_log_is_refused(transport: str, stack: Stack, org: Organisation) -> None:
    async with refusals(transport, stack, org) as refused:
        error = await refused(event_cursor(1 << 40))
    assert error["extensions"]["code"] == "BAD_USER_INPUT"
    assert "ahead" in error["message"]


@BOTH
async def test_a_cursor_whose_events_are_no_longer_kept_is_refused(
    transport: str, stack: Stack, org: Organisation, database_url: str
) -> None:
    """The beginning of the log is taken away, as retention does a month at a time."""
    device, before = await start(org)
    assert (await device.heartbeat()).status_code == 200
    beat = (await logged(org.viewer, types=["device.checked_in"]))[-1]
    connection = await asyncpg.connect(database_url)
    position = await connection.fetchval("SELECT position FROM events WHERE id = $1", beat["id"])
    await connection.execute("DELETE FROM events WHERE position <= $1", position)
    assert (await device.heartbeat(headers={"X-Battery-V": "3.5"})).status_code == 200
    await logged(org.viewer, types=["device.checked_in"])
    async with refusals(transport, stack, org) as refused:
        assert (await refused(before))["extensions"]["code"] == "CURSOR_EXPIRED"
    # Behind the last one that is gone nothing is missing.
    async with following(transport, stack.url, org.viewer, EVENTS, after=beat["cursor"]) as next_event:
        assert (await next_event())["events"]["data"] == {"batteryV": 3.5}
    await connection.execute("DELETE FROM events")
    await connection.close()
    async with refusals(transport, stack, org) as refused:
        assert (await refused(beat["cursor"]))["extensions"]["code"] == "CURSOR_EXPIRED", "the log is empty"
