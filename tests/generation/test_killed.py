"""Workers that are killed while a picture is made: it is made all the same, paid once where that can be, never
lost.
"""

import os
import signal
import threading
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest

from tests.generation.conftest import Drawing
from tests.generation.operations import ended, generate, now, until
from tests.generation.provider import Reply
from tests.generation.test_gemini import drawn, it_is_time
from tests.support.api import Organisation
from tests.support.log import eventually, logged
from tests.support.photos import photo


@pytest.fixture
def prompt() -> str:
    """One that no other test uses."""
    return f"a ruin {uuid.uuid4()}"


async def kill_worker(gemini: Drawing) -> None:
    """kill -9; returns when another one took its place."""
    pid = gemini.stack.child("worker")
    os.kill(pid, signal.SIGKILL)

    async def replaced() -> bool:
        return gemini.stack.child("worker") != pid

    await eventually(replaced, what="another worker")


async def asked(gemini: Drawing, prompt: str, times: int) -> None:
    """Wait until the provider was asked so often."""

    async def reached() -> bool:
        return len(gemini.provider.asked(prompt)) >= times

    await eventually(reached, what=f"{times} questions to the provider")


@asynccontextmanager
async def held(gemini: Drawing, generation_id: str) -> AsyncIterator[None]:
    """Nobody can write to the row of a generation meanwhile."""
    connection = await asyncpg.connect(gemini.stack.environment["QM_DATABASE_URL"])
    try:
        async with connection.transaction():
            await connection.execute("SELECT FROM image_generations WHERE id = $1 FOR UPDATE", generation_id)
            yield
    finally:
        await connection.close()


async def images_of(org: Organisation) -> int:
    return int((await org.viewer.run("{ images { totalCount } }"))["images"]["totalCount"])


async def test_one_that_died_while_it_waited_for_the_provider_is_found_again(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    answer = threading.Event()
    slow = drawn()
    gemini.provider.script(prompt, Reply(slow.status, slow.body, wait=answer), drawn())
    generation = await generate(gemini_org.operator, prompt)
    await asked(gemini, prompt, 1)
    assert (await now(gemini_org.viewer, generation["id"]))["status"] == "RUNNING"
    await kill_worker(gemini)
    answer.set()
    await it_is_time(gemini, generation["id"])
    made = await ended(gemini_org.viewer, generation["id"])
    assert (made["status"], made["attempts"]) == ("READY", 2)
    assert await images_of(gemini_org) == 1
    ready = await logged(gemini_org.viewer, types=["image_generation.ready"])
    assert len(ready) == 1


async def test_a_picture_that_was_stored_is_not_asked_for_again(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    """The worker dies between putting the picture away and writing down that it has."""
    answer, picture = threading.Event(), photo()
    reply = drawn(picture, "image/jpeg")
    gemini.provider.script(prompt, Reply(reply.status, reply.body, wait=answer))
    generation = await generate(gemini_org.operator, prompt)
    await asked(gemini, prompt, 1)
    async with held(gemini, generation["id"]):
        answer.set()

        async def stored() -> bool:
            return any(gemini.stack.data_dir.rglob(f"generated-{generation['id']}-1.jpg"))

        await eventually(stored, what="the picture in the store")
        await kill_worker(gemini)
    assert (await now(gemini_org.viewer, generation["id"]))["status"] == "RUNNING"
    await it_is_time(gemini, generation["id"])
    made = await ended(gemini_org.viewer, generation["id"])
    assert (made["status"], made["attempts"], made["costUsd"]) == ("READY", 2, 0.039)
    assert len(gemini.provider.asked(prompt)) == 1
    found = await gemini_org.viewer.http.get(made["image"]["original"])
    assert found.content == picture


async def test_one_that_kills_every_worker_is_given_up(
    gemini: Drawing, gemini_org: Organisation, prompt: str
) -> None:
    never = threading.Event()
    gemini.provider.script(prompt, Reply(wait=never, drop=True))
    generation = await generate(gemini_org.operator, prompt)
    for attempt in (1, 2, 3):
        await asked(gemini, prompt, attempt)
        await kill_worker(gemini)
        await it_is_time(gemini, generation["id"])
    made = await until(gemini_org.viewer, generation["id"], "FAILED")
    never.set()
    assert (made["failure"]["code"], len(gemini.provider.asked(prompt))) == ("GAVE_UP", 3)
