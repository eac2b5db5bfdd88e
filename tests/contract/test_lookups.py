"""Rows by id, which requests look for together: nobody is told of another's mistakes, nor waits for ever."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest
from sqlalchemy import func, select

from domain.devices.queries import devices_by_ids
from domain.kit.batches import Batches
from domain.kit.errors import Invalid, Unavailable
from domain.kit.lookups import Lookups
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database, Statement
from tests.support.api import Organisation
from tests.support.stack import Stack

_DEVICE = "query ($id: ID!) { device(id: $id) { id key } }"


async def test_what_is_no_id_or_not_there_concerns_who_asked_for_it_alone(org: Organisation) -> None:
    devices = [await org.device() for _ in range(5)]
    ids = [value for device in devices for value in (device.id, "no-id", str(uuid.uuid4()))]
    answers = await asyncio.gather(*(org.viewer.post(_DEVICE, id=one) for one in ids))
    told = [answer.json() for answer in answers]
    found = [body["data"]["device"] for body in told]
    assert found[::3] == [{"id": device.id, "key": device.key} for device in devices]
    codes = [[error["extensions"]["code"] for error in body.get("errors", [])] for body in told]
    assert codes == [[], ["BAD_USER_INPUT"], []] * 5
    assert found[1::3] == found[2::3] == [None] * 5


@pytest.mark.parametrize("selected", ["__typename", "name @include(if: $whole)", "kind: __typename id"])
@pytest.mark.parametrize("padding", [0, 4_000])
async def test_a_row_of_which_nothing_is_read_is_there_all_the_same(
    org: Organisation, selected: str, padding: int
) -> None:
    """Long documents are not kept, and their rows not written by the database."""
    device = await org.device()
    comment = "#" + " " * padding
    variable = ", $whole: Boolean!" if "$whole" in selected else ""
    document = f"query ($id: ID!{variable}) {{ device(id: $id) {{ {selected} }} }}\n{comment}"
    given: dict[str, Any] = {"id": device.id} | ({"whole": False} if variable else {})
    found = await org.viewer.run(document, **given)
    meant = {"__typename": "Device"} if selected == "__typename" else {"kind": "Device", "id": device.id}
    assert found == {"device": {} if variable else meant}


async def test_what_is_no_id_leaves_nothing_behind() -> None:
    async def find(*_: Any) -> dict[str, Any]:
        return {}

    lookups = Lookups(find, 1)
    statement = Statement(select(func.now()))
    for _ in range(2):
        with pytest.raises(Invalid):
            lookups.one(statement, None, "no-id")
        assert await lookups.one(statement, None, str(uuid.uuid4())) is None
        await asyncio.sleep(0)
        assert not lookups._gathering


async def test_who_left_is_not_looked_for() -> None:
    handled: list[list[int]] = []
    go_on = asyncio.Event()

    async def handle(items: list[int]) -> list[int]:
        handled.append(items)
        await go_on.wait()
        return items

    batches = Batches(handle, most=2)
    first = batches.begun(0)
    await asyncio.sleep(0)  # it is under way
    left = [batches.begun(number) for number in range(1, 6)]
    last = batches.begun(6)
    for one in left[:-1]:
        one.cancel()
    go_on.set()
    assert [await one for one in (first, left[-1], last)] == [0, 5, 6]
    assert handled == [[0], [5, 6]]


async def test_who_waits_is_told_when_the_work_is_stopped() -> None:
    async def handle(items: list[int]) -> list[int]:
        raise asyncio.CancelledError

    batches = Batches(handle, most=1)
    answers = await asyncio.gather(*map(batches.begun, range(3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [Unavailable] * 3


async def test_who_looks_for_a_row_of_a_locked_table_is_told_so_and_the_next_finds_it(
    stack: Stack, org: Organisation
) -> None:
    device = await org.device()
    url = stack.environment["QM_DATABASE_URL"]
    database = await Database.connect(url, pool_size=2, statement_timeout=0.2)
    locking = await asyncpg.connect(url)
    try:
        async with locking.transaction():
            await locking.execute("LOCK TABLE devices IN ACCESS EXCLUSIVE MODE")
            asked = [devices_by_ids(database, SYSTEM, [device.id]) for _ in range(3)]
            answers = await asyncio.gather(*asked, return_exceptions=True)
            assert [error.code for error in answers if isinstance(error, Unavailable)] == ["TIMEOUT"] * 3
        (found,) = await devices_by_ids(database, SYSTEM, [device.id])
        assert found is not None
        assert found.key == device.key
    finally:
        await locking.close()
        await database.close()


@asynccontextmanager
async def _silent_after(url: str, word: str) -> AsyncIterator[str]:
    """The URL of a proxy to this database, which passes nothing on any more once somebody says the word to it."""
    address = urlsplit(url)
    heard = asyncio.Event()

    async def pass_on(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(1 << 16):
            if word.encode() in data:
                heard.set()
            if not heard.is_set():
                target.write(data)
        target.close()

    async def proxied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, away = await asyncio.open_connection(address.hostname, address.port)
        await asyncio.gather(pass_on(reader, away), pass_on(there, writer))

    server = await asyncio.start_server(proxied, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield address._replace(netloc=f"{address.netloc.rpartition(':')[0]}:{port}").geturl()
    assert heard.is_set()


async def test_a_database_that_has_fallen_silent_is_given_up(stack: Stack, org: Organisation) -> None:
    """As when its machine is gone: nothing comes back, not even that a statement took too long."""
    device = await org.device()
    async with _silent_after(stack.environment["QM_DATABASE_URL"], device.id) as url:
        database = await Database.connect(url, pool_size=1, statement_timeout=0.2)
        with pytest.raises(Unavailable) as refusal:
            await devices_by_ids(database, SYSTEM, [device.id])
        await database.close()
    assert refusal.value.code == "TIMEOUT"
