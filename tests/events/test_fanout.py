"""Many subscribers at once: each gets everything it may see, in order, and nothing that another may see."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest

from domain.kit.sql import Database
from tests.support.api import Organisation, TestDevice
from tests.support.live import Socket, following
from tests.support.log import eventually, logged, write_events
from tests.support.people import Person
from tests.support.stack import Stack

EVENTS = (
    "subscription ($filter: EventFilter, $after: String) { events(filter: $filter, after: $after) "
    "{ cursor data subjectId } }"
)
SUBJECTS = (
    'subscription { events(filter: {types: ["user.role_changed"]}) { subject { id ... on User { email } } } }'
)
BEATS = {"types": ["device.checked_in"]}
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])


async def start(org: Organisation) -> tuple[TestDevice, str]:
    """A device, and the cursor behind its registration."""
    device = await org.device()
    return device, (await logged(org.viewer, subjectIds=[device.id]))[-1]["cursor"]


@BOTH
async def test_a_burst_reaches_every_reader_whole_and_in_order(
    transport: str, stack: Stack, org: Organisation, database: Database
) -> None:
    device, _ = await start(org)
    async with AsyncExitStack() as open:
        readers = [
            await open.enter_async_context(following(transport, stack.url, org.viewer, EVENTS, filter=BEATS))
            for _ in range(5)
        ]
        await write_events(database, org.id, device.id, 5_000, at_once=5_000)

        async def numbers(next_event: Callable[[], Awaitable[Any]]) -> list[int]:
            return [(await next_event())["events"]["data"]["n"] for _ in range(5_000)]

        received = await asyncio.gather(*map(numbers, readers))
        assert received == [list(range(5_000))] * 5
        # And they are live again.
        assert (await device.heartbeat(headers={"X-Battery-V": "3.9"})).status_code == 200
        for next_event in readers:
            assert (await next_event())["events"]["data"] == {"batteryV": 3.9}


async def test_many_resume_from_everywhere_while_events_keep_coming(
    stack: Stack, org: Organisation, database: Database
) -> None:
    device, _ = await start(org)
    await write_events(database, org.id, device.id, 1_500)
    cursors = [event["cursor"] for event in await logged(org.viewer, 1_500, types=["device.checked_in"])]
    begun = range(0, 1_500, 50)
    async with AsyncExitStack() as open:
        sockets = [await open.enter_async_context(Socket.opened(stack.url, org.viewer.token)) for _ in begun]
        writing = asyncio.create_task(write_events(database, org.id, device.id, 1_500, at_once=7, more=True))

        async def resumed(socket: Socket, at: int) -> list[int]:
            events = await socket.subscribe(EVENTS, filter=BEATS, after=cursors[at])
            data = [(await events.next())["events"]["data"] for _ in range(3_000 - at - 1)]
            return [one["n"] + (1_500 if one.get("more") else 0) for one in data]

        received = await asyncio.gather(*map(resumed, sockets, begun))
        await writing
    assert received == [list(range(at + 1, 3_000)) for at in begun]


async def test_the_same_document_brings_each_organisation_its_own(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    mine, foreign = await org.device(), await other_org.device()
    async with (
        Socket.opened(stack.url, org.viewer.token) as one,
        Socket.opened(stack.url, other_org.viewer.token) as other,
    ):
        ours, theirs = await one.subscribe(EVENTS, filter=BEATS), await other.subscribe(EVENTS, filter=BEATS)
        for device in (mine, foreign, mine):
            assert (await device.heartbeat()).status_code == 200
        assert [(await ours.next())["events"]["subjectId"] for _ in range(2)] == [mine.id, mine.id]
        assert (await theirs.next())["events"]["subjectId"] == foreign.id
        assert await one.ping() == []
        assert await other.ping() == []


async def test_who_may_less_is_not_told_what_another_may_see(stack: Stack, org: Organisation) -> None:
    person = await Person.made(org.admin, "VIEWER", org.id)
    async with (
        Socket.opened(stack.url, org.operator.token) as first,
        Socket.opened(stack.url, org.viewer.token) as second,
    ):
        allowed, denied = await first.subscribe(SUBJECTS), await second.subscribe(SUBJECTS)
        query = "mutation ($id: ID!) { setUserRole(id: $id, role: OPERATOR) { role } }"
        await org.admin.run(query, id=person.id)
        assert (await allowed.next())["events"]["subject"] == {"id": person.id, "email": person.email}
        message = await denied.socket.receive()
        assert message["payload"]["errors"][0]["extensions"]["code"] == "FORBIDDEN"


async def test_the_last_one_to_leave_ends_the_group(stack: Stack, org: Organisation) -> None:
    async def groups() -> int:
        text = (await org.viewer.http.get("/metrics")).text
        (line,) = (line for line in text.splitlines() if line.startswith("quartermaster_live_subscription_groups "))
        return round(float(line.split()[1]))

    async def until(count: int) -> None:
        async def reached() -> bool:
            return await groups() == count

        await eventually(reached, what=f"{count} groups")

    before = await groups()
    async with Socket.opened(stack.url, org.viewer.token) as one:
        first, second = [await one.subscribe(EVENTS, filter=BEATS) for _ in range(2)]
        assert await groups() == before + 1
        async with Socket.opened(stack.url, org.operator.token) as other:
            await other.subscribe(EVENTS, filter=BEATS)
            assert await groups() == before + 2, "they do not have the same permissions"
        await until(before + 1)
        await first.complete()
        await one.ping()
        assert await groups() == before + 1
        await second.complete()
        await one.ping()
        assert await groups() == before
