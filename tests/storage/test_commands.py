"""`quartermaster storage …`, as an operator types it: verifying, mending, and moving to another store."""

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import StackOf
from tests.server.test_settings import quartermaster
from tests.storage.operations import put
from tests.support.api import Organisation
from tests.support.images import settled, variant_of
from tests.support.photos import photo
from tests.support.stack import Stack
from tests.support.stores import folder_of, keys_in, keys_of, lose
from tests.support.swift import S3Server

_OLD = 2 * 3600.0


@pytest.fixture
def stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_STORAGE_GRACE_HOURS="1") as stack:
        yield stack


def _environment(stack: Stack) -> dict[str, str]:
    return {name: value for name, value in stack.environment.items() if name.startswith("QM_")}


async def _images(org: Organisation, count: int) -> dict[str, bytes]:
    """Images that are READY, by id."""
    made = {}
    for _ in range(count):
        image = photo()
        image_id = (await (await org.device()).upload(image)).json()["imageId"]
        await settled(org.viewer, image_id)
        made[image_id] = image
    return made


async def test_verify_finds_what_is_wrong_and_mends_what_can_be(stack: Stack, tmp_path: Path) -> None:
    environment, report = _environment(stack), tmp_path / "report.jsonl"
    async with stack.signed_in() as admin:
        org = await Organisation.made(admin)
        images = await _images(org, 4)
        well = quartermaster("storage", "verify", "--deep", folder=tmp_path, **environment)
        assert (well.returncode, well.stderr) == (0, "")
        assert "0 missing, 0 lost, 0 of the wrong size, 0 with other bytes." in well.stdout

        kept = [{key: key for key in await keys_in(stack) if _names(image, key)} for image in images.values()]
        of_kind = [{key.partition("/")[0]: key for key in keys} for keys in kept]
        await lose(stack, [of_kind[0]["thumbnails"], of_kind[1]["originals"]])
        blobs = folder_of(stack) / "blobs"
        (blobs / of_kind[2]["originals"]).write_bytes(b"cut off")
        original = blobs / of_kind[3]["originals"]
        original.write_bytes(b"x" * original.stat().st_size)
        await put(stack, "display/nobodys.webp", age=_OLD)
        arguments = ("storage", "verify", "--deep", "--report", str(report))
        found = quartermaster(*arguments, folder=tmp_path, **environment)
        assert found.returncode == 1
        told = {(line["finding"], line["key"]) for line in map(json.loads, report.read_text().splitlines())}
        assert told == {
            ("Missing", of_kind[0]["thumbnails"]),
            ("Lost", of_kind[1]["originals"]),
            ("Of the wrong size", of_kind[2]["originals"]),
            ("With other bytes", of_kind[2]["originals"]),
            ("With other bytes", of_kind[3]["originals"]),
            ("Named by nobody", "display/nobodys.webp"),
        }
        assert "display/nobodys.webp" in await keys_in(stack)

        mended = quartermaster("storage", "verify", "--repair", folder=tmp_path, **environment)
        assert mended.returncode == 1, "what is lost stays lost"
        assert "1 taken away, 1 images are made again," in mended.stdout
        assert "display/nobodys.webp" not in await keys_in(stack)
        image_id = next(iter(images))
        await settled(org.viewer, image_id)
        assert await variant_of(org.viewer, image_id, "THUMBNAIL")


def _names(image: bytes, key: str) -> bool:
    return hashlib.sha256(image).hexdigest()[:32] in key


async def test_repair_is_held_by_the_brakes(stack: Stack, tmp_path: Path) -> None:
    async with stack.signed_in() as admin:
        await _images(await Organisation.made(admin), 1)
    await put(stack, "display/a.webp", age=_OLD)
    arguments = ("storage", "verify", "--repair")
    held = quartermaster(*arguments, folder=tmp_path, **_environment(stack))
    assert held.returncode == 1
    assert "more than a share of 0.1" in held.stderr
    assert "display/a.webp" in await keys_in(stack)
    taken = quartermaster(*arguments, "--max-share", "1", folder=tmp_path, **_environment(stack))
    assert taken.returncode == 0, taken.stdout + taken.stderr
    assert "display/a.webp" not in await keys_in(stack)


