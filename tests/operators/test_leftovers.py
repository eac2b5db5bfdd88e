"""Backups that were damaged or cut off, and what is left of them: the next one is made all the same."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import psutil
import pytest

from domain.storage.backups import BACKUP_LOCK
from tests.conftest import StackOf
from tests.operators.backups import backup_in, command, filled, major_of, stub_tool
from tests.retention.operations import RUN_JOB, job
from tests.support.log import eventually
from tests.support.stack import Stack, wait_until
from tests.support.stores import folder_of

_HOLDER = (
    "SELECT activity.pid, activity.xact_start FROM pg_locks AS lock JOIN pg_stat_activity AS activity USING (pid) "
    "WHERE lock.locktype = 'advisory' AND lock.granted AND (lock.classid::bigint << 32) | lock.objid::bigint = $1"
)


@pytest.fixture(scope="module")
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of() as stack:
        yield stack


def _newest(folder: Path) -> Path:
    return max(path for path in folder.iterdir() if not path.name.startswith("."))


@pytest.mark.parametrize("about", ['{"format": ', '{"format": 2, "files": {}}', "later"])
def test_one_that_cannot_be_read_is_passed_over(own_stack: Stack, tmp_path: Path, about: str) -> None:
    assert command(own_stack, "backup", "--to", tmp_path).returncode == 0
    first = backup_in(tmp_path)
    said = json.loads((first / "backup.json").read_text())
    (first / "backup.json").write_text(json.dumps(said | {"format": 2}) if about == "later" else about)
    made = command(own_stack, "backup", "--to", tmp_path)
    assert made.returncode == 0, made.stderr
    assert "Passed over" in made.stderr
    assert first.name in made.stderr
    assert len(list(tmp_path.iterdir())) == 2


async def test_a_list_of_blobs_that_is_damaged_is_made_anew(own_stack: Stack, tmp_path: Path) -> None:
    async with own_stack.signed_in() as admin:
        await filled(own_stack, admin)
    assert command(own_stack, "backup", "--to", tmp_path).returncode == 0
    path = backup_in(tmp_path) / "blobs.jsonl.gz"
    whole = path.read_bytes()
    path.write_bytes(whole[:60] + b"\xff" * (len(whole) - 68) + whole[-8:])  # no block of deflate begins like that
    made = command(own_stack, "backup", "--to", tmp_path)
    assert made.returncode == 0, made.stderr
    assert command(own_stack, "backup", "--to", tmp_path).returncode == 0  # which takes its hashes from that one
    listed = command(own_stack, "backups", tmp_path, "--verify")
    assert (listed.stdout.count("verified"), listed.stdout.count("DAMAGED")) == (2, 1)


def test_what_earlier_ones_left_is_taken_away(own_stack: Stack, tmp_path: Path) -> None:
    for name in (".quartermaster-20260101T010000Z.partial", ".quartermaster-20260101T010000Z.gone"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "database.dump").write_bytes(b"half of one")
    (tmp_path / ".somebody-else").mkdir()
    assert command(own_stack, "backup", "--to", tmp_path).returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {".somebody-else", backup_in(tmp_path).name}


def _begun(stack: Stack, folder: Path, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "server", "backup", "--to", str(folder)],
        env={**stack.environment, **settings},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def _endless(stack: Stack, folder: Path) -> tuple[Path, Path]:
    """A folder of tools whose pg_dump does not end, and the file into which it writes the number of its process."""
    pid = folder / "pid"
    stub_tool(
        folder / "bin", "pg_dump", major_of(stack), f"echo $$ > '{pid}.new'; mv '{pid}.new' '{pid}'\nexec sleep 60"
    )
    return folder / "bin", pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_one_that_is_asked_to_stop_leaves_nothing(own_stack: Stack, tmp_path: Path, number: int) -> None:
    tools, pid = _endless(own_stack, tmp_path)
    process = _begun(own_stack, tmp_path / "here", QM_POSTGRES_BIN=str(tools))
    try:
        wait_until(pid.exists, what="pg_dump")
        process.send_signal(number)
        _, said = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode not in (0, -number)
    assert "Traceback" not in said
    assert list((tmp_path / "here").iterdir()) == []
    assert not psutil.pid_exists(int(pid.read_text()))


def test_pg_dump_ends_with_one_that_is_killed(own_stack: Stack, tmp_path: Path) -> None:
    tools, pid = _endless(own_stack, tmp_path)
    process = _begun(own_stack, tmp_path / "here", QM_POSTGRES_BIN=str(tools))
    try:
        wait_until(pid.exists, what="pg_dump")
    finally:
        process.kill()
        process.communicate(timeout=20)
    number = int(pid.read_text())
    wait_until(lambda: not psutil.pid_exists(number), what="the end of pg_dump")
    assert command(own_stack, "backup", "--to", tmp_path / "here").returncode == 0
    assert [path.name for path in (tmp_path / "here").iterdir()] == [backup_in(tmp_path / "here").name]


async def _holder(stack: Stack) -> tuple[int, datetime | None] | None:
    """The database's process that holds the lock of backups, and since when its transaction is open."""
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    try:
        row = await connection.fetchrow(_HOLDER, BACKUP_LOCK)
        return None if row is None else (row["pid"], row["xact_start"])
    finally:
        await connection.close()


