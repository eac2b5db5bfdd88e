"""Jobs that are lost, doubled, or kill their worker; and a store that is gone while the worker needs it."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest
import redis

from domain.images.jobs import MAX_ATTEMPTS
from tests.faults.fleet import elapse_leases, services, signed_in, sql
from tests.support.api import Organisation
from tests.support.images import settled
from tests.support.log import eventually, logged, whole_log
from tests.support.photos import photo
from tests.support.stack import Stack

ENDS = ["image.ready", "image.rejected"]
WAITING_JOBS = "SELECT count(*) FROM outbox WHERE kind = 'job'"


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with Stack.started(tmp_path_factory.mktemp("jobs")) as stack:
        yield stack


@pytest.fixture
async def org(stack: Stack) -> AsyncIterator[Organisation]:
    async with signed_in(stack) as org:
        yield org


@contextmanager
def worker_paused(stack: Stack) -> Iterator[None]:
    """The worker does nothing until the end of the block."""
    worker = stack.child("worker")
    os.kill(worker, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(worker, signal.SIGCONT)


async def uploaded(stack: Stack, org: Organisation) -> str:
    """The id of a new image whose job has left the outbox."""
    answer = await (await org.device()).upload(photo())
    assert answer.status_code == 201

    async def sent() -> bool:
        return bool((await sql(stack, WAITING_JOBS))[0][0] == 0)

    await eventually(sent, what="the job's leaving the outbox")
    return str(answer.json()["imageId"])


async def ended(org: Organisation, image_id: str) -> list[str]:
    """The events that end an image, once there is one."""
    return [event["type"] for event in await logged(org.viewer, types=ENDS, subjectIds=[image_id])]


async def test_a_job_that_redis_lost_is_sent_again_when_its_lease_is_over(stack: Stack, org: Organisation) -> None:
    with worker_paused(stack):
        image_id = await uploaded(stack, org)
        redis.Redis.from_url(services(stack)["redis_url"]).flushall()
    assert (await sql(stack, "SELECT status FROM images WHERE id::text = $1", image_id))[0][0] == "RECEIVED"
    await elapse_leases(stack)
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    assert await ended(org, image_id) == ["image.ready"]


async def test_a_job_that_comes_many_times_is_done_once(stack: Stack, org: Organisation) -> None:
    again = (
        "INSERT INTO outbox (kind, name, payload) SELECT 'job', 'process_image', "
        "jsonb_build_object('image_id', $1::text) FROM generate_series(1, 20)"
    )
    with worker_paused(stack):
        image_id = await uploaded(stack, org)
        await sql(stack, again, image_id)
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    await sql(stack, again, image_id)  # and once it is finished
    other = await uploaded(stack, org)
    assert (await settled(org.viewer, other))["status"] == "READY"
    assert await ended(org, image_id) == ["image.ready"]
    assert (await sql(stack, "SELECT attempts FROM images WHERE id::text = $1", image_id))[0][0] == 1


async def test_an_image_that_always_kills_its_worker_is_given_up_with_a_reason(
    stack: Stack, org: Organisation
) -> None:
    with worker_paused(stack):
        image_id = await uploaded(stack, org)
        # As if so many workers had claimed it and died.
        await sql(stack, "UPDATE images SET attempts = $2 WHERE id::text = $1", image_id, MAX_ATTEMPTS)
    image = await settled(org.viewer, image_id)
    assert image["status"] == "REJECTED"
    assert image["rejection"]["code"] == "GAVE_UP"
    assert str(MAX_ATTEMPTS) in image["rejection"]["message"]
    events = await logged(org.viewer, types=ENDS, subjectIds=[image_id])
    assert [(event["type"], event["data"]["code"]) for event in events] == [("image.rejected", "GAVE_UP")]


async def test_a_worker_that_dies_with_an_image_leaves_it_to_the_next(stack: Stack, org: Organisation) -> None:
    """Claimed, with a lease, by a worker that is no more: nobody touches it before the lease is over."""
    with worker_paused(stack):
        image_id = await uploaded(stack, org)
        claim = "UPDATE images SET status = 'PROCESSING', attempts = 1, lease_until = now() + interval '1 minute'"
        await sql(stack, f"{claim} WHERE id::text = $1", image_id)
    other = await uploaded(stack, org)
    assert (await settled(org.viewer, other))["status"] == "READY"
    assert await whole_log(org.viewer, types=ENDS, subjectIds=[image_id]) == []
    await elapse_leases(stack)
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    assert (await sql(stack, "SELECT attempts FROM images WHERE id::text = $1", image_id))[0][0] == 2


async def test_a_store_that_was_away_while_the_worker_needed_it_costs_an_attempt_and_no_image(
    stack: Stack, org: Organisation
) -> None:
    storage, aside = stack.data_dir / "storage", stack.data_dir / "aside"
    with worker_paused(stack):
        image_id = await uploaded(stack, org)
        storage.rename(aside)
        storage.write_text("not a folder")
    try:

        async def tried() -> bool:
            attempts = await sql(stack, "SELECT attempts FROM images WHERE id::text = $1", image_id)
            return bool(attempts[0][0] == 1 and "job failed" in stack.output())

        await eventually(tried, what="an attempt")
    finally:
        storage.unlink()
        aside.rename(storage)
    assert await whole_log(org.viewer, types=ENDS, subjectIds=[image_id]) == []
    await elapse_leases(stack)
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    assert await ended(org, image_id) == ["image.ready"]
