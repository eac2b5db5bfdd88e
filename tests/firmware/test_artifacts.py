"""Artifacts: what is taken, what is refused and leaves nothing behind, and how they are noted and deleted."""

import base64
import hashlib
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.storage.backups import BACKUP_LOCK
from tests.firmware.operations import (
    CANCEL,
    DELETE,
    FIRMWARE,
    FIRMWARES,
    IMAGE,
    UPDATE,
    begun,
    sha256,
    upload,
    uploaded,
    wake,
)
from tests.support.api import Organisation
from tests.support.log import eventually, logged
from tests.support.problems import problem
from tests.support.stack import Stack
from tests.support.wire import answer_to, request_head, sent

_REGENERATE = "mutation ($id: ID!) { regenerateClientToken(id: $id) { token } }"


def stored(stack: Stack) -> set[Path]:
    """Every file of the store that is an artifact, or on its way to be one."""
    root = stack.data_dir / "storage"
    found = [*(root / "blobs" / "firmware").rglob("*"), *(root / "incoming").rglob("*")]
    return {path for path in found if path.is_file()}


async def count(org: Organisation) -> int:
    return int((await org.viewer.run(FIRMWARES))["firmwares"]["totalCount"])


async def test_it_is_kept_as_it_came(stack: Stack, org: Organisation) -> None:
    answer = await upload(org.operator, board="esp32-cam", note="Less noise.")
    assert answer.status_code == 201
    told = answer.json()
    assert told == {
        "firmwareId": told["firmwareId"],
        "version": "2.0.0",
        "board": "esp32-cam",
        "sha256": sha256(IMAGE),
        "sizeBytes": len(IMAGE),
        "warning": None,
    }
    me = (await org.operator.run("{ viewer { user { id } } }"))["viewer"]["user"]["id"]
    kept = (await org.viewer.run(FIRMWARE, id=told["firmwareId"]))["firmware"]
    assert (kept["note"], kept["uploaderKind"], kept["uploaderId"]) == ("Less noise.", "USER", me)
    assert (kept["sha256"], kept["sizeBytes"], kept["deletedAt"]) == (told["sha256"], len(IMAGE), None)
    (file,) = (stack.data_dir / "storage" / "blobs" / "firmware" / told["firmwareId"]).iterdir()
    assert file.read_bytes() == IMAGE
    (event,) = await logged(org.viewer, types=["firmware.uploaded"], subjectIds=[told["firmwareId"]])
    assert event["subjectKind"] == "FIRMWARE"
    assert event["data"]["sha256"] == sha256(IMAGE)


async def test_what_an_esp32_would_not_start_is_taken_with_a_warning(org: Organisation) -> None:
    told = (await upload(org.operator, b"\x7fELF and so on")).json()
    assert "0xE9" in told["warning"]
    assert (await org.viewer.run(FIRMWARE, id=told["firmwareId"]))["firmware"]["warning"] == told["warning"]


async def test_the_same_again_is_the_first_one(stack: Stack, org: Organisation) -> None:
    first = (await upload(org.operator)).json()
    before = stored(stack)
    again = await upload(org.operator, note="another note")
    assert (again.status_code, again.json()) == (200, first)
    assert stored(stack) == before
    assert await count(org) == 1


async def test_a_version_is_unique_for_a_board(stack: Stack, org: Organisation, other_org: Organisation) -> None:
    await uploaded(org.operator)
    await uploaded(org.operator, board="esp32-s3")
    before = stored(stack)
    problem(await upload(org.operator, IMAGE + b"!"), 409, "VERSION_TAKEN")
    problem(await upload(org.operator, IMAGE + b"!", board="esp32-s3"), 409, "VERSION_TAKEN")
    assert stored(stack) == before
    await uploaded(org.operator, IMAGE + b"!", board="esp32")
    await uploaded(org.operator, IMAGE + b"!", version="2.0.1")
    await uploaded(other_org.operator, IMAGE + b"!")


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Content-SHA256": sha256(IMAGE).upper()},
        {"Content-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(IMAGE).digest()).decode()}:"},
    ],
)
async def test_a_digest_is_checked(stack: Stack, org: Organisation, headers: dict[str, str]) -> None:
    before = stored(stack)
    problem(await upload(org.operator, IMAGE[:-1], headers=headers), 422, "DIGEST_MISMATCH")
    assert stored(stack) == before
    assert (await upload(org.operator, headers=headers)).status_code == 201


