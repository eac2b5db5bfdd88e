"""The supervisor, driven for real: it runs in a process of its own and its children are small scripts."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from server.supervisor import FIRST_DELAY, LONGEST_DELAY, STEADY_AFTER, next_delay

ROOT = Path(__file__).parents[2]
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="parent-death signals are Linux's")

SUPERVISOR = """
import asyncio, json, os, sys
from server.supervisor import Child, supervise
scripts, stop_within = json.loads(sys.argv[1]), float(sys.argv[2])
children = [Child(n, ["/bin/sh", "-c", s], {**os.environ, "CHILD": n}) for n, s in scripts.items()]
say = lambda sentence: print(sentence, flush=True)
sys.exit(asyncio.run(supervise(children, stop_within=stop_within, on_event=say)))
"""

# What a well-behaved child does; each writes its process number to the file of its name.
ALIVE = 'echo $$ > "$CHILD.pid"; '
OBEYS = ALIVE + 'trap "echo stopped > $CHILD.end; exit 0" TERM; while :; do sleep 0.02; done'
IGNORES = ALIVE + 'trap "" TERM; while :; do sleep 0.02; done'
CRASHES = 'echo x >> "$CHILD.lives"; exit 3'


class Supervised:
    """A supervisor in its own session, as a terminal would run it, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.started: list[subprocess.Popen[bytes]] = []

    def __call__(self, stop_within: float = 8.0, **scripts: str) -> subprocess.Popen[bytes]:
        with open(self.folder / "events", "wb") as events:
            process = subprocess.Popen(
                [sys.executable, "-c", SUPERVISOR, json.dumps(scripts), str(stop_within)],
                stdout=events,
                cwd=self.folder,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def says(self, words: str, times: int = 1) -> bool:
        return (self.folder / "events").read_text().count(words) >= times

    def pid(self, name: str) -> int:
        """The process number of a child, once it has started."""
        path = self.folder / f"{name}.pid"
        eventually(lambda: path.exists() and path.read_text().strip() != "")
        return int(path.read_text())

    def forget(self, name: str) -> None:
        (self.folder / f"{name}.pid").unlink()


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    run = Supervised(tmp_path)
    yield run
    for process in run.started:
        if process.poll() is None:
            process.kill()
        process.wait()
    for path in tmp_path.glob("*.pid"):
        pid = int(path.read_text() or 0)
        if pid and alive(pid):
            os.kill(pid, signal.SIGKILL)


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    if sys.platform != "linux":
        return True
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def eventually(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_all_children_and_ends_with_zero(supervised: Supervised, number: signal.Signals) -> None:
    process = supervised(api=OBEYS, worker=OBEYS)
    pids = [supervised.pid("api"), supervised.pid("worker")]
    process.send_signal(number)
    assert process.wait(10) == 0
    assert not any(map(alive, pids))
    assert supervised.says(f"stopping ({number.name})")
    assert (supervised.folder / "api.end").exists(), "asked, not killed"
    assert (supervised.folder / "worker.end").exists()


def test_ctrl_c_of_the_terminal_reaches_the_supervisor_only(supervised: Supervised) -> None:
    interrupted = 'trap "echo > interrupted" INT; '
    process = supervised(api=interrupted + OBEYS)
    pid = supervised.pid("api")
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(10) == 0
    assert not alive(pid)
    assert not (supervised.folder / "interrupted").exists()
    assert (supervised.folder / "api.end").exists()


def test_killed_child_is_started_again_and_the_others_stay(supervised: Supervised) -> None:
    supervised(api=OBEYS, worker=OBEYS)
    api, worker = supervised.pid("api"), supervised.pid("worker")
    supervised.forget("api")
    os.kill(api, signal.SIGKILL)
    assert supervised.pid("api") != api
    assert supervised.says("api: killed by SIGKILL after")
    assert supervised.says("starting again in 0.2 s")
    assert supervised.pid("worker") == worker
    assert alive(worker)


def test_crashing_child_is_started_ever_more_slowly(supervised: Supervised) -> None:
    process = supervised(api=CRASHES)
    eventually(lambda: supervised.says("starting again in 0.8 s"))
    for delay in ("0.2", "0.4", "0.8"):
        assert supervised.says(f"starting again in {delay} s")
    assert supervised.says("api: exited with code 3 after", times=3)
    began = time.monotonic()
    process.terminate()
    assert process.wait(10) == 0
    assert time.monotonic() - began < 5, "stopping does not wait for the back-off"


def test_delay_doubles_to_its_limit_and_starts_over_when_steady() -> None:
    delays = [FIRST_DELAY]
    while delays[-1] < LONGEST_DELAY:
        delays.append(next_delay(delays[-1], uptime=1))
    assert delays == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0]
    assert next_delay(LONGEST_DELAY, uptime=1) == LONGEST_DELAY
    assert next_delay(LONGEST_DELAY, uptime=STEADY_AFTER) == FIRST_DELAY
    assert next_delay(0, uptime=0) == FIRST_DELAY


def test_configuration_error_stops_everything(supervised: Supervised) -> None:
    process = supervised(worker=OBEYS, api="until [ -e worker.pid ]; do sleep 0.02; done; exit 78")
    worker = supervised.pid("worker")
    assert process.wait(10) == 78
    assert not alive(worker)
    assert (supervised.folder / "worker.end").exists()
    assert supervised.says("api: its configuration is wrong")


def test_child_that_does_not_stop_is_killed_in_time(supervised: Supervised) -> None:
    process = supervised(stop_within=0.3, api=IGNORES, worker=OBEYS)
    pids = [supervised.pid("api"), supervised.pid("worker")]
    process.terminate()
    assert process.wait(10) == 1
    assert not any(map(alive, pids))
    assert supervised.says("api: killed after 0.3 s")
    assert (supervised.folder / "worker.end").exists()


def test_second_ctrl_c_kills_at_once(supervised: Supervised) -> None:
    process = supervised(stop_within=60, api=IGNORES)
    pid = supervised.pid("api")
    process.send_signal(signal.SIGINT)
    eventually(lambda: supervised.says("stopping"))
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 1
    assert not alive(pid)
    assert supervised.says("api: killed at once")


@ON_LINUX
def test_killed_supervisor_takes_its_children_along(supervised: Supervised) -> None:
    process = supervised(api=OBEYS, worker=OBEYS)
    pids = [supervised.pid("api"), supervised.pid("worker")]
    process.kill()
    process.wait()
    eventually(lambda: not any(map(alive, pids)))
    assert (supervised.folder / "api.end").exists(), "by SIGTERM, so that they stop in order"


def test_processes_of_a_crashed_child_do_not_outlive_it(supervised: Supervised) -> None:
    supervised(api='(trap "" TERM; CHILD=nested; sh -c \'' + ALIVE + "while :; do sleep 0.02; done') & " + OBEYS)
    nested, api = supervised.pid("nested"), supervised.pid("api")
    os.kill(api, signal.SIGKILL)
    eventually(lambda: not alive(nested))


def test_program_that_is_missing_is_named_and_tried_again(tmp_path: Path) -> None:
    script = SUPERVISOR.replace('["/bin/sh", "-c", s]', '["/no/such/program"]')
    with open(tmp_path / "events", "wb") as events:
        process = subprocess.Popen(
            [sys.executable, "-c", script, '{"api": ""}', "1"],
            stdout=events,
            stderr=events,
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])},
        )
    try:
        eventually(lambda: (tmp_path / "events").read_text().count("exited with code 127") >= 2)
        assert "cannot run /no/such/program: No such file or directory" in (tmp_path / "events").read_text()
    finally:
        process.terminate()
        assert process.wait(10) == 0
