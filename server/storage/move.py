"""`quartermaster storage move`: every blob of one store copied into another, read back and compared.

What is there already is passed over, so a move that was cut off goes on where it was, and a second one fetches what
arrived since the first.
"""

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from domain.kit.blobs import BlobStore
from domain.kit.blobs.places import FolderPlace, Place
from domain.kit.errors import Invalid, NotFound, Refusal
from domain.storage.listing import listed
from server.process import blob_store
from server.settings import Settings
from server.storage.apart import check_apart
from server.storage.verify import AT_ONCE, Progress, batches, digest_of

_TOLD_AT_ONCE = 1_000


@dataclass(slots=True)
class Moved:
    """Counts of blobs, and `failed` says why by key. `bytes` are those copied."""

    copied: int = 0
    bytes: int = 0
    already: int = 0
    deleted: int = 0
    failed: dict[str, str] = field(default_factory=dict)


async def move(
    settings: Settings, source: Place, target: Place, *, deep: bool, delete: bool, progress: Progress
) -> Moved:
    """Copy all; with `deep` what is there already is read and compared, too, not only measured. With `delete` the
    source is emptied of what the target has, unless something failed. Raises Invalid, also when the two are one
    store or one lies in the other, and Unavailable.
    """
    if source == target:
        raise Invalid("These are one and the same store.")
    if isinstance(source, FolderPlace) and not source.folder.is_dir():
        raise Invalid(f"There is no folder {source.folder} to move from.")
    stores = blob_store(settings, source, make=False), blob_store(settings, target)
    try:
        await stores[1].check()
        await check_apart(source, target, stores)
        total = 0

        def seen(count: int) -> None:
            nonlocal total
            total = count

        async with listed(stores[0], seen) as listing:
            moved = await _copied(*stores, listing, deep, lambda done, _: progress(done, max(done, total)))
            if delete and not moved.failed:
                moved.deleted = await _emptied(*stores, listing)
            return moved
    finally:
        for store in stores:
            await store.close()


async def _copied(source: BlobStore, target: BlobStore, listing: Path, deep: bool, progress: Progress) -> Moved:
    moved = Moved()
    done = 0
    for batch in _keys(listing, AT_ONCE):
        await asyncio.gather(*(_one(source, target, key, moved, deep) for key in batch))
        done += len(batch)
        progress(done, 0)
    return moved


async def _one(source: BlobStore, target: BlobStore, key: str, moved: Moved, deep: bool) -> None:
    try:
        size = await source.size(key)
        if await _has(source, target, key, size, deep):
            moved.already += 1
            return
        await _copy(source, target, key)
    except NotFound:
        return  # it was deleted since the source was listed
    except Refusal as refusal:
        moved.failed[key] = refusal.message
    else:
        moved.copied += 1
        moved.bytes += size


async def _has(source: BlobStore, target: BlobStore, key: str, size: int, deep: bool) -> bool:
    try:
        if await target.size(key) != size:
            return False
    except NotFound:
        return False
    return not deep or await digest_of(target, key) == await digest_of(source, key)


async def _copy(source: BlobStore, target: BlobStore, key: str) -> None:
    """Raises Refusal, also when what arrived is not what was sent."""
    digest, staged = hashlib.sha256(), target.stage()
    try:
        async for chunk in source.stream(key):
            digest.update(chunk)
            await staged.write(chunk)
        await staged.commit(key)
    except BaseException:
        await staged.discard()
        raise
    if await digest_of(target, key) != digest.hexdigest():
        await target.delete_many([key])
        raise Refusal("The target gave back other bytes than it was given.")


async def _emptied(source: BlobStore, target: BlobStore, listing: Path) -> int:
    """Delete from the source what the target has now; how many."""
    deleted = 0
    for batch in _keys(listing, _TOLD_AT_ONCE):
        there = [key for key in batch if await target.exists(key)]
        deleted += await source.delete_many(there)
    return deleted


def _keys(listing: Path, size: int) -> Iterator[list[str]]:
    for lines in batches(listing, size):
        yield [line.partition("\t")[0] for line in lines]
