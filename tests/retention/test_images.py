"""Images whose time is over go, rows and files; what is young, cited or not looked at yet stays; brakes hold."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.storage.backups import BACKUP_LOCK
from tests.conftest import StackOf
from tests.retention.operations import (
    CLEANUP,
    RUN,
    RUN_JOB,
    RUNS,
    age_images,
    change,
    cleaned,
    ended,
    value,
)
from tests.support.api import Organisation
from tests.support.images import image_of, originals, settled
from tests.support.log import eventually, logged
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack

_COUNT = "SELECT count(*) FROM images WHERE client_id = $1"
# Copies of an image under new ids, which name the same files.
_COPY = """INSERT INTO images (id, client_id, source, status, content_type, size_bytes, sha256, original_key,
  clean_key, display_key, thumbnail_key, received_at, captured_at)
SELECT gen_random_uuid(), client_id, source, status, content_type, size_bytes, sha256, original_key, clean_key,
  display_key, thumbnail_key, now() - interval '{days} days', captured_at
FROM images, generate_series(1, {count}) WHERE id = '{image}'"""


async def _photo(org: Organisation, **save: Any) -> tuple[str, bytes]:
    """An image that is READY, and its bytes."""
    image = photo(**save)
    image_id = (await (await org.device()).upload(image)).json()["imageId"]
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    return image_id, image


def _files(stack: Stack, image: bytes) -> list[Path]:
    return originals(stack.data_dir, image)


async def test_a_dry_run_says_what_would_go_and_takes_nothing(
    org: Organisation, stack: Stack, database_url: str
) -> None:
    old, old_bytes = await _photo(org)
    await _photo(org)
    await age_images(database_url, org.id, 31, old)
    run = (await org.operator.run(CLEANUP, dry=True))["cleanupImages"]
    assert {name: run[name] for name in ("state", "dryRun", "found", "due", "dueBytes", "cited", "removed")} == {
        "state": "DONE",
        "dryRun": True,
        "found": 2,
        "due": 1,
        "dueBytes": len(old_bytes),
        "cited": 0,
        "removed": 0,
    }
    assert run["more"] == {"images": 1, "deletedImages": 0}
    assert run["stopCode"] is None
    assert (await image_of(org.viewer, old))["id"] == old
    assert len(_files(stack, old_bytes)) >= 3
    (event,) = await logged(org.viewer, types=["cleanup.done"])
    assert (event["data"]["dryRun"], event["data"]["due"]) == (True, 1)


async def test_old_images_go_with_their_files_and_the_rest_stays(
    org: Organisation, other_org: Organisation, stack: Stack, database_url: str
) -> None:
    exif = b"Exif\0\0II*\0\x08\0\0\0\0\0\0\0\0\0"
    old, old_bytes = await _photo(org, exif=exif)
    young, young_bytes = await _photo(org)
    featured, featured_bytes = await _photo(org)
    theirs, their_bytes = await _photo(other_org)
    await age_images(database_url, org.id, 31, old, featured)
    await age_images(database_url, other_org.id, 31)
    await execute(database_url, f"UPDATE images SET featured = true WHERE id = '{featured}'")
    assert len(_files(stack, old_bytes)) == 4  # the original, without its metadata, display, thumbnail
    run = await cleaned(org.operator)
    assert (run["state"], run["found"], run["due"], run["cited"]) == ("DONE", 3, 1, 1)
    assert (run["removed"], run["removedBytes"], run["removedBlobs"]) == (1, len(old_bytes), 4)
    assert run["actorKind"] == "USER"
    assert _files(stack, old_bytes) == []
    assert await image_of(org.viewer, old) is None
    for image_id, image, caller in (
        (young, young_bytes, org.viewer),
        (featured, featured_bytes, org.viewer),
        (theirs, their_bytes, other_org.viewer),
    ):
        assert (await image_of(caller, image_id))["id"] == image_id
        assert len(_files(stack, image)) >= 3
    (event,) = await logged(org.viewer, types=["cleanup.done"])
    assert (event["subjectId"], event["data"]["removed"], event["data"]["cited"]) == (org.id, 1, 1)
    assert [one["type"] for one in await logged(org.viewer, types=["cleanup.requested"])] == ["cleanup.requested"]


async def test_deleted_images_have_a_time_of_their_own(org: Organisation, stack: Stack, database_url: str) -> None:
    (gone, gone_bytes), (kept, _) = await _photo(org), await _photo(org)
    await age_images(database_url, org.id, 29)
    for image_id, days in ((gone, 8), (kept, 6)):
        await execute(
            database_url, f"UPDATE images SET deleted_at = now() - interval '{days} days' WHERE id = '{image_id}'"
        )
    run = await cleaned(org.operator)
    assert (run["removed"], run["state"]) == (1, "DONE")
    assert _files(stack, gone_bytes) == []
    assert await value(database_url, _COUNT, org.id) == 1
    # The time of those that arrived is not that of those that were deleted.
    await age_images(database_url, org.id, 300)
    assert (await cleaned(org.operator))["removed"] == 0
    await change(org.operator, "DELETED_IMAGES", keepDays=5)
    assert (await cleaned(org.operator))["removed"] == 1


async def test_images_that_a_worker_has_not_finished_with_stay(org: Organisation, database_url: str) -> None:
    image_id, _ = await _photo(org)
    await age_images(database_url, org.id, 400)
    later = "lease_until = now() + interval '1 hour'"
    await execute(database_url, f"UPDATE images SET status = 'PROCESSING', {later} WHERE id = '{image_id}'")
    run = await cleaned(org.operator)
    assert (run["found"], run["due"], run["removed"]) == (1, 0, 0)
    assert await value(database_url, _COUNT, org.id) == 1


async def test_files_that_another_image_names_stay(org: Organisation, stack: Stack, database_url: str) -> None:
    image_id, image = await _photo(org)
    before = _files(stack, image)
    await execute(database_url, _COPY.format(days=40, count=3, image=image_id))
    run = await cleaned(org.operator)
    assert (run["removed"], run["removedBlobs"]) == (3, 0)
    assert _files(stack, image) == before
    await age_images(database_url, org.id, 40)
    run = await cleaned(org.operator)
    assert (run["removed"], run["removedBlobs"]) == (1, len(before))
    assert _files(stack, image) == []


async def test_sizes_made_on_demand_go_too(org: Organisation, stack: Stack, database_url: str) -> None:
    image_id, image = await _photo(org)
    thumbnail = await value(database_url, "SELECT thumbnail_key FROM images WHERE id = $1::text::uuid", image_id)
    made = thumbnail.replace("thumbnails/", "variants/")
    folder = stack.data_dir / "storage" / "blobs"
    (folder / made).parent.mkdir(parents=True, exist_ok=True)
    (folder / made).write_bytes((folder / thumbnail).read_bytes())
    await execute(
        database_url,
        "INSERT INTO image_variants (image_id, name, status, blob_key, size_bytes) "
        f"VALUES ('{image_id}', 'preview-1440.webp', 'READY', '{made}', 1000)",
    )
    await age_images(database_url, org.id, 40)
    run = await cleaned(org.operator)
    assert run["removedBytes"] == len(image) + 1000
    assert _files(stack, image) == []
    assert not (folder / made).exists()


async def test_many_go_in_steps(org: Organisation, database_url: str) -> None:
    image_id, _ = await _photo(org)
    await execute(database_url, _COPY.format(days=40, count=450, image=image_id))
    await execute(database_url, _COPY.format(days=5, count=600, image=image_id))
    run = await cleaned(org.operator)
    assert (run["state"], run["due"], run["removed"]) == ("DONE", 450, 450)
    assert await value(database_url, _COUNT, org.id) == 601


async def test_more_than_a_share_stops_it_unless_somebody_means_it(org: Organisation, database_url: str) -> None:
    image_id, _ = await _photo(org)
    await execute(database_url, _COPY.format(days=40, count=150, image=image_id))
    await execute(database_url, _COPY.format(days=4, count=100, image=image_id))
    dry = (await org.operator.run(CLEANUP, dry=True))["cleanupImages"]
    assert (dry["due"], dry["stopCode"]) == (150, "SHARE_EXCEEDED")
    run = await cleaned(org.operator)
    assert (run["state"], run["stopCode"], run["removed"]) == ("STOPPED", "SHARE_EXCEEDED", 0)
    assert "maxShare" in run["stopMessage"]
    (event,) = await logged(org.viewer, types=["cleanup.stopped"])
    assert (event["data"]["code"], event["data"]["due"], event["data"]["found"]) == ("SHARE_EXCEEDED", 150, 251)
    run = await cleaned(org.operator, share=0.6)
    assert (run["state"], run["removed"], run["maxShare"]) == ("DONE", 150, 0.6)


async def test_a_few_images_go_whatever_their_share_is(org: Organisation, database_url: str) -> None:
    await _photo(org)
    await age_images(database_url, org.id, 40)
    assert (await cleaned(org.operator))["removed"] == 1


async def test_a_store_that_looks_empty_is_not_believed(org: Organisation, database_url: str) -> None:
    (old, _), _ = await _photo(org), await _photo(org)
    await age_images(database_url, org.id, 40, old)
    lost = f"original_key = 'elsewhere/' || id || '.jpg' WHERE client_id = '{org.id}'"
    await execute(database_url, f"UPDATE images SET {lost}")
    run = await cleaned(org.operator)
    assert (run["state"], run["stopCode"], run["removed"]) == ("STOPPED", "STORE_LOOKS_EMPTY", 0)
    assert await value(database_url, _COUNT, org.id) == 2


async def test_who_keeps_images_for_ever_is_not_cleaned_up(org: Organisation, database_url: str) -> None:
    await _photo(org)
    await age_images(database_url, org.id, 4000)
    await change(org.operator, "IMAGES", enabled=False)
    assert (await cleaned(org.operator))["removed"] == 0  # deleted ones would go
    await change(org.operator, "DELETED_IMAGES", enabled=False)
    assert await org.operator.code(CLEANUP) == "RETENTION_OFF"
    assert (await org.operator.run(CLEANUP, dry=True))["cleanupImages"]["due"] == 0


@pytest.mark.parametrize("share", [0, -1, 1.1])
async def test_a_share_is_between_0_and_1(org: Organisation, share: float) -> None:
    error = await org.operator.refused(CLEANUP, share=share)
    assert error["extensions"]["details"]["argument"] == "maxShare"


async def test_one_cleanup_at_a_time(org: Organisation, database_url: str) -> None:
    await execute(
        database_url,
        "INSERT INTO cleanup_runs (id, client_id, kind, state, dry_run, max_share, actor_kind, lease_until) VALUES "
        f"(gen_random_uuid(), '{org.id}', 'IMAGES', 'RUNNING', false, 0.5, 'SYSTEM', now() + interval '1 hour')",
    )
    assert await org.operator.code(CLEANUP) == "ALREADY_RUNNING"
    assert (await org.operator.run(CLEANUP, dry=True))["cleanupImages"]["state"] == "DONE"
    found = (await org.viewer.run(RUNS, kind="IMAGES"))["cleanupRuns"]
    assert (found["totalCount"], {run["state"] for run in found["nodes"]}) == (2, {"RUNNING", "DONE"})
    assert found["nodes"][0]["client"] == {"id": org.id}
    assert (await org.viewer.run(RUNS, kind="EVENTS"))["cleanupRuns"]["totalCount"] == 0


async def _left_behind(url: str, org: Organisation, attempts: int) -> str:
    """A run whose worker died a while ago."""
    run_id: str = await value(
        url,
        "INSERT INTO cleanup_runs (id, client_id, kind, state, dry_run, max_share, actor_kind, claims, attempts, "
        "started_at, lease_until) VALUES (gen_random_uuid(), $1, 'IMAGES', 'RUNNING', false, 0.5, 'SYSTEM', 1, $2, "
        "now(), now() - interval '1 second') RETURNING id::text",
        org.id,
        attempts,
    )
    return run_id


async def test_what_a_dead_worker_left_is_taken_up(org: Organisation, stack: Stack, database_url: str) -> None:
    _, image = await _photo(org)
    await age_images(database_url, org.id, 40)
    run = await ended(org.viewer, await _left_behind(database_url, org, 1))
    assert (run["state"], run["removed"]) == ("DONE", 1)
    assert _files(stack, image) == []


async def test_a_brake_holds_also_when_who_counted_died(org: Organisation, stack: Stack, database_url: str) -> None:
    _, image = await _photo(org)
    await age_images(database_url, org.id, 40)
    left = await _left_behind(database_url, org, 1)
    await execute(database_url, f"UPDATE cleanup_runs SET found = 1000, due = 900 WHERE id = '{left}'")
    run = await ended(org.viewer, left)
    assert (run["state"], run["stopCode"], run["removed"]) == ("STOPPED", "SHARE_EXCEEDED", 0)
    assert len(_files(stack, image)) >= 3


async def test_what_never_gets_on_is_given_up(org: Organisation, database_url: str) -> None:
    run = await ended(org.viewer, await _left_behind(database_url, org, 5))
    assert (run["state"], run["stopCode"]) == ("FAILED", "GAVE_UP")
    (event,) = await logged(org.viewer, types=["cleanup.failed"])
    assert event["data"]["code"] == "GAVE_UP"


async def test_a_backup_of_the_files_is_waited_for(org: Organisation, stack: Stack, database_url: str) -> None:
    _, image = await _photo(org)
    await age_images(database_url, org.id, 40)
    backup = await asyncpg.connect(database_url)
    await backup.execute("SELECT pg_advisory_lock($1)", BACKUP_LOCK)
    run = (await org.operator.run(CLEANUP))["cleanupImages"]

    async def waits() -> bool:
        now = (await org.viewer.run(RUN, id=run["id"]))["cleanupRun"]
        return bool(now["state"] == "QUEUED" and now["found"] == 1)

    await eventually(waits, what="a run that waits")
    assert len(_files(stack, image)) >= 3
    attempts = await value(database_url, "SELECT attempts FROM cleanup_runs WHERE id = $1", run["id"])
    assert attempts == 0, "waiting is not failing"
    await backup.close()
    await execute(database_url, f"UPDATE cleanup_runs SET lease_until = now() WHERE id = '{run['id']}'")
    assert (await ended(org.viewer, run["id"]))["removed"] == 1
    assert _files(stack, image) == []


@pytest.fixture
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_IMAGE_RETENTION_DAYS="10") as stack:
        yield stack


async def test_the_schedule_cleans_up_each_client_by_its_own_policy(own_stack: Stack) -> None:
    url = own_stack.environment["QM_DATABASE_URL"]
    async with own_stack.signed_in() as admin:
        orgs = [await Organisation.made(admin) for _ in range(4)]
        for org, kept in zip(orgs, (None, {"keepDays": 20}, {"enabled": False}, {"keepDays": 12}), strict=True):
            await _photo(org)
            if kept:
                await change(org.operator, "IMAGES", **kept)
        for org in orgs:
            await age_images(url, org.id, 15)
        await admin.run(RUN_JOB, name="IMAGE_CLEANUP")

        async def over() -> Any:
            nodes = (await admin.run(RUNS, kind="IMAGES"))["cleanupRuns"]["nodes"]
            return nodes if len(nodes) == 2 and all(run["endedAt"] for run in nodes) else None

        runs = await eventually(over, what="two runs")
        assert {run["client"]["id"]: (run["removed"], run["actorKind"]) for run in runs} == {
            orgs[0].id: (1, "SYSTEM"),
            orgs[3].id: (1, "SYSTEM"),
        }
        assert [await value(url, _COUNT, org.id) for org in orgs] == [0, 1, 1, 0]
        assert await value(url, "SELECT count(*) FROM devices") == 4  # what devices are stays for ever
