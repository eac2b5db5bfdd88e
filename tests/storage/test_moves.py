"""`quartermaster storage move` where it must not: one store under two addresses, and sources that are none."""

from pathlib import Path

import pytest

from tests.server.test_settings import quartermaster
from tests.support.stores import keys_of
from tests.support.swift import S3Server

_KEPT = {"originals/2026/a.jpg": b"first", "display/2026/a.webp": b"second"}


def _filled(folder: Path) -> Path:
    for key, data in _KEPT.items():
        path = folder / "blobs" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def _blobs(folder: Path) -> dict[str, bytes]:
    blobs = folder / "blobs"
    return {path.relative_to(blobs).as_posix(): path.read_bytes() for path in blobs.rglob("*") if path.is_file()}


def _refusal(source: str, target: str, folder: Path, **environment: str) -> str:
    moved = quartermaster("storage", "move", source, target, "--delete", folder=folder, **environment)
    assert moved.returncode == 1, moved.stdout
    assert not moved.stdout
    return moved.stderr


def test_a_folder_under_two_names_is_one_store(tmp_path: Path) -> None:
    store, link = _filled(tmp_path / "store"), tmp_path / "link"
    link.symlink_to(store)
    assert "one and the same store" in _refusal(f"folder://{link}", f"folder://{store}", tmp_path)
    assert "one and the same store" in _refusal(f"folder://{store}", f"folder://{store}/../store", tmp_path)
    assert _blobs(store) == _KEPT


@pytest.mark.parametrize("swapped", [False, True])
def test_a_folder_within_a_store_is_no_other_store(tmp_path: Path, swapped: bool) -> None:
    outer = _filled(tmp_path / "outer")
    inner = _filled(outer / "blobs/inner")
    before = _blobs(outer)
    places = [f"folder://{outer}", f"folder://{inner}"]
    source, target = reversed(places) if swapped else places
    assert "One of these stores lies in the other" in _refusal(source, target, tmp_path)
    assert _blobs(outer) == before


def test_folders_side_by_side_are_two_stores(tmp_path: Path) -> None:
    """Although one is below the other: what counts is where the blobs are."""
    source, target = _filled(tmp_path / "store"), tmp_path / "store/new"
    moved = quartermaster(
        "storage", "move", f"folder://{source}", f"folder://{target}", "--delete", folder=tmp_path
    )
    assert (moved.returncode, moved.stderr) == (0, "")
    assert (_blobs(source), _blobs(target)) == ({}, _KEPT)


def test_a_bucket_under_two_addresses_is_one_store(s3: S3Server, tmp_path: Path) -> None:
    source, keys = _filled(tmp_path / "store"), keys_of(s3)
    here = f"s3://twice-named/here?endpoint={s3.endpoint}"
    filled = quartermaster("storage", "move", f"folder://{source}", here, folder=tmp_path, **keys)
    assert filled.returncode == 0, filled.stderr
    for other in (f"{here}&region=us-east-1", here.replace("127.0.0.1", "localhost")):
        assert "one and the same store" in _refusal(here, other, tmp_path, **keys)
    whole, below = here.replace("/here", ""), here.replace("/here", "/here/below")
    nested = (here, whole), (whole, here), (here, below), (below, f"{here}&region=us-east-1")
    for source_url, target_url in nested:
        refused = _refusal(source_url, target_url, tmp_path, **keys)
        assert "One of these stores lies in the other" in refused, (source_url, target_url)
    back = quartermaster("storage", "move", here, f"folder://{tmp_path / 'back'}", folder=tmp_path, **keys)
    assert back.returncode == 0, back.stderr
    assert _blobs(tmp_path / "back") == _KEPT, "nothing is lost, and no probe is left"


def test_a_source_that_is_not_there_is_not_made(s3: S3Server, tmp_path: Path) -> None:
    target = f"folder://{tmp_path / 'target'}"
    assert "There is no folder" in _refusal(f"folder://{tmp_path / 'mistyped'}", target, tmp_path)
    assert not (tmp_path / "mistyped").exists()
    for _ in range(2):
        refused = _refusal(s3.url("mistyped-bucket"), target, tmp_path, **keys_of(s3))
        assert "refused with NoSuchBucket" in refused


def test_emptying_the_store_that_the_settings_name_is_warned_of(tmp_path: Path) -> None:
    store, target = _filled(tmp_path / "store"), tmp_path / "target"
    arguments = ("storage", "move", f"folder://{store}", f"folder://{target}")
    named = f"folder://{store}"
    assert not quartermaster(*arguments, folder=tmp_path, QM_STORAGE_URL=named).stderr
    warned = quartermaster(*arguments, "--delete", folder=tmp_path, QM_STORAGE_URL=named)
    assert warned.returncode == 0
    assert "set it to the target before the server starts" in warned.stderr
    assert warned.stderr.count("\n") == 1
    _filled(store)
    assert not quartermaster(*arguments, "--delete", folder=tmp_path, QM_STORAGE_URL=f"folder://{target}").stderr
