"""`quartermaster storage verify --repair`: what it mends, what it had better leave, and what it ends with."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess

import asyncpg
import pytest

from tests.conftest import StackOf
from tests.server.test_settings import quartermaster
from tests.support.api import Organisation
from tests.support.images import image_of, link_to, originals, settled, variant_of
from tests.support.photos import photo
from tests.support.sql import execute
from tests.support.stack import Stack
from tests.support.stores import folder_of

_AT_ONCE = 100_000  # findings of a sort in one run
# READY images whose blobs never were: two that are made of the original, which come first in the order of keys.
_LOST = """INSERT INTO images (id, client_id, source, status, content_type, size_bytes, sha256, original_key,
  clean_key, display_key, received_at, captured_at)
SELECT gen_random_uuid(), client_id, source, status, content_type, size_bytes, sha256, 'originals/lost/' || n,
  'clean/lost/' || n, 'display/lost/' || n, received_at, captured_at
FROM images, generate_series(1, {count}) AS n WHERE id = '{image}'"""
_FOUND = "DELETE FROM images WHERE original_key LIKE 'originals/lost/%'"


@pytest.fixture(scope="module")
def stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_STORAGE_GRACE_HOURS="1") as stack:
        yield stack


def _repaired(stack: Stack, folder: Path, *arguments: str) -> "CompletedProcess[str]":
    environment = {name: value for name, value in stack.environment.items() if name.startswith("QM_")}
    return quartermaster("storage", "verify", "--repair", *arguments, folder=folder, **environment)


async def _image(
    stack: Stack, org: Organisation, size: tuple[int, int] = (320, 240)
) -> tuple[str, dict[str, Path]]:
    """One that is READY: its id, and where its blobs are, by kind."""
    sent = photo(size=size)
    image_id = (await (await org.device()).upload(sent)).json()["imageId"]
    assert (await settled(org.viewer, image_id))["status"] == "READY"
    blobs = folder_of(stack) / "blobs"
    return image_id, {path.relative_to(blobs).parts[0]: path for path in originals(stack.data_dir, sent)}


async def _statuses(stack: Stack) -> dict[str, int]:
    """How many images there are of each status."""
    connection = await asyncpg.connect(stack.environment["QM_DATABASE_URL"])
    try:
        rows = await connection.fetch("SELECT status, count(*) FROM images GROUP BY status")
    finally:
        await connection.close()
    return {row["status"]: row["count"] for row in rows}


async def test_images_without_a_whole_original_stay_as_they_are(
    stack: Stack, org: Organisation, tmp_path: Path
) -> None:
    made = [await _image(stack, org) for _ in range(4)]
    kept = [files["originals"].read_bytes() for _, files in made]
    for _, files in made:
        files["thumbnails"].unlink()
    made[1][1]["originals"].write_bytes(kept[1][:1000])
    made[2][1]["originals"].write_bytes(b"x" * len(kept[2]))
    made[3][1]["originals"].unlink()

    mended = _repaired(stack, tmp_path)
    assert mended.returncode == 1
    assert "1 images are made again" in mended.stdout
    assert "Not made again: 3 images" in mended.stderr
    await settled(org.viewer, made[0][0])
    assert await variant_of(org.viewer, made[0][0], "THUMBNAIL")
    for image_id, _ in made[1:]:
        assert (await image_of(org.viewer, image_id))["status"] == "READY"
        assert await variant_of(org.viewer, image_id, "DISPLAY")

    for number in (1, 3):  # an operator has found them in a backup
        made[number][1]["originals"].write_bytes(kept[number])
    mended = _repaired(stack, tmp_path)
    assert "2 images are made again" in mended.stdout
    assert mended.returncode == 1, "one is missing still"
    made[2][1]["originals"].write_bytes(kept[2])
    for image_id, _ in (made[1], made[3]):
        await settled(org.viewer, image_id)
    mended = _repaired(stack, tmp_path)
    assert (mended.returncode, mended.stderr.count("Missing")) == (0, 1), mended.stdout
    await settled(org.viewer, made[2][0])
    assert set(await _statuses(stack)) == {"READY"}


async def test_sizes_that_were_lost_are_made_when_somebody_asks(
    stack: Stack, org: Organisation, tmp_path: Path
) -> None:
    image_id, _ = await _image(stack, org, size=(2000, 1500))
    first = await variant_of(org.viewer, image_id, "PREVIEW")
    (file,) = (folder_of(stack) / "blobs/variants").rglob(f"{image_id}/*")
    file.unlink()
    mended = _repaired(stack, tmp_path)
    assert mended.returncode == 0, mended.stdout
    assert "0 images are made again, 1 sizes are when somebody asks" in mended.stdout
    assert "0 missing" in _repaired(stack, tmp_path).stdout
    assert await variant_of(org.viewer, image_id, "PREVIEW") == first
    assert file.exists()


async def test_a_store_that_is_not_there_changes_no_rows(stack: Stack, org: Organisation, tmp_path: Path) -> None:
    image_id, _ = await _image(stack, org, size=(2000, 1500))
    link = await link_to(org.viewer, image_id, "PREVIEW")
    assert (await org.viewer.http.get(link)).status_code == 200
    before = await _statuses(stack)
    blobs = folder_of(stack) / "blobs"
    blobs.rename(blobs.with_name("unmounted"))
    refused = _repaired(stack, tmp_path)
    blobs.with_name("unmounted").rename(blobs)
    assert refused.returncode == 1
    assert "Nothing was mended. The store has none of the" in refused.stderr
    assert await _statuses(stack) == before
    well = _repaired(stack, tmp_path)
    assert (well.returncode, well.stderr) == (0, "")


async def test_more_than_is_looked_at_at_once_is_not_made_again(
    stack: Stack, org: Organisation, tmp_path: Path
) -> None:
    """As when one disk of several is away: which originals are there is not to be seen in the list."""
    image_id, _ = await _image(stack, org)
    before = await _statuses(stack)
    count = _AT_ONCE // 2 + 1
    await execute(stack.environment["QM_DATABASE_URL"], _LOST.format(count=count, image=image_id))
    refused = _repaired(stack, tmp_path)
    after = await _statuses(stack)
    await execute(stack.environment["QM_DATABASE_URL"], _FOUND)
    assert refused.returncode == 1
    assert f"Nothing was mended. {3 * count} blobs are missing, more than the {_AT_ONCE}" in refused.stderr
    assert after == {"READY": before["READY"] + count}


async def test_as_long_as_some_are_named_by_nobody_all_is_not_well(
    stack: Stack, org: Organisation, tmp_path: Path
) -> None:
    await _image(stack, org)
    folder = folder_of(stack) / "blobs/display/nobodys"
    folder.mkdir(parents=True)
    then = time.time() - 2 * 3600
    for number in range(_AT_ONCE + 1):
        path = folder / f"{number}.webp"
        path.touch()
        os.utime(path, (then, then))
    first = _repaired(stack, tmp_path, "--max-share", "1")
    assert first.returncode == 1
    assert f"{_AT_ONCE} taken away" in first.stdout
    assert "1 more are named by nobody: run it again." in first.stderr
    second = _repaired(stack, tmp_path, "--max-share", "1")
    assert (second.returncode, "1 taken away" in second.stdout) == (0, True)
    assert not list(folder.iterdir())
