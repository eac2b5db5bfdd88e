"""`quartermaster demo`, run as a person would, against the server of the tests."""

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from server.demo.client import Server, refresh_in
from server.demo.fleet import pace
from tests.support.api import Api
from tests.support.stack import ADMIN_EMAIL, ADMIN_PASSWORD, Stack, free_port, wait_until

ROOT = Path(__file__).parents[2]
SUMMARY = re.compile(r"After \d+ s: (\d+) photos sent, (\d+) accepted, (\d+) processed, (\d+) rejected")
DEVICES = """query ($keys: [String!]) {
  devices(filter: {keys: $keys}, first: 100) { nodes {
    id key wakeIntervalSeconds batteryV batteryPct rssi firmware totalCaptures client { name }
    images(first: 1) { nodes { capturedAt deviceCapturedAt status } }
  } }
}"""


class Demo:
    """A demonstration under way; `output` is what it showed so far."""

    def __init__(self, process: "subprocess.Popen[bytes]", path: Path) -> None:
        self.process = process
        self._path = path

    @property
    def output(self) -> str:
        return self._path.read_text(errors="replace")

    def counts(self) -> tuple[int, int, int, int]:
        """Sent, accepted, processed, rejected, by the summary."""
        found = SUMMARY.search(self.output)
        assert found, self.output
        sent, accepted, processed, rejected = (int(number) for number in found.groups())
        return sent, accepted, processed, rejected


@contextmanager
def demo(folder: Path, url: str, *arguments: str, password: str = ADMIN_PASSWORD) -> Iterator[Demo]:
    command = [sys.executable, "-m", "server", "demo", "--url", url, *arguments]
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "QM_ADMIN_EMAIL": ADMIN_EMAIL,
        "QM_ADMIN_PASSWORD": password,
    }
    path = folder / f"demo-{free_port()}.txt"
    with path.open("wb") as output:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output, cwd=folder)
    try:
        yield Demo(process, path)
    finally:
        process.kill()
        process.wait(20)


async def demo_devices(admin: Api, count: int) -> list[dict[str, Any]]:
    keys = [f"demo-cam-{number:03}" for number in range(1, count + 1)]
    nodes: list[dict[str, Any]] = (await admin.run(DEVICES, keys=keys))["devices"]["nodes"]
    return nodes


def captured(url: str) -> Callable[[], bool]:
    """Whether the server has accepted a photo by now, by its metrics."""
    before = _accepted(url)
    return lambda: _accepted(url) > before


