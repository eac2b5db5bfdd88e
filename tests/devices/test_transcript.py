"""The transcript in docs/devices.md, run as it stands there."""

import asyncio
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.api import Organisation
from tests.support.photos import photo
from tests.support.stack import Stack

_DOCS = Path(__file__).parents[2] / "docs" / "devices.md"
_STEP = re.compile(r"```console\n\$ (?P<command>.*?(?<!\\)\n)(?P<answer>.*?)```", re.DOTALL)
_SAVE = "mutation ($mac: MacAddress!, $content: JSON!) { saveConfig(mac: $mac, content: $content) { revision } }"
_SEND = """mutation ($id: ID!) {
  sendDeviceCommand(deviceId: $id, command: {type: CAPTURE_NOW}) { id }
}"""


def steps() -> list[tuple[str, str]]:
    return [(found["command"], found["answer"]) for found in _STEP.finditer(_DOCS.read_text())]


def matches(expected: str, answer: str) -> bool:
    """Whether they are equal, `…` standing for anything."""
    return re.fullmatch(".+?".join(map(re.escape, expected.strip().split("…"))), answer.strip()) is not None


async def test_the_transcript_is_true(org: Organisation, stack: Stack, tmp_path: Path) -> None:
    device = await org.device(mac="a4-cf-12-0b-9e-01")
    content = {"deviceName": "Top shelf", "enableOTA": True}
    saved = (await org.operator.run(_SAVE, mac="a4-cf-12-0b-9e-01", content=content))["saveConfig"]
    (tmp_path / "photo.jpg").write_bytes(photo())
    environment = {"SERVER": stack.url, "KEY": device.key, "TOKEN": device.token, "PATH": "/usr/bin:/bin"}
    environment["VERSION"] = str(saved["revision"])
    assert len(steps()) == 6
    for command, expected in steps():
        if "captureNow" in expected:
            await org.operator.run(_SEND, id=device.id)
        shell = await asyncio.create_subprocess_exec(
            "bash", "-c", command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        answer, complaints = [output.decode() for output in await shell.communicate()]
        assert matches(expected, answer), f"{command}\n{answer}\n{complaints}"


@pytest.mark.parametrize(("expected", "answer", "same"), [("a…c", "abc", True), ("a…c", "ab", False)])
def test_an_ellipsis_stands_for_anything(expected: str, answer: str, same: bool) -> None:
    assert matches(expected, answer) is same
