"""The scene cache: what is made once and found again, until when, and who may throw it away."""

import asyncio
import os
import signal
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.conftest import StackOf
from tests.generation.conftest import Drawing
from tests.generation.operations import (
    CLEANUP,
    CLEAR,
    GENERATE,
    GENERATE_SCENE,
    SCENE,
    STATS,
    ended,
    scene,
    until,
)
from tests.generation.provider import Reply
from tests.generation.test_gemini import blocked, drawn
from tests.retention.operations import change
from tests.support.api import Api, Organisation
from tests.support.log import logged
from tests.support.sql import execute
from tests.support.stack import Stack


async def elapse(stack: Stack, scene_id: str) -> None:
    """Let a week pass for a scene."""
    assert uuid.UUID(scene_id)
    await execute(
        stack.environment["QM_DATABASE_URL"],
        f"UPDATE scenes SET expires_at = now() - interval '1 second' WHERE id = '{scene_id}'",
    )


async def made(api: Api, prompt: str, **given: str) -> tuple[str, dict[str, Any]]:
    """HIT or MISS, and the scene once its picture is there."""
    cache, found = await scene(api, prompt, **given)
    if found["generation"]:
        await ended(api, found["generation"]["id"])
    return cache, (await api.run(SCENE, id=found["id"]))["scene"]


async def test_what_was_made_once_is_found_again(org: Organisation) -> None:
    cache, first = await made(org.operator, "A dark  Forest")
    assert (cache, first["hits"], first["misses"], first["prompt"]) == ("MISS", 0, 1, "A dark  Forest")
    assert first["generation"]["kind"] == "SCENE"
    assert (first["image"]["status"], first["image"]["source"]) == ("READY", "GENERATED")
    for prompt in ("a dark forest", " A DARK\nFOREST ", "ａ dark forest"):
        cache, found = await scene(org.operator, prompt)
        assert (cache, found["id"], found["image"]["id"]) == ("HIT", first["id"], first["image"]["id"])
    assert (found["hits"], found["misses"]) == (3, 1)
    assert found["lastHitAt"] > found["createdAt"]
    cache, other = await scene(org.operator, "a dark forest", shape="PORTRAIT")
    assert (cache, other["id"] != first["id"]) == ("MISS", True)


