"""A group of subscribers, in this process: what is executed once, what is shared, and what goes wrong in one group.

The parts are those of the server, on the server's database; only that the statements are counted is added.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from domain.events.models import EventRow
from domain.events.queries import position_of
from domain.kit.errors import Unavailable
from domain.kit.sql import Database, Row, Statement
from resolvers.context import Context, Services
from server.graphql.executor import Executor, Watch, build_executor
from server.graphql.fanout import Fanout
from server.graphql.group import Batch
from server.graphql.request import GraphQLRequest
from server.process import connect_redis
from server.services import api_services
from server.settings import load_settings
from tests.support.api import Api, Organisation, TestDevice
from tests.support.log import eventually, logged
from tests.support.people import Person
from tests.support.stack import Stack

QUERY = (
    "subscription ($ids: [ID!]) { deviceUpdates(ids: $ids) "
    "{ cursor event { data } device { id name client { id } } } }"
)
R = TypeVar("R", bound=Row)


class Counting(Database):
    """A database that knows how many statements were sent."""

    sent = 0

    async def _fetch(self, statement: Statement[R], arguments: list[Any]) -> list[R]:
        self.sent += 1
        return await super()._fetch(statement, arguments)


class Reader:
    """An outlet that takes everything at once."""

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.last: Any = None

    def is_full(self) -> bool:
        return False

    async def has_room(self) -> None:
        raise AssertionError("it is never full")

    def unsent(self) -> int:
        return 0

    def write(self, batch: Batch) -> None:
        self.payloads += batch.payloads

    def end(self, payload: bytes) -> None:
        self.last = orjson.loads(payload)

    def drop(self) -> None:
        raise AssertionError("it is never slow")

    async def until(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.payloads) >= count

        await eventually(enough, what=f"{count} payloads")

    async def until_ended(self) -> None:
        async def ended() -> bool:
            return self.last is not None

        await eventually(ended, what="the end")


@dataclass
class Inside:
    """The parts of an API process."""

    services: Services
    database: Counting
    executor: Executor
    fanout: Fanout

    async def watch(self, api: Api, **variables: Any) -> Watch:
        principal = await self.services.authenticator.principal(f"Bearer {api.token}")
        context = Context(self.services, principal, "127.0.0.1")
        return await self.executor.watch(
            context, await self.executor.prepare(context, GraphQLRequest(QUERY, variables))
        )

    async def handed_out(self, api: Api, count: int, device: TestDevice) -> None:
        """Wait until so many events of the device were."""
        last = (await logged(api, count, subjectIds=[device.id]))[-1]

        async def reached() -> bool:
            return self.services.feed.position >= position_of(last["cursor"])

        await eventually(reached, what=f"{count} events")

    async def device(self, org: Organisation) -> TestDevice:
        """One whose registration is over."""
        device = await org.device(name="Top shelf")
        await self.handed_out(org.viewer, 1, device)
        return device

    async def readers(self, count: int, watch: Watch) -> list[Reader]:
        readers = [Reader() for _ in range(count)]
        for reader in readers:
            await self.fanout.join(watch, reader)
        return readers


@pytest.fixture
async def inside(stack: Stack, tmp_path: Path) -> AsyncIterator[Inside]:
    settings = load_settings(
        data_dir=tmp_path,
        database_url=stack.environment["QM_DATABASE_URL"],
        redis_url=stack.environment["QM_REDIS_URL"],
        redis_namespace=stack.environment["QM_REDIS_NAMESPACE"],
        secret_key=stack.environment["QM_SECRET_KEY"],
    )
    redis = connect_redis(settings)
    database = await Counting.connect(stack.environment["QM_DATABASE_URL"], pool_size=4)
    async with api_services(settings) as services:
        fanout = Fanout(services.feed, database)
        counted = replace(services, database=database)
        yield Inside(counted, database, build_executor(settings, redis), fanout)
        fanout.stop()
    await database.close()
    await redis.aclose()


async def beat(device: TestDevice, voltage: str = "3.9") -> None:
    assert (await device.heartbeat(headers={"X-Battery-V": voltage})).status_code == 200


async def test_an_event_is_executed_once_for_all_who_ask_the_same(inside: Inside, org: Organisation) -> None:
    device = await inside.device(org)
    person = await Person.made(org.admin, "VIEWER", org.id)
    another = (await person.signed_in(org.viewer)).api
    taken = []
    for count in (1, 50):
        readers = await inside.readers(count, await inside.watch(org.viewer, ids=[device.id]))
        readers += await inside.readers(count, await inside.watch(another, ids=[device.id]))
        before = inside.database.sent
        await beat(device)
        for reader in readers:
            await reader.until(1)
        taken.append(inside.database.sent - before)
        payload = readers[0].payloads[0]
        assert orjson.loads(payload)["data"]["deviceUpdates"]["device"]["name"] == "Top shelf"
        assert all(reader.payloads[0] is payload for reader in readers), "they share the very bytes"
    assert taken == [2, 2], "one for the device, one for its client"


async def test_other_variables_permissions_and_organisations_are_other_groups(
    inside: Inside, org: Organisation, other_org: Organisation
) -> None:
    watches = [
        await inside.watch(org.viewer),
        await inside.watch(org.viewer, ids=[]),
        await inside.watch(org.operator),
        await inside.watch(org.admin),
        await inside.watch(other_org.viewer),
    ]
    assert len({watch.key for watch in watches}) == len(watches)


async def test_events_that_happen_meanwhile_are_executed_together(inside: Inside, org: Organisation) -> None:
    device = await inside.device(org)
    watch = await inside.watch(org.viewer, ids=[device.id])
    sizes, proceed = [], asyncio.Event()

    async def render(events: Sequence[EventRow]) -> list[bytes]:
        sizes.append(len(events))
        await proceed.wait()
        return await watch.render(events)

    (reader,) = await inside.readers(1, replace(watch, render=render))
    for n in range(10):
        await beat(device, f"3.{n}")
    await inside.handed_out(org.viewer, 1 + 10, device)
    proceed.set()
    await reader.until(10)
    assert len(sizes) == 2
    cursors = [orjson.loads(payload)["data"]["deviceUpdates"]["cursor"] for payload in reader.payloads]
    assert cursors == sorted(cursors, key=position_of)


async def test_a_filter_that_fails_ends_its_own_group_alone(inside: Inside, org: Organisation) -> None:
    device = await inside.device(org)
    watch = await inside.watch(org.viewer, ids=[device.id])

    def wanted(event: EventRow) -> bool:
        raise ZeroDivisionError

    failing = await inside.readers(2, replace(watch, key="failing", wanted=wanted))
    (healthy,) = await inside.readers(1, watch)
    await beat(device)
    for reader in failing:
        await reader.until_ended()
        assert reader.last["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
        assert reader.payloads == []
    await healthy.until(1)
    assert inside.fanout.subscribers == 1


async def test_what_cannot_be_executed_now_is_tried_again_in_order(inside: Inside, org: Organisation) -> None:
    device = await inside.device(org)
    watch = await inside.watch(org.viewer, ids=[device.id])
    failures = iter([Unavailable("The database cannot be reached.")] * 2)

    async def render(events: Sequence[EventRow]) -> list[bytes]:
        for failure in failures:
            raise failure
        return await watch.render(events)

    (reader,) = await inside.readers(1, replace(watch, render=render))
    for voltage in ("3.1", "3.2", "3.3"):
        await beat(device, voltage)
    await reader.until(3)
    told = [orjson.loads(payload)["data"]["deviceUpdates"]["event"]["data"] for payload in reader.payloads]
    assert told == [{"batteryV": 3.1}, {"batteryV": 3.2}, {"batteryV": 3.3}]
