"""Backups: made while the system works, checked, thinned out, and brought back into a new system as it was."""

import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import StackOf
from tests.operators.backups import (
    backup_in,
    command,
    content_of,
    filled,
    major_of,
    new_database,
    settings_of,
    stub_tool,
)
from tests.retention.operations import RUN_JOB, job
from tests.server.test_settings import quartermaster
from tests.support.api import Api, Organisation
from tests.support.images import link_to
from tests.support.log import eventually
from tests.support.stack import ADMIN_EMAIL, ADMIN_PASSWORD, Stack, wait_until


@pytest.fixture(scope="module")
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_BACKUPS_KEPT="2") as stack:
        yield stack


def _tree(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


async def test_a_system_comes_back_as_it_was(own_stack: Stack, tmp_path: Path) -> None:
    stack, folder = own_stack, tmp_path / "backups"
    async with stack.signed_in() as admin:
        org, image_id = await filled(stack, admin)
    made = command(stack, "backup", "--to", folder, "--with-blobs")
    assert made.returncode == 0, made.stderr
    backup = backup_in(folder)
    assert str(backup) in made.stdout
    about = json.loads((backup / "backup.json").read_text())
    assert about["blobs"] == len(_tree(stack.data_dir / "storage" / "blobs")) >= 9
    assert stack.environment["QM_SECRET_KEY"] not in (backup / "backup.json").read_text()
    assert backup.stat().st_mode & 0o077 == 0
    listed = command(stack, "backups", folder, "--verify")
    assert listed.returncode == 0
    assert backup.name in listed.stdout
    assert "verified" in listed.stdout

    stack.stop()  # so that what is compared does not change any more
    try:
        before = await content_of(stack.environment["QM_DATABASE_URL"])
        del before["storage_sweeps"]  # a restore adds a line to it
        again = command(stack, "backup", "--to", tmp_path / "second", "--with-blobs")
        assert again.returncode == 0, again.stderr
        url, storage = await new_database(stack), tmp_path / "storage"
        new = {"QM_DATABASE_URL": url, "QM_STORAGE_URL": f"folder://{storage}"}
        restored = command(stack, "restore", backup_in(tmp_path / "second"), **new)
        assert restored.returncode == 0, restored.stderr
        assert restored.stderr == ""
        after = await content_of(url)
        del after["storage_sweeps"]
        assert after == before
        assert _tree(storage / "blobs") == _tree(stack.data_dir / "storage" / "blobs")
    finally:
        stack.restart()
    await _lives(stack, new, tmp_path / "data", org, image_id)


async def _lives(stack: Stack, new: dict[str, str], folder: Path, org: Organisation, image_id: str) -> None:
    """What was restored is a system: people sign in, images open, devices report."""
    settings = {**settings_of(stack), **new, "QM_REDIS_NAMESPACE": uuid.uuid4().hex}
    for name in ("QM_DATA_DIR", "QM_PORT"):
        del settings[name]
    with Stack.started(folder, **settings) as copy:
        async with httpx.AsyncClient(base_url=copy.url, timeout=20) as http:
            admin = await Api(http).login(ADMIN_EMAIL, ADMIN_PASSWORD)
            link = await link_to(admin, image_id, "THUMBNAIL")
            assert (await http.get(link)).status_code == 200
            found = await admin.run("query ($id: ID!) { client(id: $id) { name } }", id=org.id)
            assert found["client"]["name"] == org.name


async def test_nothing_is_restored_over_something(own_stack: Stack, tmp_path: Path) -> None:
    assert command(own_stack, "backup", "--to", tmp_path).returncode == 0
    refused = command(own_stack, "restore", backup_in(tmp_path))
    assert refused.returncode == 1
    assert "not empty" in refused.stderr
    assert "Traceback" not in refused.stderr


async def test_a_store_with_other_blobs_is_not_restored_into(own_stack: Stack, tmp_path: Path) -> None:
    folder = tmp_path / "backups"
    assert command(own_stack, "backup", "--to", folder, "--with-blobs").returncode == 0
    other = tmp_path / "storage" / "blobs" / "originals" / "other.jpg"
    other.parent.mkdir(parents=True)
    other.write_bytes(b"somebody else's")
    url = await new_database(own_stack)
    new = {"QM_DATABASE_URL": url, "QM_STORAGE_URL": f"folder://{tmp_path / 'storage'}"}
    refused = command(own_stack, "restore", backup_in(folder), **new)
    assert refused.returncode == 1
    assert "blob store is not empty" in refused.stderr
    assert await content_of(url) == {}


async def test_without_blobs_it_lists_them_and_says_what_is_missing(own_stack: Stack, tmp_path: Path) -> None:
    async with own_stack.signed_in() as admin:
        await filled(own_stack, admin)
    folder = tmp_path / "backups"
    assert command(own_stack, "backup", "--to", folder).returncode == 0
    assert not (backup_in(folder) / "blobs.tar").exists()
    new = {"QM_DATABASE_URL": await new_database(own_stack), "QM_STORAGE_URL": f"folder://{tmp_path / 'storage'}"}
    restored = command(
        own_stack, "restore", backup_in(folder), **new, QM_SECRET_KEY="another secret key of the tests, long"
    )
    assert restored.returncode == 0, restored.stderr
    assert "Blobs are missing" in restored.stderr
    assert "Another secret key" in restored.stderr


@pytest.mark.parametrize("name", ["database.dump", "blobs.jsonl.gz"])
async def test_a_damaged_backup_is_found_and_not_restored(own_stack: Stack, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "backups"
    assert command(own_stack, "backup", "--to", folder).returncode == 0
    path = backup_in(folder) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert command(own_stack, "backups", folder).returncode == 0  # not looked at
    listed = command(own_stack, "backups", folder, "--verify")
    assert listed.returncode == 1
    assert "DAMAGED" in listed.stdout
    url = await new_database(own_stack)
    refused = command(own_stack, "restore", backup_in(folder), QM_DATABASE_URL=url)
    assert refused.returncode == 1
    assert f"{name} is not as it was written" in refused.stderr
    assert await content_of(url) == {}


def test_a_pg_dump_of_another_version_is_not_used(own_stack: Stack, tmp_path: Path) -> None:
    stub_tool(tmp_path / "bin", "pg_dump", 12, "exit 1")
    refused = command(own_stack, "backup", "--to", tmp_path / "here", QM_POSTGRES_BIN=str(tmp_path / "bin"))
    assert refused.returncode == 1
    assert "is of 12" in refused.stderr
    assert "QM_POSTGRES_BIN" in refused.stderr
    assert list((tmp_path / "here").iterdir()) == []


def test_a_pg_dump_that_fails_leaves_nothing(own_stack: Stack, tmp_path: Path) -> None:
    stub_tool(tmp_path / "bin", "pg_dump", major_of(own_stack), "echo 'no room on the moon' >&2; exit 3")
    refused = command(own_stack, "backup", "--to", tmp_path / "here", QM_POSTGRES_BIN=str(tmp_path / "bin"))
    assert refused.returncode == 1
    assert "no room on the moon" in refused.stderr
    assert list((tmp_path / "here").iterdir()) == []


def test_a_backup_that_is_killed_never_looks_whole(own_stack: Stack, tmp_path: Path) -> None:
    stub_tool(tmp_path / "bin", "pg_dump", major_of(own_stack), "exec sleep 30")
    here = tmp_path / "here"
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "backup", "--to", str(here)],
        env={**own_stack.environment, "QM_POSTGRES_BIN": str(tmp_path / "bin")},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: here.exists() and list(here.glob(".*.partial")), what="a backup on its way")
        second = command(own_stack, "backups", here)
        assert "quartermaster-" not in second.stdout
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(10)
    assert command(own_stack, "backups", here).stdout.count("quartermaster-") == 0
    assert command(own_stack, "backup", "--to", here).returncode == 0


