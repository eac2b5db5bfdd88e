"""A store that is full, silent or slow while pictures are made: none is paid twice, none replaces another."""

import asyncio
import threading
import uuid
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import StackOf
from tests.generation.conftest import Drawing
from tests.generation.operations import ended, generate, now
from tests.generation.provider import KEY, FakeProvider, Reply
from tests.generation.store import FakeStore
from tests.generation.test_gemini import drawn, it_is_time
from tests.generation.test_killed import asked as until_asked
from tests.support.api import Organisation
from tests.support.log import eventually
from tests.support.photos import photo


@pytest.fixture(scope="module")
def kept() -> Iterator[FakeStore]:
    with FakeStore.started() as store:
        yield store


@pytest.fixture(scope="module")
def patient(stack_of: StackOf, kept: FakeStore) -> Iterator[Drawing]:
    """A server that waits for a picture until a test has done what it does meanwhile."""
    with FakeProvider.started() as provider:
        settings = {
            "QM_GENERATION_PROVIDER": "gemini",
            "QM_GENERATION_API_KEY": KEY,
            "QM_GENERATION_BASE_URL": provider.url,
            "QM_GENERATION_TIMEOUT": "30",
        }
        with stack_of(**settings, **kept.settings) as stack:
            yield Drawing(stack, provider)


@pytest.fixture
async def org(patient: Drawing) -> AsyncIterator[Organisation]:
    async with patient.stack.signed_in() as admin:
        yield await Organisation.made(admin)


@pytest.fixture
def prompt() -> str:
    """One that no other test uses."""
    return f"a cellar {uuid.uuid4()}"


async def lines(drawing: Drawing, generation_id: str, event: str, times: int = 1) -> None:
    """Wait until the server has logged this so often of a generation."""

    async def logged() -> bool:
        of_it = [line for line in drawing.stack.output().splitlines() if generation_id in line]
        return sum(event in line for line in of_it) >= times

    await eventually(logged, what=f"{times} lines {event!r}")


async def test_nothing_is_asked_while_nothing_can_be_kept(
    patient: Drawing, kept: FakeStore, org: Organisation, prompt: str
) -> None:
    patient.provider.script(prompt, drawn())
    kept.full.add(".check")
    try:
        asked = await generate(org.operator, prompt)
        await lines(patient, asked["id"], "while the store is away")
        waiting = await now(org.viewer, asked["id"])
    finally:
        kept.full.clear()
    assert (waiting["status"], waiting["attempts"], patient.provider.asked(prompt)) == ("QUEUED", 0, [])
    await it_is_time(patient, asked["id"])
    made = await ended(org.viewer, asked["id"])
    assert (made["status"], made["attempts"]) == ("READY", 1)


async def test_a_picture_that_cannot_be_kept_fails_within_the_lease_and_is_not_asked_for_again(
    patient: Drawing, kept: FakeStore, org: Organisation, prompt: str
) -> None:
    """The store was there before the provider was asked."""
    asked = []
    for number, refusing in enumerate((kept.full, kept.silent)):
        answer, reply = threading.Event(), drawn()
        patient.provider.script(f"{prompt} {number}", Reply(reply.status, reply.body, wait=answer))
        one = await generate(org.operator, f"{prompt} {number}")
        refusing.add(one["id"])
        answer.set()
        asked.append(one["id"])
    ends = await asyncio.gather(*(ended(org.viewer, one, within=45) for one in asked))
    kept.full.clear()
    kept.silent.clear()
    for number, made in enumerate(ends):
        assert (made["status"], made["failure"]["code"], made["attempts"]) == ("FAILED", "PROVIDER_ERROR", 1)
        assert made["failure"]["message"] == "The picture came, but could not be stored."
        assert len(patient.provider.asked(f"{prompt} {number}")) == 1
        assert made["generationMs"] < 10_000  # the provider's time, not the store's


async def test_an_attempt_that_is_late_does_not_replace_the_picture_of_another(
    patient: Drawing, kept: FakeStore, org: Organisation, prompt: str
) -> None:
    answer, late, recorded = threading.Event(), photo(), photo()
    reply = drawn(late, "image/jpeg")
    first = Reply(reply.status, reply.body, wait=answer)
    patient.provider.script(prompt, first, drawn(recorded, "image/jpeg"))
    asked = await generate(org.operator, prompt)
    await until_asked(patient, prompt, 1)
    await it_is_time(patient, asked["id"])
    made = await ended(org.viewer, asked["id"])
    assert (made["status"], made["attempts"]) == ("READY", 2)
    answer.set()
    await lines(patient, asked["id"], '"job done"', 2)
    assert late != recorded
    assert late in kept.objects.values()
    assert (await org.viewer.http.get(made["image"]["original"])).content == recorded
