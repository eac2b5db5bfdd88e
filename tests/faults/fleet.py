"""Devices that keep uploading while things break, and the account of what became of every acknowledged photo."""

import asyncio
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import asyncpg
import httpx
import psutil

from tests.support.api import Api, Organisation, TestDevice
from tests.support.log import eventually, whole_log
from tests.support.photos import photo
from tests.support.stack import Stack

DEVICES = 6
UNLIMITED = {"QM_DEVICE_REPORTS_PER_MINUTE": "1000000"}
ENDS = ("image.ready", "image.rejected")


def services(stack: Stack) -> dict[str, Any]:
    """Where the embedded services of a stack listen (`database_url`, `redis_url`), and their `pids`."""
    run: dict[str, Any] = json.loads((stack.data_dir / "run.json").read_text())
    return run


async def sql(stack: Stack, statement: str, *arguments: Any) -> list[Any]:
    """The rows of a statement that an operator runs on the embedded database."""
    connection = await asyncpg.connect(services(stack)["database_url"])
    try:
        return list(await connection.fetch(statement, *arguments))
    finally:
        await connection.close()


async def elapse_leases(stack: Stack) -> None:
    """Let a minute pass for all images that somebody is thought to work on."""
    await sql(stack, "UPDATE images SET lease_until = now() WHERE status IN ('RECEIVED', 'PROCESSING')")


@asynccontextmanager
async def signed_in(stack: Stack) -> AsyncIterator[Organisation]:
    """An organisation on this stack."""
    async with httpx.AsyncClient(base_url=stack.url, timeout=30) as http:
        yield await Organisation.made(await stack.admin(Api(http)))


class Fleet:
    """`acknowledged` are the ids of images that were answered with 201, `answers` counts all statuses."""

    def __init__(self, org: Organisation, devices: list[TestDevice]) -> None:
        self.org = org
        self.devices = devices
        self.acknowledged: list[str] = []
        self.answers: Counter[str] = Counter()

    @classmethod
    @asynccontextmanager
    async def uploading(cls, org: Organisation) -> AsyncIterator["Fleet"]:
        """Devices that upload until the end of the block, whatever they are answered."""
        fleet = cls(org, [await org.device() for _ in range(DEVICES)])
        running = [asyncio.create_task(fleet._upload(device)) for device in fleet.devices]
        try:
            yield fleet
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    async def _upload(self, device: TestDevice) -> None:
        while True:
            picture = photo()
            try:
                answer = await device.upload(picture)
            except httpx.TransportError:
                self.answers["cut off"] += 1
                await asyncio.sleep(0.05)  # as a device would, though not as long
                continue
            self.answers[str(answer.status_code)] += 1
            if answer.status_code == 201:
                self.acknowledged.append(answer.json()["imageId"])
            else:
                assert answer.headers["retry-after"], answer.text

    async def accepted(self, more: int) -> None:
        """Wait until so many more were acknowledged."""
        enough = len(self.acknowledged) + more

        async def reached() -> bool:
            return len(self.acknowledged) >= enough

        await eventually(reached, within=60, what=f"{more} uploads ({dict(self.answers)})")

    async def account(self, stack: Stack) -> None:
        """Every acknowledged photo ends READY, once; so does every other one that was stored."""
        for last in (False, False, True):
            try:
                await eventually(self._none_waits, within=60 if last else 5, what="the end of all processing")
                break
            except AssertionError:
                if last:
                    raise
                await elapse_leases(stack)  # what a killed worker held would wait a minute
        events = await whole_log(self.org.viewer, types=[*ENDS, "image.received"])
        ended = Counter(event["subjectId"] for event in events if event["type"] in ENDS)
        received = Counter(event["subjectId"] for event in events if event["type"] == "image.received")
        assert len(set(self.acknowledged)) == len(self.acknowledged)
        assert set(self.acknowledged) <= set(received), "an acknowledged photo was lost"
        assert ended == received, "each ends exactly once"
        assert set(ended.values()) == {1}
        assert {event["type"] for event in events if event["type"] in ENDS} == {"image.ready"}

    async def _none_waits(self) -> bool:
        query = "query ($of: ImageFilter) { images(filter: $of, first: 1) { totalCount } }"
        unfinished = {"statuses": ["RECEIVED", "PROCESSING"]}
        waiting = (await self.org.viewer.run(query, of=unfinished))["images"]["totalCount"]
        if waiting:
            return False
        images = (await self.org.viewer.run(query))["images"]["totalCount"]
        counted = "query ($of: EventFilter) { events(filter: $of, first: 1) { totalCount } }"
        ended = (await self.org.viewer.run(counted, of={"types": list(ENDS)}))["events"]["totalCount"]
        return int(images) == int(ended)


async def kill_child(stack: Stack, name: str) -> None:
    """kill -9 of a child; returns when another one took its place."""
    pid = stack.child(name)
    os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        return stack.child(name) != pid

    await eventually(replaced, what=f"another {name}")


async def kill_service(stack: Stack, name: str) -> None:
    """kill -9 of an embedded service (`postgres`, `redis`); returns when it was started again."""
    pid = services(stack)["pids"][name]
    os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        return bool(services(stack)["pids"][name] != pid)

    await eventually(replaced, what=f"another {name}")


def family(stack: Stack) -> list[psutil.Process]:
    """The supervisor and every process below it."""
    top = psutil.Process(stack.process.pid)
    return [top, *top.children(recursive=True)]


def still_run(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended. What waits for a parent to take note of its end has ended."""
    found = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE and process.is_running():
                found.append(process)
    return found
