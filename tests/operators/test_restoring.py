"""A database that came back from a backup beside a store that went on: nothing of it is taken away by itself."""

import os
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import StackOf
from tests.operators.backups import backup_in, command, new_database
from tests.retention.operations import RUN_JOB, job
from tests.storage.operations import SWEEP, swept
from tests.support.api import Api, Organisation
from tests.support.images import settled
from tests.support.log import eventually
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack
from tests.support.stores import folder_of, stored

_SWEEPS = f"{{ storageSweeps {{ nodes {{ {SWEEP} }} }} }}"
_PASSED = "UPDATE storage_sweeps SET requested_at = requested_at - interval '3 days'"


@pytest.fixture(scope="module")
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of() as stack:
        yield stack


async def _sweeps(admin: Api) -> list[dict[str, Any]]:
    nodes: list[dict[str, Any]] = (await admin.run(_SWEEPS))["storageSweeps"]["nodes"]
    return nodes


async def _uploaded(org: Organisation, image: bytes) -> None:
    answer = await (await org.device()).upload(image)
    await settled(org.viewer, answer.json()["imageId"])


async def test_photos_that_came_after_a_backup_stay_until_somebody_sweeps(own_stack: Stack, tmp_path: Path) -> None:
    later, url = photo(), await new_database(own_stack)
    async with own_stack.signed_in() as admin:
        org = await Organisation.made(admin)
        await _uploaded(org, photo())
        # One that is under way in the backup is not gone on with, either.
        await execute(
            own_stack.environment["QM_DATABASE_URL"],
            "INSERT INTO storage_sweeps (id, dry_run, max_share, grace_seconds, actor_kind, lease_until) "
            f"VALUES ('{uuid.uuid4()}', false, 1, 3600, 'SYSTEM', now() + interval '30 seconds')",
        )
        assert command(own_stack, "backup", "--to", tmp_path / "backups").returncode == 0
        await _uploaded(org, later)
    own_stack.stop()
    restored = command(own_stack, "restore", backup_in(tmp_path / "backups"), QM_DATABASE_URL=url)
    assert restored.returncode == 0, restored.stderr
    assert "cleanupOrphanedBlobs" in restored.stdout
    _age(own_stack)
    await execute(url, "UPDATE clients SET created_at = now() - interval '9 days'")
    await execute(url, _PASSED)
    own_stack.environment["QM_DATABASE_URL"] = url
    own_stack.environment["QM_REDIS_NAMESPACE"] = uuid.uuid4().hex
    own_stack.restart()
    async with own_stack.signed_in() as admin:
        await _looked(admin)
        held = await _sweeps(admin)
        assert [(one["status"], one["code"]) for one in held] == [("REFUSED", "RESTORED")] * 2
        assert "storage verify" in held[0]["message"]
        assert len(await stored(own_stack, later)) == 3
        assert (await swept(admin, dryRun=False))["code"] == "SHARE_EXCEEDED"  # which does not let others begin
        by_hand = await swept(admin, dryRun=False, maxShare=1.0)
        assert (by_hand["status"], by_hand["removed"]) == ("DONE", 3)
        own_stack.stop()
        await execute(url, _PASSED)
        own_stack.restart()

        async def begun() -> bool:
            return bool((await _sweeps(admin))[0]["actorKind"] == "SYSTEM")

        await eventually(begun, within=40, what="a sweep by the schedule")


def _age(stack: Stack) -> None:
    """Every blob is two days old."""
    then = time.time() - 2 * 86_400
    for path in (folder_of(stack) / "blobs").rglob("*.*"):
        os.utime(path, (then, then))


async def _looked(admin: Api) -> None:
    """Returns when the schedule has run, which looks for a sweep that is due at its start."""
    before = (await job(admin, "TELEMETRY_CLEANUP"))["endedAt"]
    await admin.run(RUN_JOB, name="TELEMETRY_CLEANUP")

    async def over() -> bool:
        found = await job(admin, "TELEMETRY_CLEANUP")
        return bool(found["endedAt"]) and found["endedAt"] != before

    await eventually(over, within=40, what="a job of the schedule")