def lifetime(found: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(found["expiresAt"]) - datetime.fromisoformat(found["createdAt"])


async def test_it_lasts_a_week_and_no_longer(stack: Stack, org: Organisation) -> None:
    _, first = await made(org.operator, "a cave")
    assert lifetime(first) == timedelta(days=7)
    await elapse(stack, first["id"])
    cache, again = await made(org.operator, "a cave")
    assert (cache, again["id"], again["misses"]) == ("MISS", first["id"], 2)
    assert again["image"]["id"] != first["image"]["id"]
    assert (await scene(org.operator, "a cave"))[0] == "HIT"


async def test_a_clients_policy_says_how_long_it_lasts(org: Organisation) -> None:
    async def days(prompt: str) -> timedelta:
        _, found = await made(org.operator, prompt)
        return datetime.fromisoformat(found["expiresAt"]) - datetime.fromisoformat(found["createdAt"])

    await change(org.operator, "SCENES", keepDays=3)
    assert timedelta(days=2.9) < await days("a well") < timedelta(days=3.1)
    await change(org.operator, "SCENES", enabled=False)
    assert await days("a tower") > timedelta(days=36_000)
    assert (await scene(org.operator, "a tower"))[0] == "HIT"


async def test_of_simultaneous_requests_one_generates(org: Organisation) -> None:
    answers = await asyncio.gather(*(scene(org.operator, "a market") for _ in range(5)))
    assert sorted(cache for cache, _ in answers) == ["HIT"] * 4 + ["MISS"]
    assert len({found["id"] for _, found in answers}) == 1
    assert len({found["generation"]["id"] for _, found in answers}) == 1
    stats = (await org.viewer.run(STATS))["sceneCacheStats"]
    assert (stats["scenes"], stats["hits"], stats["misses"], stats["hitRate"]) == (1, 4, 1, 0.8)


async def test_a_scene_whose_image_was_deleted_is_made_again(org: Organisation) -> None:
    _, first = await made(org.operator, "a bridge")
    await org.operator.run("mutation ($id: ID!) { deleteImage(id: $id) { id } }", id=first["image"]["id"])
    assert (await scene(org.operator, "a bridge"))[0] == "MISS"


async def test_five_new_ones_a_minute_and_as_many_hits_as_wanted(org: Organisation) -> None:
    for number in range(5):
        assert (await scene(org.operator, f"room {number}"))[0] == "MISS"
    refusal = (await org.operator.refused(GENERATE_SCENE, prompt="room 5"))["extensions"]
    assert refusal["code"] == "THROTTLED"
    assert 1 <= refusal["details"]["retryAfterSeconds"] <= 60
    for number in range(5):
        assert (await scene(org.operator, f"ROOM {number}"))[0] == "HIT"
    assert await org.operator.code(GENERATE_SCENE, prompt="room 6") == "THROTTLED"
    assert (await org.operator.run(GENERATE, prompt="no scene"))["generateImage"]["id"]  # counted apart


async def test_the_cache_is_of_one_client(org: Organisation, other_org: Organisation) -> None:
    _, first = await scene(org.operator, "a harbour")
    cache, other = await scene(other_org.operator, "a harbour")
    assert (cache, other["id"] != first["id"]) == ("MISS", True)
    assert (await other_org.operator.run(SCENE, id=first["id"]))["scene"] is None
    assert (await org.viewer.run("query ($id: ID!) { node(id: $id) { __typename } }", id=first["id"]))["node"] == {
        "__typename": "Scene"
    }
    assert await org.operator.code(GENERATE_SCENE, prompt="x", client=other_org.id) == "NOT_FOUND"
    assert (await scene(org.admin, "a harbour", client=org.id))[0] == "HIT"


async def test_what_is_not_allowed_is_refused(org: Organisation, other_org: Organisation) -> None:
    assert await org.operator.code(GENERATE_SCENE, prompt="\x07") == "BAD_USER_INPUT"
    assert await org.viewer.code(GENERATE_SCENE, prompt="x") == "FORBIDDEN"
    assert await org.viewer.code(CLEAR) == "FORBIDDEN"
    assert await org.viewer.code(CLEANUP) == "FORBIDDEN"
    assert await org.admin.code(CLEAR) == "BAD_USER_INPUT"  # not those of all clients, by a slip
    assert await org.operator.code(CLEAR, client=other_org.id) == "NOT_FOUND"


async def test_clearing_forgets_all_scenes_of_a_client_and_keeps_their_images(
    org: Organisation, other_org: Organisation
) -> None:
    _, first = await made(org.operator, "a mill")
    await scene(org.operator, "a barn")
    await scene(other_org.operator, "a mill")
    assert (await org.operator.run(CLEAR))["clearSceneCache"] == {"scenes": 2}
    assert (await org.operator.run(CLEAR))["clearSceneCache"] == {"scenes": 0}
    (event,) = await logged(org.viewer, types=["scene_cache.cleared"])
    assert event["data"] == {"scenes": 2}
    assert (await org.viewer.run(STATS))["sceneCacheStats"]["scenes"] == 0
    assert (await other_org.viewer.run(STATS))["sceneCacheStats"]["scenes"] == 1
    image = await org.viewer.run("query ($id: ID!) { image(id: $id) { status } }", id=first["image"]["id"])
    assert image["image"] == {"status": "READY"}
    assert (await scene(org.operator, "a mill"))[0] == "MISS"


async def test_cleanup_takes_what_is_over_and_says_so_before(
    stack: Stack, org: Organisation, other_org: Organisation
) -> None:
    over, theirs = [(await scene(one.operator, "an inn"))[1] for one in (org, other_org)]
    _, kept = await scene(org.operator, "a smithy")
    for one in (over, theirs):
        await elapse(stack, one["id"])
    stats = (await org.viewer.run(STATS))["sceneCacheStats"]
    assert (stats["scenes"], stats["expired"], stats["nextExpiryAt"]) == (2, 1, kept["expiresAt"])
    told = {"dryRun": True, "expired": 1, "removed": 0}
    assert (await org.operator.run(CLEANUP, dry=True))["cleanupSceneCache"] == told
    done = {"dryRun": False, "expired": 1, "removed": 1}
    assert (await org.operator.run(CLEANUP))["cleanupSceneCache"] == done
    assert (await org.viewer.run(SCENE, id=over["id"]))["scene"] is None
    assert (await org.viewer.run(SCENE, id=kept["id"]))["scene"]["id"] == kept["id"]
    assert (await other_org.viewer.run(SCENE, id=theirs["id"]))["scene"]["id"] == theirs["id"]
    (event,) = await logged(org.viewer, types=["scene_cache.swept"])
    assert event["data"] == {"scenes": 1}
    assert (await org.admin.run(CLEANUP, client=other_org.id))["cleanupSceneCache"]["removed"] == 1


async def test_stats_tell_what_the_cache_is_worth(org: Organisation) -> None:
    empty = (await org.viewer.run(STATS))["sceneCacheStats"]
    assert (empty["scenes"], empty["hitRate"], empty["oldestAt"], empty["imageBytes"]) == (0, None, None, 0)
    _, first = await made(org.operator, "a tower")
    stats = (await org.viewer.run(STATS, client=org.id))["sceneCacheStats"]
    assert (stats["ready"], stats["pending"], stats["expired"]) == (1, 0, 0)
    size = await org.viewer.run("query ($id: ID!) { image(id: $id) { sizeBytes } }", id=first["image"]["id"])
    assert stats["imageBytes"] == size["image"]["sizeBytes"] > 0
    assert stats["oldestAt"] == first["createdAt"]


async def test_a_scene_that_is_being_made_is_shared_and_one_that_failed_is_made_again(
    gemini: Drawing, gemini_org: Organisation
) -> None:
    prompt, org = f"a throne room {uuid.uuid4()}", gemini_org
    gemini.provider.script(prompt, Reply(503, b"{}"), blocked("SAFETY"), drawn())
    _, first = await scene(org.operator, prompt)
    await until(org.operator, first["generation"]["id"], "QUEUED")
    cache, found = await scene(org.operator, prompt)  # it waits for its second attempt
    assert (cache, found["generation"]["id"]) == ("HIT", first["generation"]["id"])
    assert (await ended(org.operator, first["generation"]["id"]))["failure"]["code"] == "REFUSED"
    cache, again = await made(org.operator, prompt)
    assert (cache, again["id"], again["image"]["status"]) == ("MISS", first["id"], "READY")
    assert (again["hits"], again["misses"]) == (1, 2)
    assert len(gemini.provider.asked(prompt)) == 3


@pytest.fixture(scope="module")
def brief(stack_of: StackOf) -> Iterator[Stack]:
    """One that keeps scenes for three days, and has some that are over when it starts again."""
    with stack_of(QM_SCENE_DAYS="3", QM_SCENES_PER_MINUTE="1") as stack:
        yield stack


async def test_settings_and_the_schedule(brief: Stack) -> None:
    async with brief.signed_in() as admin:
        org = await Organisation.made(admin)
        _, found = await scene(org.operator, "a door")
        assert lifetime(found) == timedelta(days=3)
        assert await org.operator.code(GENERATE_SCENE, prompt="a gate") == "THROTTLED"
        await elapse(brief, found["id"])
        os.kill(brief.child("relay"), signal.SIGKILL)  # what is done every hour is done first of all at the start
        (event,) = await logged(org.viewer, types=["scene_cache.swept"])
        assert (event["actorKind"], event["data"]) == ("SYSTEM", {"scenes": 1})
        assert (await org.viewer.run(SCENE, id=found["id"]))["scene"] is None
