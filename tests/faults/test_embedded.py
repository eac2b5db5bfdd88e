"""The embedded PostgreSQL and Redis, driven for real: starts, stops, crashes of the parent, refusals.

What the servers do once they run is theirs to test; that the rest of Quartermaster works on them is shown by
every other test.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
import redis as redis_client

from server.embedded import EmbeddedError, Services, attach, identity, postgres, process, redis, running
from server.embedded.folder import lock
from server.embedded.launch import Identity

ROOT = Path(__file__).parents[2]
AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes users")
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")

# A shell that starts the suite in the background has it ignore SIGINT, and what it starts inherits that.
PARENT = """
import signal
import sys
from pathlib import Path
from server.embedded import running
signal.signal(signal.SIGINT, signal.default_int_handler)
with running(Path(sys.argv[1])) as services:
    print(services.database_url, services.redis_url, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that was used once and stopped: a copy of it starts faster than a new one."""
    folder = tmp_path_factory.mktemp("seed") / "data"
    with running(folder) as services:
        sql(services, "CREATE TABLE kept (word text)")
    return folder


@pytest.fixture
def data(seed: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(seed, tmp_path / "data"))


def sql(services: Services, statement: str) -> object:
    async def ask() -> object:
        connection = await asyncpg.connect(services.database_url)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def cache(services: Services) -> redis_client.Redis:
    return redis_client.Redis.from_url(services.redis_url)


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


def free(path: Path) -> bool:
    with lock(path, seconds=0) as held:
        return bool(held)


def all_gone(data: Path) -> bool:
    """Whether no process of either server is left."""
    return free(data / "postgres.lock") and free(data / "redis.lock")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def other_process(data: Path) -> Iterator[tuple[subprocess.Popen[str], Services]]:
    """Another process that runs the services; killed at the end if it still lives."""
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        start_new_session=True,
    )
    assert parent.stdin is not None
    assert parent.stdout is not None
    try:
        database_url, redis_url = parent.stdout.readline().split()
        yield parent, Services(database_url, redis_url)
    finally:
        with suppress(ProcessLookupError):
            parent.kill()
        parent.wait()
        parent.stdin.close()
        parent.stdout.close()
        eventually(lambda: all_gone(data))


def test_first_start_makes_private_folders_and_working_servers(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    with running(data) as services:
        assert services.database_url.startswith("postgresql://quartermaster:")
        assert services.redis_url.startswith("redis://:")
        assert sql(services, "SHOW fsync") == sql(services, "SHOW synchronous_commit") == "on"
        assert sql(services, "SHOW timezone") == "UTC"
        assert sql(services, "SELECT lower('ÉÅ')") == "éå"
        assert cache(services).config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert cache(services).config_get("appendonly") == {"appendonly": "yes"}
        assert mode(data) == mode(data / "postgres") == mode(data / "redis") == 0o700
        private = ("run.json", "lock", "postgres.password", "redis.password", "postgres.log", "redis.log")
        assert {mode(data / name) for name in private} == {0o600}
        assert attach(data) == services
    assert attach(data) is None
    assert not (data / "run.json").exists()
    assert all_gone(data)


def test_servers_ask_for_their_password_and_listen_on_loopback_only(data: Path) -> None:
    with running(data) as services:
        with pytest.raises(asyncpg.InvalidPasswordError):
            asyncio.run(asyncpg.connect(services.database_url.replace("quartermaster:", "quartermaster:not-")))
        with pytest.raises(redis_client.AuthenticationError):
            redis_client.Redis.from_url(services.redis_url.replace("redis://:", "redis://:not-")).ping()
        assert sql(services, "SHOW listen_addresses") == "127.0.0.1"
        assert sql(services, "SHOW unix_socket_directories") == ""
        assert cache(services).config_get("bind") == {"bind": "127.0.0.1"}


def test_what_was_written_is_there_at_the_next_start(data: Path) -> None:
    with running(data) as services:
        sql(services, "INSERT INTO kept VALUES ('flour')")
        cache(services).set("word", "flour")
    with running(data) as services:
        assert sql(services, "SELECT word FROM kept") == "flour"
        assert cache(services).get("word") == b"flour"


def test_second_start_is_quick(data: Path) -> None:
    started = time.monotonic()
    with running(data):
        assert time.monotonic() - started < 1.0


def test_only_what_is_asked_for_is_started(data: Path) -> None:
    with running(data, postgres=False) as services:
        assert services.database_url == ""
        assert cache(services).ping()
    with running(data, redis=False) as services:
        assert services.redis_url == ""
        assert sql(services, "SELECT 1") == 1


def test_another_process_is_attached_to_and_not_joined(data: Path) -> None:
    with other_process(data) as (parent, services):
        assert attach(data) == services
        assert sql(services, "SELECT 1") == 1
        with (
            pytest.raises(EmbeddedError, match=rf"Another Quartermaster \(process {parent.pid}\)"),
            running(data),
        ):
            pass
        assert attach(data) == services, "a refused start must leave run.json alone"


def test_same_process_is_refused_a_second_start(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, postgres=False), pytest.raises(EmbeddedError, match="QM_DATA_DIR"), running(data):
        pass


@ON_LINUX
def test_servers_end_with_a_killed_parent_and_start_again(data: Path) -> None:
    with other_process(data) as (parent, services):
        sql(services, "INSERT INTO kept VALUES ('salt')")
        parent.kill()
        parent.wait()
        with running(data) as again:  # at once: what is left of the killed one is waited for
            assert sql(again, "SELECT word FROM kept") == "salt"
            assert cache(again).ping()
    assert "database system was not properly shut down" not in (data / "postgres.log").read_text()


@ON_LINUX
def test_killed_parent_leaves_nothing_running(data: Path) -> None:
    with other_process(data) as (parent, _):
        parent.kill()
        parent.wait()
        eventually(lambda: all_gone(data))
        assert attach(data) is None, "run.json is stale"


def test_killed_servers_start_again(data: Path) -> None:
    with other_process(data) as (parent, services):
        sql(services, "INSERT INTO kept VALUES ('sugar')")
        pids = json.loads((data / "run.json").read_text())["pids"]
        for pid in (pids["postgres"], pids["redis"], parent.pid):
            os.kill(pid, signal.SIGKILL)
        parent.wait()
        with running(data) as again:
            assert sql(again, "SELECT word FROM kept") == "sugar"


def test_ctrl_c_of_the_terminal_reaches_the_parent_only(data: Path) -> None:
    with other_process(data) as (parent, _):
        os.killpg(parent.pid, signal.SIGINT)
        assert parent.wait(20) != 0
    said = (data / "postgres.log").read_text()
    assert said.count("received fast shutdown request") == 2  # the seed's and this one
    assert not (data / "run.json").exists()


def test_pid_file_that_names_a_living_stranger_is_no_obstacle(data: Path) -> None:
    stranger = subprocess.Popen(["sleep", "60"])
    try:
        (data / "postgres" / "postmaster.pid").write_text(
            f"{stranger.pid}\n{data}/postgres\n1\n5432\n\n\n\nready\n"
        )
        (data / "run.json").write_text(json.dumps({"pid": stranger.pid, "database_url": "", "redis_url": ""}))
        assert attach(data) is None
        with running(data) as services:
            assert sql(services, "SELECT 1") == 1
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_truncated_append_only_file_is_loaded(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, postgres=False) as services:
        cache(services).mset({"one": 1, "two": 2})
        cache(services).set("three", 3)
    [log] = [path for path in (data / "redis").rglob("*.aof") if path.stat().st_size]
    os.truncate(log, log.stat().st_size - 4)
    with running(data, postgres=False) as services:
        assert cache(services).mget("one", "three") == [b"1", None]


def test_unreadable_append_only_file_is_set_aside(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(data, postgres=False) as services:
        cache(services).set("one", 1)
    [log] = [path for path in (data / "redis").rglob("*.aof") if path.stat().st_size]
    log.write_bytes(b"not what Redis writes\n" * 10)
    with running(data, postgres=False) as services:
        assert cache(services).get("one") is None
    assert (data / "redis.unreadable").is_dir()


def test_interrupted_first_start_leaves_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "data" / "postgres.new" / "data").mkdir(parents=True)
    (tmp_path / "data" / "postgres.new" / "data" / "PG_VERSION").write_text("18\n")
    with running(tmp_path / "data", redis=False) as services:
        assert sql(services, "SELECT 1") == 1
    assert not (tmp_path / "data" / "postgres.new").exists()


def test_lost_password_is_replaced(data: Path) -> None:
    (data / "postgres.password").unlink()
    with running(data, redis=False) as services:
        assert sql(services, "SELECT 1") == 1


def test_taken_port_is_given_up_for_another(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        taken = squatter.getsockname()[1]
        ports = iter([taken, taken])
        monkeypatch.setattr(process, "free_port", lambda real=process.free_port: next(ports, None) or real())
        with running(data) as services:
            assert sql(services, "SELECT 1") == 1
            assert cache(services).ping()
            assert str(taken) not in services.database_url + services.redis_url


def test_data_of_another_major_version_is_named(data: Path) -> None:
    (data / "postgres" / "PG_VERSION").write_text("13\n")
    with pytest.raises(EmbeddedError, match=r"written by PostgreSQL 13; .*QM_DATABASE_URL"), running(data):
        pass


def test_failed_start_quotes_the_log(data: Path) -> None:
    (data / "postgres" / "postgresql.conf").write_text("no_such_setting = 1\n")
    with pytest.raises(EmbeddedError, match=r"(?s)PostgreSQL did not start.*no_such_setting"), running(data):
        pass
    assert all_gone(data), "Redis was started beside it and must be stopped"


def test_missing_packages_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(EmbeddedError, match=r"quartermaster\[embedded\].*QM_DATABASE_URL"), running(data):
        pass
    with pytest.raises(EmbeddedError, match=r"redis-server .*QM_REDIS_URL"), running(data, postgres=False):
        pass


def test_redis_on_the_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for name in ("valkey-server", "redis-server"):  # the later one is preferred
        (tmp_path / name).touch(mode=0o755)
        assert redis.find_program() == tmp_path / name


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EmbeddedError, match="QM_DATA_DIR"), running(tmp_path / "file" / "data"):
        pass


@AS_ROOT
def test_without_namespaces_root_gives_the_cluster_to_another_user(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container that forbids user namespaces; and it stays so when they are allowed again."""
    # pytest's folders are closed to other users, which is the case of the next test.
    with tempfile.TemporaryDirectory() as place:
        os.chmod(place, 0o711)
        data = Path(shutil.copytree(data, Path(place) / "data"))
        users = [Identity(65534, 65534)]
        if _unreachable(users[0], data):
            pytest.skip("the binaries are in a folder that other users cannot enter")
        with monkeypatch.context() as forbidding:
            forbidding.setattr(identity, "_candidates", lambda cluster: users)
            with running(data, redis=False) as services:
                sql(services, "INSERT INTO kept VALUES ('rice')")
                assert (data / "postgres").stat().st_uid == 65534
                assert mode(data / "postgres.password") == 0o600
        with running(data, redis=False) as services:
            assert sql(services, "SELECT word FROM kept") == "rice"


def _unreachable(who: Identity, data: Path) -> str | None:
    data.chmod(0o701)
    return identity._refusal(who, data, postgres.installed()[-1].postgres)


@AS_ROOT
def test_root_without_any_way_is_told_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_candidates", lambda cluster: [Identity(65534, 65534)])
    data.parent.chmod(0o700)
    with pytest.raises(EmbeddedError, match=r"refuses to run as root.*nobody: cannot reach"), running(data):
        pass