async def test_no_transaction_is_open_while_blobs_are_read(own_stack: Stack, tmp_path: Path) -> None:
    """A blob that is a pipe is read when somebody writes into it. Then the lock gets lost, and nothing is made."""
    pipe = folder_of(own_stack) / "blobs" / "display" / "pipe.webp"
    pipe.parent.mkdir(parents=True, exist_ok=True)
    os.mkfifo(pipe)
    process = _begun(own_stack, tmp_path / "here")
    try:
        writing = await asyncio.to_thread(wait_until, lambda: _opened(pipe), what="a backup that reads the blobs")
        holder = await _holder(own_stack)
        assert holder is not None
        assert holder[1] is None
        connection = await asyncpg.connect(own_stack.environment["QM_DATABASE_URL"])
        await connection.execute("SELECT pg_terminate_backend($1)", holder[0])
        await connection.close()
        os.write(writing, b"a picture")
        os.close(writing)
        _, said = await asyncio.to_thread(process.communicate, timeout=20)
    finally:
        process.kill()
        pipe.unlink()
    assert process.returncode == 1
    assert "lock of backups was lost" in said
    assert list((tmp_path / "here").iterdir()) == []


def _opened(pipe: Path) -> int | None:
    """The pipe for writing, once somebody has it open for reading."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


@pytest.mark.parametrize("beside", ["", "&application_name=mine"])
def test_the_password_is_in_no_argument(own_stack: Stack, tmp_path: Path, beside: str) -> None:
    body = f"echo \"$@\" > '{tmp_path}/arguments'; echo \"$PGPASSWORD\" > '{tmp_path}/password'; exit 1"
    stub_tool(tmp_path / "bin", "pg_dump", major_of(own_stack), body)
    url = urlsplit(own_stack.environment["QM_DATABASE_URL"])
    assert url.password
    bare = url._replace(netloc=f"{url.username}@{url.hostname}:{url.port}", query=beside.removeprefix("&")).geturl()
    given = f"{bare}{'&' if beside else '?'}password={url.password}"
    tools = str(tmp_path / "bin")
    command(own_stack, "backup", "--to", tmp_path / "here", QM_POSTGRES_BIN=tools, QM_DATABASE_URL=given)
    arguments = (tmp_path / "arguments").read_text()
    assert f"--dbname={bare} " in arguments
    assert url.password not in arguments
    assert "--lock-wait-timeout=60000" in arguments
    assert (tmp_path / "password").read_text() == f"{url.password}\n"


@pytest.fixture
def hurried_stack(stack_of: StackOf, own_stack: Stack, tmp_path: Path) -> Iterator[tuple[Stack, Path]]:
    """Its pg_dump does not end, and a backup may take 7.2 seconds."""
    tools, pid = _endless(own_stack, tmp_path)
    with stack_of(QM_POSTGRES_BIN=str(tools), QM_BACKUP_MAX_HOURS="0.002") as stack:
        yield stack, pid


async def test_a_nightly_one_that_takes_too_long_is_stopped(hurried_stack: tuple[Stack, Path]) -> None:
    stack, pid = hurried_stack
    async with stack.signed_in() as admin:
        await admin.run(RUN_JOB, name="BACKUP")

        async def over() -> dict[str, Any] | None:
            found = await job(admin, "BACKUP")
            return found if found["endedAt"] else None

        found = await eventually(over, within=40, what="the end of the backup")
    assert "0.002 hours (QM_BACKUP_MAX_HOURS)" in found["failure"]
    assert list(stack.data_dir.glob("backups/*")) == []
    if pid.exists():  # the machine was fast enough for it to begin
        assert not psutil.pid_exists(int(pid.read_text()))
