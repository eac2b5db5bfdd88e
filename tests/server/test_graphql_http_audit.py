"""GraphQL over HTTP as the audits of npm's `graphql-http` understand the specification: every one is ok.

The caller is signed in as nobody; some audits ask for `__type`, which the tests' server allows.
"""

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.stack import Stack

FOLDER = Path(__file__).with_name("npm")
AUDITS = 61

pytestmark = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")), reason="Node.js 20 or newer, with npm, is not installed"
)


@pytest.fixture(scope="module")
def audit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script, in a copy of its folder: the tests of the clients may be installing in the original."""
    folder = tmp_path_factory.mktemp("npm") / "audit"
    shutil.copytree(FOLDER, folder, ignore=shutil.ignore_patterns("node_modules"))
    command = ["npm", "ci", "--silent", "--prefer-offline"]
    ran = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ran.returncode:
        pytest.skip(f"npm could not install the audits: {ran.stderr[-300:]}")
    return folder / "audit.mjs"


def test_every_audit_is_ok(audit: Path, stack: Stack) -> None:
    command = ["node", str(audit), f"{stack.url}/graphql"]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert ran.returncode == 0, ran.stderr[-2000:]
    results: list[dict[str, Any]] = json.loads(ran.stdout)
    failed = [f"{each['id']} {each['name']}: {each['reason']}" for each in results if each["status"] != "ok"]
    assert not failed, "\n".join(["", *failed])
    assert len({each["id"] for each in results}) == len(results) == AUDITS