@pytest.mark.parametrize(
    ("said", "argument"),
    [
        ({"version": ""}, "version"),
        ({"version": "2.0 beta"}, "version"),
        ({"version": "../../etc"}, "version"),
        ({"version": "v" * 101}, "version"),
        ({"version": "2.0\x00"}, "version"),
        ({"board": "esp32/cam"}, "board"),
        ({"board": "b" * 65}, "board"),
        ({"note": "n" * 2001}, "note"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_what_cannot_be_is_named_before_the_body_is_taken(
    stack: Stack, org: Organisation, said: dict[str, Any], argument: str
) -> None:
    before = stored(stack)
    refusal = problem(await upload(org.operator, **said), 422, "BAD_USER_INPUT")
    assert refusal["details"]["argument"] == argument
    assert stored(stack) == before
    assert await count(org) == 0


async def test_text_that_the_database_does_not_take_is_no_defect(stack: Stack, org: Organisation) -> None:
    before = stored(stack)
    problem(await upload(org.operator, note="a\x00b"), 422, "BAD_USER_INPUT")
    assert stored(stack) == before


async def test_it_says_whose_it_is(org: Organisation, other_org: Organisation) -> None:
    problem(await upload(org.admin), 422, "BAD_USER_INPUT")
    problem(await upload(org.admin, clientId=str(uuid.uuid4())), 404, "NOT_FOUND")
    problem(await upload(org.admin, clientId="x"), 422, "BAD_USER_INPUT")
    problem(await upload(org.operator, clientId=other_org.id), 404, "NOT_FOUND")
    made = await uploaded(org.admin, clientId=org.id)
    assert (await org.viewer.run(FIRMWARE, id=made))["firmware"]["version"] == "2.0.0"
    assert (await other_org.viewer.run(FIRMWARE, id=made))["firmware"] is None


async def test_only_who_may_can_upload(org: Organisation) -> None:
    problem(await upload(org.viewer), 403, "FORBIDDEN")
    problem(await upload(org.operator.with_token((await org.device()).token)), 403, "FORBIDDEN")
    problem(await upload(org.operator.with_token(None)), 401, "UNAUTHENTICATED")
    token = (await org.operator.run(_REGENERATE, id=org.id))["regenerateClientToken"]["token"]
    await uploaded(org.operator.with_token(token))


async def _chunked() -> AsyncIterator[bytes]:
    yield IMAGE


async def test_a_body_that_is_no_file_is_refused(stack: Stack, org: Organisation) -> None:
    before = stored(stack)
    problem(await upload(org.operator, b""), 422, "EMPTY")
    problem(await upload(org.operator, _chunked()), 411, "LENGTH_REQUIRED")
    problem(await upload(org.operator, headers={"Content-Type": "text/html"}), 415, "UNSUPPORTED_MEDIA_TYPE")
    problem(await upload(org.operator, headers={"X-Content-SHA256": "no hex"}), 422, "BAD_USER_INPUT")
    assert stored(stack) == before


@pytest.mark.parametrize("length", ["16777217", "9" * 15])
async def test_what_is_too_large_is_refused_by_what_it_says(stack: Stack, org: Organisation, length: str) -> None:
    head = _head(org, length)
    status, _ = await answer_to(stack.url, head)
    assert status == 413


async def test_what_is_cut_off_leaves_nothing(stack: Stack, org: Organisation) -> None:
    before = stored(stack)
    async with sent(stack.url, _head(org, "8000000") + b"\xe9" * 4_000_000):

        async def arrives() -> bool:
            return stored(stack) != before

        await eventually(arrives, what="a file that is on its way")

    async def gone() -> bool:
        return stored(stack) == before

    await eventually(gone, what="that nothing is left of it")
    assert await count(org) == 0


def _head(org: Organisation, length: str) -> bytes:
    return request_head(
        "POST",
        "/v1/firmware?version=2.0.0",
        Authorization=f"Bearer {org.operator.token}",
        Content_Type="application/octet-stream",
        Content_Length=length,
    )


async def test_a_note_can_be_changed_and_nothing_else(org: Organisation) -> None:
    made = await uploaded(org.operator, note="first")
    for note in ("second", None):
        assert (await org.operator.run(UPDATE, id=made, note=note))["updateFirmware"]["note"] == note
    refusal = await org.operator.refused(UPDATE, id=made, note="n" * 2001)
    assert refusal["extensions"]["details"]["argument"] == "note"
    assert await org.viewer.code(UPDATE, id=made, note="mine") == "FORBIDDEN"
    events = await logged(org.viewer, 2, types=["firmware.updated"], subjectIds=[made])
    assert events[0]["data"] == {"before": {"note": "first"}, "after": {"note": "second"}}


async def test_it_is_deleted_with_its_bytes_unless_a_rollout_needs_it(stack: Stack, org: Organisation) -> None:
    device, made = await org.device(), await uploaded(org.operator)
    rollout = await begun(org.operator, made)
    offered = await wake(device)
    assert offered is not None
    refusal = await org.operator.refused(DELETE, id=made)
    assert refusal["extensions"]["code"] == "FIRMWARE_IN_USE"
    assert refusal["extensions"]["details"]["rolloutId"] == rollout["id"]
    await org.operator.run(CANCEL, id=rollout["id"])
    await org.operator.run(DELETE, id=made)
    problem(await org.operator.http.get(offered["url"]), 404, "NOT_FOUND")
    assert (await org.viewer.run(FIRMWARE, id=made))["firmware"]["deletedAt"]
    assert await count(org) == 0
    assert await org.operator.code(DELETE, id=made) == "NOT_FOUND"
    assert await org.operator.code(UPDATE, id=made, note="x") == "NOT_FOUND"
    await uploaded(org.operator, IMAGE + b"!")  # the version is free again
    past: dict[str, Any] = (await org.viewer.run("{ rollouts { nodes { firmware { id } } } }"))["rollouts"]
    assert past["nodes"] == [{"firmware": {"id": made}}]


async def test_a_backup_that_is_under_way_keeps_its_bytes(
    stack: Stack, org: Organisation, database_url: str
) -> None:
    made = await uploaded(org.operator)
    backup = await asyncpg.connect(database_url)
    await backup.execute("SELECT pg_advisory_lock($1)", BACKUP_LOCK)
    await org.operator.run(DELETE, id=made)
    await backup.close()
    (file,) = (stack.data_dir / "storage" / "blobs" / "firmware" / made).iterdir()
    assert file.read_bytes() == IMAGE


async def test_the_list_is_paged_and_filtered(org: Organisation) -> None:
    made = [await uploaded(org.operator, version=f"1.{number}", board="b") for number in range(3)]
    other = await uploaded(org.operator, version="1.1")
    page = (await org.viewer.run(FIRMWARES, first=3))["firmwares"]
    assert [node["id"] for node in page["nodes"]] == [other, *made[:0:-1]]
    assert page["totalCount"] == 4
    rest = (await org.viewer.run(FIRMWARES, first=3, after=page["pageInfo"]["endCursor"]))["firmwares"]
    assert [node["id"] for node in rest["nodes"]] == made[:1]
    found = (await org.viewer.run(FIRMWARES, filter={"versions": ["1.1", "1.2"], "boards": ["b"]}))["firmwares"]
    assert [node["id"] for node in found["nodes"]] == made[:0:-1]
    assert found["totalCount"] == 2
