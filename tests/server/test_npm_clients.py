"""Both live protocols by the npm clients that frontends use: `graphql-ws` and `graphql-sse`."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.api import Organisation
from tests.support.live import one_more_subscriber
from tests.support.log import logged
from tests.support.stack import Stack

FOLDER = Path(__file__).with_name("npm")
UPDATES = (
    "subscription ($ids: [ID!], $after: String) "
    "{ deviceUpdates(ids: $ids, after: $after) { type cursor device { key batteryV } } }"
)
BOTH = pytest.mark.parametrize("transport", ["ws", "sse"])

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="Node.js 20 or newer, with npm, is not installed"
)


@pytest.fixture(scope="module")
def clients() -> Path:
    """The folder of the clients, installed as its lock file says."""
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        ran = subprocess.run(["npm", "ci", "--silent"], cwd=FOLDER, capture_output=True, text=True, check=False)
        if ran.returncode:
            pytest.skip(f"npm could not install the clients: {ran.stderr[-300:]}")
        installed.touch()
    return FOLDER


class Follower:
    """A Node process that prints what it receives."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def next(self) -> Any:
        assert self.process.stdout is not None
        line = await asyncio.wait_for(self.process.stdout.readline(), 20)
        assert line, "the client ended without a word"
        return json.loads(line)

    async def update(self) -> Any:
        result = await self.next()
        assert "errors" not in result, result
        return result["data"]["deviceUpdates"]


@asynccontextmanager
async def following(
    folder: Path, transport: str, stack: Stack, token: str | None, **variables: Any
) -> AsyncIterator[Follower]:
    arguments = [transport, f"{stack.url}/graphql", token or "", UPDATES, json.dumps(variables)]
    process = await asyncio.create_subprocess_exec(
        "node", str(folder / "follow.mjs"), *arguments, stdout=asyncio.subprocess.PIPE
    )
    try:
        yield Follower(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@BOTH
async def test_the_client_gets_an_event_and_resumes_after_its_cursor(
    transport: str, clients: Path, stack: Stack, org: Organisation
) -> None:
    device, other = await org.device(), await org.device()
    registered = await logged(org.viewer, 2, types=["device.registered"])
    options = {"ids": [device.id], "after": registered[-1]["cursor"]}
    async with AsyncExitStack() as first:
        async with one_more_subscriber(org.viewer):
            one = following(clients, transport, stack, org.viewer.token, **options)
            follower = await first.enter_async_context(one)
        for reporting, voltage in ((other, "3.1"), (device, "3.2")):
            assert (await reporting.heartbeat(headers={"X-Battery-V": voltage})).status_code == 200
        update = await follower.update()
    cursor = update.pop("cursor")
    assert update == {"type": "device.checked_in", "device": {"key": device.key, "batteryV": 3.2}}

    for voltage in ("3.3", "3.4"):
        assert (await device.heartbeat(headers={"X-Battery-V": voltage})).status_code == 200
    options["after"] = cursor
    async with following(clients, transport, stack, org.viewer.token, **options) as follower:
        cursors = [(await follower.update())["cursor"] for _ in range(2)]
        assert (await device.heartbeat(headers={"X-Battery-V": "3.5"})).status_code == 200
        live = await follower.update()
    assert live["device"]["batteryV"] == 3.5
    beats = await logged(org.viewer, 4, types=["device.checked_in"], subjectIds=[device.id])
    assert [cursor, *cursors, live["cursor"]] == [event["cursor"] for event in beats]


@BOTH
async def test_the_client_is_told_when_its_session_ends(
    transport: str, clients: Path, stack: Stack, org: Organisation
) -> None:
    async with AsyncExitStack() as running:
        async with one_more_subscriber(org.viewer):
            one = following(clients, transport, stack, org.viewer.token)
            follower = await running.enter_async_context(one)
        await org.viewer.run("mutation { logout }")
        end = await follower.next()
    if transport == "ws":
        assert end == {"failure": 4403}
    else:
        assert end["errors"][0]["extensions"]["code"] == "SESSION_OVER"


@BOTH
async def test_the_client_is_told_why_it_may_not(
    transport: str, clients: Path, stack: Stack, org: Organisation
) -> None:
    device = await org.device()
    async with following(clients, transport, stack, device.token) as follower:
        answer = await follower.next()
    errors = answer["failure"] if transport == "ws" else answer["errors"]
    assert errors[0]["extensions"]["code"] == "FORBIDDEN"


def test_the_lock_file_names_no_place_to_download_from() -> None:
    packages = json.loads((FOLDER / "package-lock.json").read_text())["packages"]
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert all("integrity" in package for name, package in packages.items() if name)