def _accepted(url: str) -> float:
    text = httpx.get(f"{url}/metrics", timeout=20).text
    found = re.search(r'^quartermaster_uploads_total\{outcome="accepted"\} (\S+)', text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_cameras_are_registered_and_their_photos_are_followed_until_they_are_processed(
    stack: Stack, admin: Api, tmp_path: Path
) -> None:
    with demo(tmp_path, stack.url, "--devices", "5", "--seconds", "8") as shown:
        assert shown.process.wait(60) == 0, shown.output
    assert "5 cameras of the client “Demo pantry” report to" in shown.output
    assert re.search(r"^ +5 s: \d+ photos sent", shown.output, re.MULTILINE)
    sent, accepted, processed, rejected = shown.counts()
    assert sent >= accepted > 0
    assert processed + rejected >= accepted
    assert re.search(r"half of them READY within \d+\.\d\d s of the 201", shown.output)
    devices = await demo_devices(admin, 5)
    assert [device["key"] for device in devices] == [f"demo-cam-{number:03}" for number in range(1, 6)]
    assert {device["client"]["name"] for device in devices} == {"Demo pantry"}
    assert sum(device["totalCaptures"] for device in devices) == accepted
    for device in devices:
        assert device["wakeIntervalSeconds"] == 10
        if device["totalCaptures"]:
            assert 3.3 <= device["batteryV"] <= 4.2
            assert 0 < device["batteryPct"] <= 100
            assert -92 <= device["rssi"] <= -45
            assert device["firmware"].startswith("2.")
            assert device["images"]["nodes"][0]["capturedAt"] == device["images"]["nodes"][0]["deviceCapturedAt"]


async def test_a_second_run_finds_its_devices_and_ctrl_c_ends_it_with_a_summary(
    stack: Stack, admin: Api, tmp_path: Path
) -> None:
    with demo(tmp_path, stack.url, "--devices", "2", "--seconds", "0.1") as first:
        assert first.process.wait(60) == 0, first.output
    before = await demo_devices(admin, 2)
    came = captured(stack.url)
    with demo(tmp_path, stack.url, "--devices", "2") as second:
        wait_until(came, within=60, what="a photo of the second run")
        second.process.send_signal(signal.SIGINT)
        assert second.process.wait(30) == 0, second.output
    assert second.counts()[1] >= 1
    after = await demo_devices(admin, 2)
    assert [device["id"] for device in after] == [device["id"] for device in before]


async def test_what_happens_while_the_server_is_away_is_caught_up_with(stack: Stack, tmp_path: Path) -> None:
    came = captured(stack.url)
    with demo(tmp_path, stack.url, "--devices", "4") as shown:
        wait_until(came, within=60, what="a photo")
        killed = stack.child("api")
        os.kill(killed, signal.SIGKILL)
        wait_until(lambda: stack.child("api") != killed, what="a new API process")
        stack.wait_until_healthy()
        wait_until(captured(stack.url), within=60, what="a photo after the crash")
        shown.process.send_signal(signal.SIGINT)
        assert shown.process.wait(30) == 0, shown.output
    _, accepted, processed, rejected = shown.counts()
    assert accepted >= 2
    assert processed + rejected >= accepted
    assert "Traceback" not in shown.output


def test_a_terminal_shows_a_table_of_the_devices(stack: Stack, tmp_path: Path) -> None:
    terminal, theirs = pty.openpty()
    subprocess.run(["stty", "cols", "150", "rows", "12"], stdin=theirs, check=True)
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "QM_ADMIN_PASSWORD": ADMIN_PASSWORD,
        "TERM": "xterm",
    }
    command = [sys.executable, "-m", "server", "demo", "--url", stack.url, "--devices", "6", "--seconds", "3"]
    process = subprocess.Popen(command, env=environment, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(terminal, 65536):
            shown += piece
    except OSError:  # Linux' way of saying that the other end was closed
        pass
    os.close(terminal)
    assert process.wait(20) == 0
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown.decode())
    assert re.search(r"demo-cam-001 +asleep \d+ s +█", text), text
    assert "… and 2 more devices" in text  # twelve lines are not enough for six of them
    assert SUMMARY.search(text)


@pytest.mark.parametrize(
    ("url", "password", "sentence"),
    [
        (None, "the wrong one", f"Signing in as {ADMIN_EMAIL} failed: The e-mail or the password is wrong."),
        ("http://127.0.0.1:1", ADMIN_PASSWORD, "No server answers at http://127.0.0.1:1"),
        ("nonsense", ADMIN_PASSWORD, "No server answers at nonsense"),
    ],
)
def test_what_makes_a_demo_impossible_is_said_in_one_sentence(
    stack: Stack, tmp_path: Path, url: str | None, password: str, sentence: str
) -> None:
    with demo(tmp_path, url or stack.url, password=password) as shown:
        assert shown.process.wait(60) == 1
    assert shown.output.startswith(f"No demo. {sentence}")
    assert shown.output.count("\n") == 1


async def test_a_session_is_renewed_and_goes_on(stack: Stack) -> None:
    async with Server.signed_in(stack.url, ADMIN_EMAIL, ADMIN_PASSWORD) as server:
        first = server.session
        await server.refresh()
        assert first
        assert server.session
        assert (await server.run("{ viewer { kind } }"))["viewer"] == {"kind": "USER"}
        assert server.session.refresh_token != first.refresh_token
        assert server.session.expires_at >= first.expires_at


def test_a_session_is_renewed_well_before_it_ends() -> None:
    now = datetime.now(UTC)
    assert refresh_in(now + timedelta(minutes=15), now) == 600
    assert refresh_in(now - timedelta(minutes=1), now) == 0


def test_few_cameras_hurry_and_many_do_not() -> None:
    assert [pace(devices) for devices in (1, 10, 20, 40, 500)] == [4, 4, 2, 1, 1]
