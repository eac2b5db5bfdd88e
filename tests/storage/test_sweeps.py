"""Sweeps of the blob store: what they find, what they take, what holds them, and what survives whatever they do."""

import asyncio
import hashlib
import os
import time
from collections.abc import AsyncIterator, Iterator

import pytest

from tests.conftest import StackOf
from tests.storage.operations import CLEANUP, ended, kinds, put, sweep_without_grace, swept
from tests.support.api import Api, Organisation
from tests.support.images import link_to, settled, variant_of
from tests.support.log import eventually, logged
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack
from tests.support.stores import folder_of, keys_in, keys_of, lose
from tests.support.swift import S3Server

_OLD = 2 * 3600.0


@pytest.fixture(scope="module")
def stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_STORAGE_GRACE_HOURS="1") as stack:
        yield stack


@pytest.fixture(autouse=True)
async def only_what_rows_name(stack: Stack) -> AsyncIterator[None]:
    """What a test put beside the images' blobs, whose keys have folders by date, would count in the next."""
    yield
    await lose(stack, {key for key in await keys_in(stack) if key.count("/") == 1})


async def _image(org: Organisation) -> str:
    answer = await (await org.device()).upload(photo())
    image_id = str(answer.json()["imageId"])
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    return image_id


async def test_a_dry_run_tells_what_nobody_names_and_takes_nothing(
    stack: Stack, admin: Api, org: Organisation
) -> None:
    await _image(org)
    await put(stack, "display/a.webp", "display/b.webp", age=_OLD)
    await put(stack, "display/young.webp", "display/younger.webp", "display/youngest.webp")
    sweep = await swept(admin)
    assert (sweep["status"], sweep["dryRun"], sweep["removed"], sweep["missing"]) == ("DONE", True, 0, 0)
    assert sweep["code"] == "SHARE_EXCEEDED"  # it says what would hold it
    display = kinds(sweep)["display"]
    assert (display["orphans"], display["orphanBytes"], display["young"]) == (2, 16, 3)
    assert display["blobs"] == 6
    assert {"display/a.webp", "display/b.webp", "display/young.webp"} <= await keys_in(stack)


async def test_what_nobody_names_is_taken_away_and_told(stack: Stack, admin: Api, org: Organisation) -> None:
    image_id = await _image(org)
    before = await keys_in(stack)
    await put(stack, "display/a.webp", "originals/b.jpg", age=_OLD)
    await put(stack, "display/young.webp")
    sweep = await swept(admin, dryRun=False, maxShare=1.0)
    assert (sweep["status"], sweep["removed"], sweep["removedBytes"]) == ("DONE", 2, 16)
    assert (sweep["code"], sweep["message"]) == (None, None)
    assert await keys_in(stack) == before | {"display/young.webp"}
    for variant in ("ORIGINAL", "DISPLAY", "THUMBNAIL"):
        assert await variant_of(org.viewer, image_id, variant)
    (event,) = [
        event
        for event in await logged(admin, 1, types=["storage.sweep_done"])
        if event["data"]["sweepId"] == sweep["id"]
    ]
    assert event["clientId"] is None
    facts = {name: event["data"][name] for name in ("dryRun", "removed", "removedBytes", "orphans", "missing")}
    assert facts == {"dryRun": False, "removed": 2, "removedBytes": 16, "orphans": 2, "missing": 0}
    asked = await logged(admin, 1, types=["storage.sweep_requested"])
    assert sweep["id"] in {event["data"]["sweepId"] for event in asked}


async def test_kinds_that_no_row_could_name_are_left_alone(stack: Stack, admin: Api, org: Organisation) -> None:
    await _image(org)
    await put(stack, "somebodys/else.bin", age=_OLD)
    sweep = await swept(admin, dryRun=False, maxShare=1.0)
    found = kinds(sweep)["somebodys"]
    assert (found["known"], found["blobs"], found["orphans"], sweep["removed"]) == (False, 1, 0, 0)
    assert "somebodys/else.bin" in await keys_in(stack)