async def test_a_store_moves_to_a_bucket_and_back(
    s3: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, back = tmp_path / "from", tmp_path / "back"
    kept = {f"originals/2026/0{number}.jpg": os.urandom(10_000 * number) for number in range(9)}
    kept["firmware/large.bin"] = os.urandom(11 << 20)
    for key, data in kept.items():
        path = folder / "blobs" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    bucket, environment = s3.url("moved-bucket/here"), keys_of(s3)

    def move(*arguments: str) -> tuple[int, str]:
        done = quartermaster("storage", "move", *arguments, folder=tmp_path, **environment)
        assert not done.stderr, done.stderr
        return done.returncode, done.stdout

    size = sum(map(len, kept.values()))
    expected = f"10 blobs ({size} bytes) copied, 0 were there already, 0 deleted from the source, 0 failed.\n"
    assert move(f"folder://{folder}", bucket) == (0, expected)
    code, told = move(f"folder://{folder}", bucket)  # going on after it was stopped, or once more
    assert (code, told.partition(", 0 deleted")[0]) == (0, "0 blobs (0 bytes) copied, 10 were there already")
    code, told = move(bucket, f"folder://{back}", "--delete")
    assert (code, "10 deleted from the source" in told) == (0, True)
    files = [path for path in (back / "blobs").rglob("*") if path.is_file()]
    found = {path.relative_to(back / "blobs").as_posix(): path.read_bytes() for path in files}
    assert found == kept
    code, told = move(bucket, f"folder://{tmp_path / 'third'}")
    assert (code, told.partition(" copied")[0]) == (0, "0 blobs (0 bytes)")


def test_deep_moves_do_not_trust_what_has_the_same_size(tmp_path: Path) -> None:
    for name, data in (("a", b"right"), ("b", b"wrong")):
        path = tmp_path / name / "blobs/some/blob"
        path.parent.mkdir(parents=True)
        path.write_bytes(data)
    arguments = ("storage", "move", f"folder://{tmp_path / 'a'}", f"folder://{tmp_path / 'b'}")
    assert "1 were there already" in quartermaster(*arguments, folder=tmp_path).stdout
    assert "1 blobs (5 bytes) copied" in quartermaster(*arguments, "--deep", folder=tmp_path).stdout
    assert (tmp_path / "b/blobs/some/blob").read_bytes() == b"right"


@pytest.mark.parametrize(
    ("addresses", "right"),
    [
        (("folder:///a", "ftp://b"), "it looks like folder:///absolute/path or s3://bucket/prefix"),
        (("folder:///a", "s3://AB"), "a bucket's name has 3 to 63"),
        (("folder:///a", "s3://key:secret@bucket"), "keys are settings of their own"),
        (("folder:///a", "s3://bucket?endpoint=host"), "its endpoint looks like https://host:port"),
        (("folder:///a", "s3://bucket?colour=red"), "colour is none of endpoint, public_endpoint, region, style"),
        (("folder:///a", "folder:///a"), "one and the same store"),
    ],
)
def test_addresses_that_are_none_are_refused_in_words(
    tmp_path: Path, addresses: tuple[str, str], right: str
) -> None:
    refused = quartermaster("storage", "move", *addresses, folder=tmp_path)
    assert refused.returncode == 1
    assert right in refused.stderr


@pytest.mark.parametrize(
    ("environment", "right"),
    [
        ({"QM_STORAGE_URL": "s3://bucket?style=odd"}, "QM_STORAGE_URL is wrong: its style is path or virtual"),
        ({"QM_S3_ACCESS_KEY": "a"}, "QM_S3_ACCESS_KEY and QM_S3_SECRET_KEY are given together"),
        ({"QM_MEDIA_LINKS": "direct"}, "QM_MEDIA_LINKS=direct needs an s3:// address in QM_STORAGE_URL"),
    ],
)
def test_settings_that_are_wrong_stop_the_start(tmp_path: Path, environment: dict[str, str], right: str) -> None:
    refused = quartermaster("serve", folder=tmp_path, **environment)
    assert refused.returncode == 78
    assert right in refused.stderr
