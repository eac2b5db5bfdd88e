"""kill -9 of everything that can be killed, while devices upload: what was acknowledged is processed, once."""

import asyncio
import functools
import signal
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest
import redis

from tests.faults.fleet import UNLIMITED, Fleet, family, kill_child, kill_service, services, signed_in, still_run
from tests.support.api import Organisation
from tests.support.stack import Stack, wait_until


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The embedded default, all of it under one supervisor."""
    with Stack.started(tmp_path_factory.mktemp("kill"), **UNLIMITED) as stack:
        yield stack


@pytest.fixture
async def org(stack: Stack) -> AsyncIterator[Organisation]:
    async with signed_in(stack) as org:
        yield org


@pytest.mark.parametrize("child", ["worker", "relay", "api"])
async def test_a_killed_child_is_replaced_and_nothing_is_lost(child: str, stack: Stack, org: Organisation) -> None:
    async with Fleet.uploading(org) as fleet:
        for _ in range(2):
            await fleet.accepted(20)
            await kill_child(stack, child)
        await fleet.accepted(20)
    await fleet.account(stack)
    possible = {"cut off", "201"} if child == "api" else {"201"}
    assert set(fleet.answers) <= possible, "killing what works later is not noticed by devices"


async def test_redis_may_be_emptied(stack: Stack, org: Organisation) -> None:
    async with Fleet.uploading(org) as fleet:
        for _ in range(3):
            await fleet.accepted(15)
            redis.Redis.from_url(services(stack)["redis_url"]).flushall()
    await fleet.account(stack)
    assert set(fleet.answers) == {"201"}


async def test_redis_may_be_killed(stack: Stack, org: Organisation) -> None:
    url = services(stack)["redis_url"]
    async with Fleet.uploading(org) as fleet:
        for _ in range(2):
            await fleet.accepted(15)
            await kill_service(stack, "redis")
        await fleet.accepted(15)
    await fleet.account(stack)
    assert services(stack)["redis_url"] == url
    assert set(fleet.answers) == {"201"}, "uploads do not need Redis"


async def test_postgresql_may_be_killed(stack: Stack, org: Organisation) -> None:
    url = services(stack)["database_url"]
    async with Fleet.uploading(org) as fleet:
        await fleet.accepted(15)
        await kill_service(stack, "postgres")
        await fleet.accepted(15)
    await fleet.account(stack)
    assert services(stack)["database_url"] == url
    assert set(fleet.answers) <= {"201", "503"}
    assert fleet.answers["503"], "there was a time without it"
    stack.wait_until_healthy()


async def test_the_supervisor_may_be_killed_and_started_again(stack: Stack, org: Organisation) -> None:
    async with Fleet.uploading(org) as fleet:
        await fleet.accepted(30)
        before = family(stack)
        began = time.monotonic()
        stack.kill()
        await asyncio.to_thread(stack.restart)
        await asyncio.to_thread(stack.wait_until_healthy)
        assert time.monotonic() - began < 20
        gone = functools.partial(wait_until, within=40, what="the end of the old family")
        await asyncio.to_thread(gone, lambda: not still_run(before))
        await fleet.accepted(10)
    await fleet.account(stack)


async def test_ctrl_c_stops_everything_in_time_and_leaves_nothing(stack: Stack, org: Organisation) -> None:
    async with Fleet.uploading(org) as fleet:
        await fleet.accepted(20)
        before = family(stack)
        assert {"postgres", "redis-server"} <= {process.name() for process in before}
        began = time.monotonic()
        stack.process.send_signal(signal.SIGINT)
        assert await asyncio.to_thread(stack.process.wait, 20) == 0
        assert time.monotonic() - began < 10
        assert still_run(before) == []
        with pytest.raises(FileNotFoundError):
            services(stack)
        await asyncio.to_thread(stack.restart)
        await fleet.accepted(5)
    await fleet.account(stack)


def test_nothing_of_a_stopped_server_holds_its_port(stack: Stack) -> None:
    """Twice in a row, at once: the second start finds neither a port nor a lock that is taken."""
    for _ in range(2):
        assert stack.stop() == 0
        began = time.monotonic()
        stack.restart()
        assert time.monotonic() - began < 20
    assert psutil.pid_exists(stack.child("api"))