async def test_nothing_is_touched_when_more_than_a_share_would_go(
    stack: Stack, admin: Api, org: Organisation
) -> None:
    await _image(org)
    keys = [f"display/{number}.webp" for number in range(20)]
    await put(stack, *keys, age=_OLD)
    sweep = await swept(admin, dryRun=False)
    assert (sweep["status"], sweep["code"], sweep["removed"]) == ("REFUSED", "SHARE_EXCEEDED", 0)
    assert "20 of" in sweep["message"]
    assert set(keys) <= await keys_in(stack)
    assert (await logged(admin, 1, types=["storage.sweep_refused"]))[-1]["data"]["code"] == "SHARE_EXCEEDED"
    assert (await swept(admin, dryRun=False, maxShare=0.99))["removed"] == 20


@pytest.mark.parametrize("share", [0, -1, 1.5])
async def test_a_share_that_is_none_is_refused(admin: Api, share: float) -> None:
    extensions = (await admin.refused(CLEANUP, maxShare=share))["extensions"]
    assert (extensions["code"], extensions["details"]["argument"]) == ("BAD_USER_INPUT", "maxShare")


async def test_an_upload_that_was_cut_off_long_ago_is_cleared(stack: Stack, admin: Api, org: Organisation) -> None:
    await _image(org)
    incoming = folder_of(stack) / "incoming"
    for name, age in (("old", _OLD), ("new", 0.0)):
        (incoming / name).write_bytes(b"x")
        os.utime(incoming / name, (time.time() - age, time.time() - age))
    assert (await swept(admin))["unfinished"] == 0
    assert (await swept(admin, dryRun=False))["unfinished"] == 1
    assert [path.name for path in incoming.iterdir()] == ["new"]
    (incoming / "new").unlink()


async def test_what_is_missing_is_counted(stack: Stack, admin: Api, org: Organisation) -> None:
    await _image(org)
    kept = photo()
    answer = await (await org.device()).upload(kept)
    await settled(org.viewer, answer.json()["imageId"])
    (key,) = [key for key in await keys_in(stack, "thumbnails/") if key in await _keys_of(stack, kept)]
    await lose(stack, [key])
    sweep = await swept(admin)
    assert (sweep["status"], sweep["missing"]) == ("DONE", 1)
    await put(stack, key)


async def _keys_of(stack: Stack, image: bytes) -> set[str]:
    digest = hashlib.sha256(image).hexdigest()[:32]
    return {key for key in await keys_in(stack) if digest in key}


async def test_only_one_is_under_way_at_a_time(stack: Stack, admin: Api) -> None:
    answers = [answer.json() for answer in await asyncio.gather(*(admin.post(CLEANUP) for _ in range(5)))]
    begun = [answer["data"]["cleanupOrphanedBlobs"]["id"] for answer in answers if answer.get("data")]
    codes = {answer["errors"][0]["extensions"]["code"] for answer in answers if not answer.get("data")}
    assert begun
    assert codes <= {"ALREADY_RUNNING"}
    for sweep_id in begun:
        assert (await ended(admin, sweep_id))["status"] == "DONE"


async def test_one_whose_worker_died_is_done_by_another(stack: Stack, admin: Api, org: Organisation) -> None:
    await _image(org)
    sweep = await swept(admin)
    await execute(
        stack.environment["QM_DATABASE_URL"],
        "UPDATE storage_sweeps SET status = 'RUNNING', finished_at = NULL, lease_until = now() - interval '1 s' "
        f"WHERE id = '{sweep['id']}'",
    )
    again = await ended(admin, sweep["id"])
    assert again["status"] == "DONE"
    await execute(
        stack.environment["QM_DATABASE_URL"],
        "UPDATE storage_sweeps SET status = 'RUNNING', attempts = 3, lease_until = now() - interval '1 s' "
        f"WHERE id = '{sweep['id']}'",
    )
    given_up = await ended(admin, sweep["id"])
    assert (given_up["status"], given_up["code"]) == ("FAILED", "GAVE_UP")


