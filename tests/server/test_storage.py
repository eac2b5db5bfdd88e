"""The blob store that is a folder, on a real one: what is durable, what is refused, and what is left behind."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from domain.kit.blobs import BlobInfo, LinkSigner, StoreStats
from domain.kit.blobs.folder import FolderStore
from domain.kit.errors import Invalid, NotFound, Refusal, Unavailable

_KEY = "originals/2026/01/02/030405-abc.jpg"
_MEGABYTE = 1 << 20


@pytest.fixture
def signer() -> LinkSigner:
    return LinkSigner(b"k" * 32, "http://quartermaster.test/")


@pytest.fixture
def store(tmp_path: Path, signer: LinkSigner) -> FolderStore:
    return FolderStore(tmp_path / "storage", signer)


def _files(store: FolderStore) -> list[str]:
    """Everything below the folder, finished or not."""
    return sorted(path.relative_to(store.root).as_posix() for path in store.root.rglob("*") if path.is_file())


async def _all(blobs: AsyncIterator[BlobInfo]) -> list[BlobInfo]:
    return [info async for info in blobs]


# In and out.


async def test_what_was_put_is_there(store: FolderStore) -> None:
    await store.put(_KEY, b"bytes")
    assert await store.get(_KEY) == b"bytes"
    assert (await store.exists(_KEY), await store.size(_KEY)) == (True, 5)
    assert _files(store) == [f"blobs/{_KEY}"]


async def test_another_process_finds_it(store: FolderStore, signer: LinkSigner) -> None:
    await store.put(_KEY, b"bytes")
    assert await FolderStore(store.root, signer).get(_KEY) == b"bytes"


async def test_a_blob_may_be_empty(store: FolderStore) -> None:
    await store.put(_KEY, b"")
    assert (await store.get(_KEY), await store.size(_KEY)) == (b"", 0)


async def test_putting_again_replaces_the_whole_blob(store: FolderStore) -> None:
    await store.put(_KEY, b"long before")
    await store.put(_KEY, b"after")
    assert await store.get(_KEY) == b"after"


@pytest.mark.parametrize("size", [1, _MEGABYTE - 1, _MEGABYTE, 3 * _MEGABYTE + 7])
async def test_a_staged_blob_is_its_chunks_in_order(store: FolderStore, size: int) -> None:
    data = os.urandom(size)
    staged = store.stage()
    for start in range(0, size, 65_536):
        await staged.write(data[start : start + 65_536])
    assert staged.size == size
    assert not await store.exists(_KEY)
    await staged.commit(_KEY)
    assert await store.get(_KEY) == data
    assert _files(store) == [f"blobs/{_KEY}"]


@pytest.mark.parametrize("size", [0, 10, 2 * _MEGABYTE])
async def test_what_is_discarded_leaves_nothing(store: FolderStore, size: int) -> None:
    staged = store.stage()
    await staged.write(bytes(size))
    await staged.discard()
    assert _files(store) == []


async def test_many_may_be_staged_at_once_even_under_one_key(store: FolderStore) -> None:
    async def one(number: int) -> None:
        staged = store.stage()
        await staged.write(bytes([number]) * 1_500_000)
        await staged.commit(_KEY)

    await asyncio.gather(*(one(number) for number in range(8)))
    data = await store.get(_KEY)
    assert data == data[:1] * 1_500_000
    assert _files(store) == [f"blobs/{_KEY}"]


async def test_a_copy_is_a_blob_of_its_own(store: FolderStore) -> None:
    await store.put(_KEY, b"bytes")
    await store.copy(_KEY, "copies/a.jpg")
    await store.delete_many([_KEY])
    assert await store.get("copies/a.jpg") == b"bytes"


async def test_what_is_not_there_is_not_found(store: FolderStore) -> None:
    assert await store.exists(_KEY) is False
    for question in (store.get(_KEY), store.size(_KEY), store.copy(_KEY, "copies/a.jpg")):
        with pytest.raises(NotFound):
            await question
    assert _files(store) == []


async def test_deleting_counts_what_was_there(store: FolderStore) -> None:
    for name in ("a", "b", "c"):
        await store.put(f"some/{name}", b"x")
    assert await store.delete_many(["some/a", "some/never", "some/b", "some/a"]) == 2
    assert _files(store) == ["blobs/some/c"]
    assert await store.delete_many([]) == 0


# Looking around.


async def test_a_scan_finds_what_begins_with_the_prefix(store: FolderStore) -> None:
    for key in ("images/1/a", "images/1/b", "images/10/a", "images/2/a", "other/1/a"):
        await store.put(key, key.encode())
    found = await _all(store.scan("images/1"))
    assert [(info.key, info.size) for info in found] == [
        ("images/1/a", 10),
        ("images/1/b", 10),
        ("images/10/a", 11),
    ]
    newest = (store.root / "blobs" / "images/1/a").stat().st_mtime
    assert found[0].modified == newest
    assert [info.key for info in await _all(store.scan("images/1/"))] == ["images/1/a", "images/1/b"]
    assert [info.key for info in await _all(store.scan("images/1/b"))] == ["images/1/b"]
    assert len(await _all(store.scan(""))) == 5
    assert await _all(store.scan("nothing/")) == []


async def test_a_scan_does_not_mind_blobs_that_go_meanwhile(store: FolderStore) -> None:
    keys = [f"images/{folder}/{name}" for folder in range(3) for name in range(3)]
    for key in keys:
        await store.put(key, b"x")
    found = []
    async for info in store.scan("images/"):
        found.append(info.key)
        if len(found) == 1:
            await store.delete_many(["images/1/0", "images/2/0", "images/2/1", "images/2/2"])
    assert set(found) == set(keys) - {"images/1/0", "images/2/0", "images/2/1", "images/2/2"}


async def test_a_scan_passes_over_a_name_that_leads_nowhere(store: FolderStore) -> None:
    await store.put("images/a", b"x")
    (store.root / "blobs/images/gone").symlink_to(store.root / "nowhere")
    assert [info.key for info in await _all(store.scan(""))] == ["images/a"]


async def test_stats_count_finished_blobs(store: FolderStore) -> None:
    empty = await store.stats()
    assert (empty.blobs, empty.bytes) == (0, 0)
    await store.put("images/a", bytes(1000))
    await store.put("other/b", bytes(24))
    staged = store.stage()
    await staged.write(bytes(2 * _MEGABYTE))
    stats = await store.stats()
    await staged.discard()
    assert stats == StoreStats(2, 1024, stats.free_bytes)
    assert stats.free_bytes is not None
    assert stats.free_bytes > 0


# Keys.


@pytest.mark.parametrize(
    "key",
    [
        "",
        "a",
        "/etc/passwd",
        "../a/b",
        "a/../b",
        "a/..",
        "a/b/../../../c",
        "a/..b",
        "a//b",
        "a/",
        "a/.b",
        ".a/b",
        "a/b\n",
        "a/b\0",
        "a\\b/c",
        "A/b",
        "a/é",
        "a/b c",
        "a/b%2e",
        "-a/b",
    ],
)
async def test_a_key_that_is_no_plain_path_is_refused_everywhere(store: FolderStore, key: str) -> None:
    await store.put(_KEY, b"x")
    large = bytes(2 * _MEGABYTE)
    questions = [
        store.put(key, b"x"),
        store.put(key, large),
        store.get(key),
        store.size(key),
        store.exists(key),
        store.delete_many([_KEY, key]),
        store.copy(_KEY, key),
        store.copy(key, _KEY),
    ]
    for question in questions:
        with pytest.raises(Invalid):
            await question
    assert _files(store) == [f"blobs/{_KEY}"]  # deleting is all or nothing, and nothing was left on its way in


async def test_a_commit_under_a_bad_key_leaves_the_blob_to_be_discarded(store: FolderStore) -> None:
    staged = store.stage()
    await staged.write(bytes(2 * _MEGABYTE))
    with pytest.raises(Invalid):
        await staged.commit("../a/b")
    await staged.discard()
    assert _files(store) == []


# Links.


def _query(link: str) -> tuple[str, str]:
    query = parse_qs(urlsplit(link).query)
    return query["until"][0], query["signature"][0]


async def test_a_link_names_the_blob_and_is_signed_for_it_alone(store: FolderStore, signer: LinkSigner) -> None:
    link = store.signed_url(_KEY, expires_in=3600)
    assert link.startswith(f"http://quartermaster.test/media/{_KEY}?")
    until, signature = _query(link)
    assert 3600 - 5 <= signer.seconds_left(_KEY, until, signature) <= 7200
    assert signer.seconds_left("originals/other.jpg", until, signature) == 0
    assert signer.seconds_left(_KEY, str(int(until) + 3600), signature) == 0
    assert signer.seconds_left(_KEY, until, signature[:-1]) == 0
    stranger = LinkSigner(b"j" * 32, "http://quartermaster.test")
    assert stranger.seconds_left(_KEY, until, signature) == 0


async def test_a_link_that_is_over_has_no_time_left(store: FolderStore, signer: LinkSigner) -> None:
    until, signature = _query(store.signed_url(_KEY, expires_in=-7200))
    assert signer.seconds_left(_KEY, until, signature) < 0


# A folder that cannot be used. As root nothing is forbidden, so a file stands where a folder should be.


def _questions(store: FolderStore) -> list[tuple[str, object]]:
    return [
        ("put", store.put(_KEY, b"x")),
        ("put large", store.put(_KEY, bytes(2 * _MEGABYTE))),
        ("get", store.get(_KEY)),
        ("size", store.size(_KEY)),
        ("delete_many", store.delete_many([_KEY])),
        ("check", store.check()),
    ]


async def _outcomes(store: FolderStore) -> dict[str, type[BaseException] | None]:
    outcomes: dict[str, type[BaseException] | None] = {}
    for name, question in _questions(store):
        try:
            await question  # type: ignore[misc]
            outcomes[name] = None
        except Exception as error:  # noqa: BLE001 - what it is, is what is asked
            outcomes[name] = type(error)
    return outcomes


async def test_a_file_in_place_of_the_folder_is_unavailable(store: FolderStore) -> None:
    if store.root.exists():
        store.root.rmdir()
    store.root.write_bytes(b"")
    assert set((await _outcomes(store)).values()) == {Unavailable}
    with pytest.raises(Unavailable):
        await store.stats()


async def test_a_file_in_place_of_the_incoming_folder_is_unavailable_for_writing(store: FolderStore) -> None:
    await store.put(_KEY, b"before")
    (store.root / "incoming").rmdir()
    (store.root / "incoming").write_bytes(b"")
    for question in (store.put("a/b", b"x"), store.put("a/b", bytes(2 * _MEGABYTE)), store.check()):
        with pytest.raises(Unavailable) as caught:
            await question
        assert caught.value.retry_after > 0
        assert str(store.root) not in caught.value.message
    assert await store.get(_KEY) == b"before"


async def test_a_file_in_place_of_the_blobs_loses_nothing_that_was_acknowledged(store: FolderStore) -> None:
    store.root.mkdir(exist_ok=True)
    (store.root / "blobs").write_bytes(b"")
    for size in (1, 2 * _MEGABYTE):
        with pytest.raises(Unavailable):
            await store.put(_KEY, bytes(size))
    assert _files(store) == ["blobs"]


async def test_a_write_that_fails_in_the_middle_leaves_nothing_but_the_refusal(store: FolderStore) -> None:
    staged = store.stage()
    await staged.write(bytes(_MEGABYTE))
    (incoming,) = (store.root / "incoming").iterdir()
    incoming.unlink()
    incoming.mkdir()  # the next write finds no file it could go on with
    with pytest.raises(Refusal) as caught:
        await staged.write(bytes(_MEGABYTE))
    assert isinstance(caught.value, Unavailable)
    await staged.discard()
    assert not await store.exists(_KEY)


async def test_a_store_that_works_passes_its_check_and_stays_clean(store: FolderStore) -> None:
    await store.check()
    await store.check()
    assert _files(store) == []
