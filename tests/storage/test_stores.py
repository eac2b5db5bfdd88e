"""What every blob store promises, on a folder and on a real S3 server."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from domain.kit.blobs import BlobInfo, BlobStore, StoreStats
from domain.kit.blobs.folder import FolderStore
from domain.kit.blobs.s3 import S3Store
from domain.kit.blobs.store import STREAMED
from domain.kit.errors import Invalid, NotFound

_KEY = "originals/2026/01/02/030405-abc.jpg"
_MEGABYTE = 1 << 20


async def _left(store: BlobStore) -> list[str]:
    """Everything that the store keeps, finished or not."""
    unfinished: list[Any] = []
    if isinstance(store, FolderStore):
        unfinished = sorted(path.name for path in (store.root / "incoming").glob("*"))
    elif isinstance(store, S3Store):
        await store.check()  # makes the bucket, where nothing was done yet
        answer = store.client.list_multipart_uploads(Bucket=store.place.bucket)
        unfinished = [upload["Key"] for upload in answer.get("Uploads", ())]
    return [info.key for info in await _all(store.scan(""))] + unfinished


async def _all(blobs: AsyncIterator[BlobInfo]) -> list[BlobInfo]:
    return [info async for info in blobs]


# In and out.


async def test_what_was_put_is_there(store: BlobStore) -> None:
    await store.put(_KEY, b"bytes")
    assert await store.get(_KEY) == b"bytes"
    assert (await store.exists(_KEY), await store.size(_KEY)) == (True, 5)
    assert await _left(store) == [_KEY]


async def test_a_blob_may_be_empty(store: BlobStore) -> None:
    await store.put(_KEY, b"")
    assert (await store.get(_KEY), await store.size(_KEY)) == (b"", 0)


async def test_putting_again_replaces_the_whole_blob(store: BlobStore) -> None:
    await store.put(_KEY, b"long before")
    await store.put(_KEY, b"after")
    assert await store.get(_KEY) == b"after"


# Up to 1 MB is held in memory, more goes through a file; beyond 8 MB an S3 server is given parts.
@pytest.mark.parametrize("size", [0, 1, _MEGABYTE - 1, _MEGABYTE, 3 * _MEGABYTE + 7, 17 * _MEGABYTE + 7])
async def test_a_staged_blob_is_its_chunks_in_order(store: BlobStore, size: int) -> None:
    data = os.urandom(size)
    staged = store.stage()
    for start in range(0, size, 65_536):
        await staged.write(data[start : start + 65_536])
    assert staged.size == size
    assert not await store.exists(_KEY)
    await staged.commit(_KEY)
    assert await store.get(_KEY) == data
    assert await _left(store) == [_KEY]


@pytest.mark.parametrize("size", [0, 10, 2 * _MEGABYTE])
async def test_what_is_discarded_leaves_nothing(store: BlobStore, size: int) -> None:
    staged = store.stage()
    await staged.write(bytes(size))
    await staged.discard()
    assert await _left(store) == []


async def test_many_may_be_staged_at_once_even_under_one_key(store: BlobStore) -> None:
    async def one(number: int) -> None:
        staged = store.stage()
        await staged.write(bytes([number]) * 1_500_000)
        await staged.commit(_KEY)

    await asyncio.gather(*(one(number) for number in range(8)))
    data = await store.get(_KEY)
    assert data == data[:1] * 1_500_000
    assert await _left(store) == [_KEY]


async def test_a_copy_is_a_blob_of_its_own(store: BlobStore) -> None:
    await store.put(_KEY, b"bytes")
    await store.copy(_KEY, "copies/a.jpg")
    await store.delete_many([_KEY])
    assert await store.get("copies/a.jpg") == b"bytes"


async def test_what_is_not_there_is_not_found(store: BlobStore) -> None:
    assert await store.exists(_KEY) is False
    for question in (store.get(_KEY), store.size(_KEY), store.copy(_KEY, "copies/a.jpg")):
        with pytest.raises(NotFound):
            await question
    assert await _left(store) == []


# Looking around.


async def test_a_scan_finds_what_begins_with_the_prefix(store: BlobStore) -> None:
    for key in ("images/1/a", "images/1/b", "images/10/a", "images/2/a", "other/1/a"):
        await store.put(key, key.encode())
    found = await _all(store.scan("images/1"))
    assert [(info.key, info.size) for info in found] == [
        ("images/1/a", 10),
        ("images/1/b", 10),
        ("images/10/a", 11),
    ]
    assert abs(found[0].modified - time.time()) < 60
    assert [info.key for info in await _all(store.scan("images/1/"))] == ["images/1/a", "images/1/b"]
    assert [info.key for info in await _all(store.scan("images/1/b"))] == ["images/1/b"]
    assert len(await _all(store.scan(""))) == 5
    assert await _all(store.scan("nothing/")) == []


async def test_a_scan_does_not_mind_blobs_that_go_meanwhile(store: BlobStore) -> None:
    keys = [f"images/{folder}/{name}" for folder in range(3) for name in range(3)]
    for key in keys:
        await store.put(key, b"x")
    found = []
    async for info in store.scan("images/"):
        found.append(info.key)
        if len(found) == 1:
            await store.delete_many(["images/1/0", "images/2/0", "images/2/1", "images/2/2"])
    gone = {"images/1/0", "images/2/0", "images/2/1", "images/2/2"}
    assert set(keys) - gone <= set(found) <= set(keys)  # of what goes meanwhile, a page may tell all the same


async def test_stats_count_finished_blobs(store: BlobStore) -> None:
    empty = await store.stats()
    assert (empty.blobs, empty.bytes) == (0, 0)
    await store.put("images/a", bytes(1000))
    await store.put("other/b", bytes(24))
    staged = store.stage()
    await staged.write(bytes(2 * _MEGABYTE))
    stats = await store.stats()
    await staged.discard()
    assert stats == StoreStats(2, 1024, stats.free_bytes)
    assert isinstance(store, FolderStore) == (stats.free_bytes is not None)


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
async def test_a_key_that_is_no_plain_path_is_refused_everywhere(store: BlobStore, key: str) -> None:
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
    assert await _left(store) == [_KEY]  # deleting is all or nothing, and nothing was left on its way in


async def test_a_commit_under_a_bad_key_leaves_the_blob_to_be_discarded(store: BlobStore) -> None:
    staged = store.stage()
    await staged.write(bytes(2 * _MEGABYTE))
    with pytest.raises(Invalid):
        await staged.commit("../a/b")
    await staged.discard()
    assert await _left(store) == []


async def test_a_commit_makes_the_key_of_the_hash(store: BlobStore) -> None:
    staged = store.stage()
    await staged.write(b"hel")
    await staged.write(b"lo")
    await staged.commit(lambda sha256: f"by-hash/{sha256}")
    assert await store.get("by-hash/2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824") == b"hello"


class _Unwanted(Exception):
    pass


@pytest.mark.parametrize("size", [10, 2 * _MEGABYTE])
async def test_what_the_making_of_the_key_raises_ends_the_commit(store: BlobStore, size: int) -> None:
    def refuse(sha256: str) -> str:
        raise _Unwanted(sha256)

    staged = store.stage()
    await staged.write(bytes(size))
    with pytest.raises(_Unwanted):
        await staged.commit(refuse)
    await staged.discard()
    assert await _left(store) == []


# In parts.


@pytest.mark.parametrize(
    ("start", "length"),
    [
        (0, None),
        (0, 1),
        (1, 1),
        (100, 200_000),
        (299_999, None),
        (299_999, 5),
        (0, 0),
        (300_000, None),
        (400_000, 5),
    ],
)
async def test_a_stream_is_the_part_that_was_asked_for(store: BlobStore, start: int, length: int | None) -> None:
    data = os.urandom(300_000)
    await store.put(_KEY, data)
    chunks = [chunk async for chunk in store.stream(_KEY, start, length)]
    assert b"".join(chunks) == (data[start:] if length is None else data[start : start + length])
    assert all(0 < len(chunk) <= STREAMED for chunk in chunks)


async def test_a_stream_of_a_large_blob_is_all_of_it(store: BlobStore) -> None:
    data = os.urandom(9 * _MEGABYTE + 1)
    staged = store.stage()
    await staged.write(data)
    await staged.commit(_KEY)
    assert b"".join([chunk async for chunk in store.stream(_KEY)]) == data
    async for chunk in store.stream(_KEY, _MEGABYTE):
        assert chunk == data[_MEGABYTE : _MEGABYTE + len(chunk)]
        break  # who stops in the middle leaves the store usable
    assert await store.size(_KEY) == len(data)


async def test_there_is_no_stream_of_what_is_not_there(store: BlobStore) -> None:
    with pytest.raises(NotFound):
        await anext(store.stream(_KEY))
    with pytest.raises(Invalid):
        await anext(store.stream("../a/b"))


# Deleting.


async def test_what_was_deleted_is_gone_and_the_rest_is_not(store: BlobStore) -> None:
    for name in ("a", "b", "c"):
        await store.put(f"some/{name}", b"x")
    assert await store.delete_many(["some/a", "some/b", "some/a"]) == 2
    assert await _left(store) == ["some/c"]
    assert await store.delete_many([]) == 0
    await store.delete_many(["some/never"])
    assert await _left(store) == ["some/c"]


async def test_many_are_listed_and_deleted_page_by_page(store: BlobStore) -> None:
    keys = [f"many/{number:04}" for number in range(120)]  # a page of the S3 server has 50
    for start in range(0, len(keys), 50):
        await asyncio.gather(*(store.put(key, b"x") for key in keys[start : start + 50]))
    assert await _left(store) == keys
    await store.delete_many(keys[5:])
    assert await _left(store) == keys[:5]


async def test_what_was_never_finished_is_cleared_once_it_is_old(store: BlobStore) -> None:
    await store.put(_KEY, b"x")
    if isinstance(store, FolderStore):
        staged = store.stage()
        await staged.write(bytes(2 * _MEGABYTE))
    elif isinstance(store, S3Store):
        await store.check()
        store.client.create_multipart_upload(Bucket=store.place.bucket, Key=store.name("cut/off"))
    assert await store.clear_unfinished(time.time() - 3600) == 0
    assert len(await _left(store)) == 2
    assert await store.clear_unfinished(time.time() + 60) == 1
    assert await _left(store) == [_KEY]


async def test_a_store_that_works_passes_its_check_and_stays_clean(store: BlobStore) -> None:
    await store.check()
    await store.check()
    assert await _left(store) == []