async def test_those_of_a_client_may_neither_sweep_nor_look(org: Organisation) -> None:
    for api in (org.viewer, org.operator):
        assert await api.code(CLEANUP) == "FORBIDDEN"
        assert await api.code("{ storageSweeps { nodes { id } } }") == "FORBIDDEN"


async def test_sweeps_are_listed_the_newest_first(admin: Api) -> None:
    made = [(await swept(admin))["id"] for _ in range(2)]
    page = (await admin.run("{ storageSweeps(first: 2) { nodes { id } totalCount pageInfo { endCursor } } }"))[
        "storageSweeps"
    ]
    assert [node["id"] for node in page["nodes"]] == made[::-1]
    assert page["totalCount"] >= 2
    after = page["pageInfo"]["endCursor"]
    rest = await admin.run("query ($after: String) { storageSweeps(after: $after) { nodes { id } } }", after=after)
    assert not set(made) & {node["id"] for node in rest["storageSweeps"]["nodes"]}


# Other installations.


@pytest.fixture
def other_stack(stack_of: StackOf) -> Iterator[Stack]:
    """One with nothing in it."""
    with stack_of(QM_STORAGE_GRACE_HOURS="1") as stack:
        yield stack


@pytest.fixture
def bucket_stack(s3: S3Server, stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_STORAGE_URL=s3.url("swept-bucket/photos"), **keys_of(s3)) as stack:
        yield stack


async def test_a_store_of_another_database_is_left_alone(other_stack: Stack) -> None:
    await put(other_stack, "display/a.webp", age=_OLD)
    async with other_stack.signed_in() as admin:
        sweep = await swept(admin, dryRun=False, maxShare=1.0)
        assert (sweep["status"], sweep["code"]) == ("REFUSED", "DATABASE_LOOKS_EMPTY")
        assert "display/a.webp" in await keys_in(other_stack)
        await _image(await Organisation.made(admin))
        await lose(other_stack, await keys_in(other_stack) - {"display/a.webp"})
        sweep = await swept(admin, dryRun=False, maxShare=1.0)
        assert (sweep["status"], sweep["code"]) == ("REFUSED", "STORE_LOOKS_FOREIGN")
        assert await keys_in(other_stack) == {"display/a.webp"}


async def test_the_schedule_sweeps_once_a_day(other_stack: Stack) -> None:
    async with other_stack.signed_in() as admin:
        await _image(await Organisation.made(admin))
        await put(other_stack, "display/a.webp", age=_OLD)
        listed = "{ storageSweeps { nodes { id status actorKind dryRun } } }"
        assert (await admin.run(listed))["storageSweeps"]["nodes"] == []  # nothing here is a day old
        await execute(
            other_stack.environment["QM_DATABASE_URL"], "UPDATE clients SET created_at = now() - interval '2 days'"
        )
        other_stack.stop()
        other_stack.restart()

        async def done() -> list[dict[str, object]]:
            nodes: list[dict[str, object]] = (await admin.run(listed))["storageSweeps"]["nodes"]
            return nodes if nodes and nodes[0]["status"] not in ("QUEUED", "RUNNING") else []

        (sweep,) = await eventually(done, within=40, what="a sweep by the schedule")
        assert (sweep["actorKind"], sweep["dryRun"]) == ("SYSTEM", False)
        assert sweep["status"] == "REFUSED"  # one of four or five is more than a tenth


async def test_a_bucket_is_swept_as_well(bucket_stack: Stack) -> None:
    async with bucket_stack.signed_in() as admin:
        org = await Organisation.made(admin)
        image_id = await _image(org)
        named = await keys_in(bucket_stack)
        await put(bucket_stack, *(f"display/{number}.webp" for number in range(60)))  # more than a page of a list
        young = await swept(admin, dryRun=False, maxShare=1.0)
        assert (young["removed"], kinds(young)["display"]["young"]) == (0, 60)
        sweep = await ended(admin, await sweep_without_grace(bucket_stack))
        assert (sweep["status"], sweep["removed"], sweep["removedBytes"]) == ("DONE", 60, 480)
        assert await keys_in(bucket_stack) == named
        assert (await admin.http.get(await link_to(org.viewer, image_id, "DISPLAY"))).status_code == 200