async def _nightly(admin: Api, before: str | None) -> dict[str, Any]:
    await admin.run(RUN_JOB, name="BACKUP")

    async def over() -> dict[str, Any] | None:
        found = await job(admin, "BACKUP")
        return found if found["endedAt"] and found["startedAt"] != before else None

    found: dict[str, Any] = await eventually(over, within=40, what="the backup")
    return found


async def test_the_schedule_makes_backups_and_keeps_so_many(own_stack: Stack) -> None:
    folder, before, names = own_stack.data_dir / "backups", None, []
    async with own_stack.signed_in() as admin:
        for _ in range(3):
            found = await _nightly(admin, before)
            assert found["failure"] is None, found
            before = found["startedAt"]
            names.append(max(path.name for path in folder.iterdir()))
    assert sorted(path.name for path in folder.iterdir()) == sorted(names[1:])
    assert len(set(names)) == 3


@pytest.fixture
def stack_without_tools(stack_of: StackOf, tmp_path: Path) -> Iterator[Stack]:
    with stack_of(QM_POSTGRES_BIN=str(tmp_path)) as stack:
        yield stack


async def test_a_backup_that_fails_tells_why(stack_without_tools: Stack) -> None:
    async with stack_without_tools.signed_in() as admin:
        found = await _nightly(admin, None)
        told = (await admin.run("{ diagnostics { warnings { code message } } }"))["diagnostics"]["warnings"]
        assert "QM_POSTGRES_BIN" in next(one["message"] for one in told if one["code"] == "BACKUP_FAILED")
    assert "QM_POSTGRES_BIN" in found["failure"]


async def test_the_embedded_default_moves_to_another_folder(tmp_path: Path) -> None:
    """Nothing set, and nothing running: both commands start the database for themselves."""
    first, second = {"QM_DATA_DIR": str(tmp_path / "first")}, {"QM_DATA_DIR": str(tmp_path / "second")}
    assert quartermaster("migrate", folder=tmp_path, **first).returncode == 0
    assert quartermaster("create-admin", "--email", "a@example.com", folder=tmp_path, **first).returncode == 0
    made = quartermaster("backup", folder=tmp_path, **first)
    assert made.returncode == 0, made.stderr
    restored = quartermaster("restore", str(backup_in(tmp_path / "first" / "backups")), folder=tmp_path, **second)
    assert restored.returncode == 0, restored.stderr
    again = quartermaster("create-admin", "--email", "a@example.com", folder=tmp_path, **second)
    assert "already a user with that e-mail" in again.stderr
