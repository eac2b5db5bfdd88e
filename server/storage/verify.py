"""`quartermaster storage verify`: blobs and rows compared both ways, and mended where that is possible.

It may run while the server does: what seems to be wrong is looked at once more before it is told.
"""

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

from domain.images.repair import DamagedRow, damaged, forget_variants, make_again
from domain.kit.blobs import BlobStore
from domain.kit.errors import NotFound
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.storage.comparison import Comparison, Finding, KindRow, brake, compare, why_not_mend
from domain.storage.listing import listed
from server.process import blob_store, connect_database
from server.settings import Settings
from workers.orphans import remove_orphans

AT_ONCE = 16
"""So many blobs are asked for at the same time."""
_CAN_BE_MADE_AGAIN = ("clean", "display", "thumbnails", "variants")

T = TypeVar("T")

Progress = Callable[[int, int], None]
"""Told how many blobs are done, of how many; 0 where nobody knows yet."""


@dataclass(slots=True)
class Verified:
    """What was found and mended. `lost` cannot be made again of anything.

    `held` is why orphans were not taken away, `refused` why nothing was mended at all. `orphans_left` and
    `missing_left` count what is wrong still; there may be more orphans than are listed. `made_again` and
    `not_whole` are images, the latter left as they are because their originals are gone or other bytes;
    `forgotten` are sizes that are made again when somebody asks.
    """

    kinds: list[KindRow]
    named: int
    orphans: list[Finding]
    missing: list[Finding]
    lost: list[Finding]
    wrong_size: list[Finding]
    orphans_left: int
    missing_left: int
    wrong_hash: list[str] = field(default_factory=list)
    removed: int = 0
    made_again: int = 0
    not_whole: int = 0
    forgotten: int = 0
    held: str | None = None
    refused: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong any more."""
        return not (self.orphans_left or self.missing_left or self.lost or self.wrong_size or self.wrong_hash)


async def verify(settings: Settings, *, repair: bool, deep: bool, max_share: float, progress: Progress) -> Verified:
    """Compare; with `deep` read every blob whose hash a row knows; with `repair` mend what can be."""
    async with _opened(settings) as (database, blobs):
        with tempfile.TemporaryDirectory(prefix="quartermaster-") as folder:
            hashes = Path(folder, "hashes") if deep else None
            found = await _compared(database, blobs, settings.storage_grace_hours * 3600, hashes, progress)
            missing = await _which(found.missing, lambda one: _is_missing(blobs, one))
            mendable = [one for one in missing if one.kind in _CAN_BE_MADE_AGAIN]
            verified = Verified(
                kinds=found.kinds,
                named=found.totals.named,
                orphans=found.orphans,
                missing=mendable,
                lost=[one for one in missing if one.kind not in _CAN_BE_MADE_AGAIN],
                wrong_size=await _which(found.wrong_size, lambda one: _has_wrong_size(blobs, one)),
                orphans_left=found.orphan_count,
                missing_left=len(mendable),
            )
            if hashes is not None:
                verified.wrong_hash = await _wrong_hashes(blobs, hashes, progress)
        if repair:
            await _repair(database, blobs, found, verified, max_share)
        return verified


async def _compared(
    database: Database, blobs: BlobStore, grace: float, hashes: Path | None, progress: Progress
) -> Comparison:
    async with listed(blobs, lambda count: progress(count, 0)) as listing, transaction(database) as tx:
        return await compare(tx, SYSTEM, listing, grace=grace, hashes=hashes)


async def _repair(
    database: Database, blobs: BlobStore, found: Comparison, verified: Verified, max_share: float
) -> None:
    async def removed(count: int, _: int) -> None:
        verified.removed += count

    verified.refused = why_not_mend(found)
    if verified.refused:
        return
    why = brake(found, max_share) or await remove_orphans(database, blobs, found.orphans, removed)
    verified.held = why and why[1]
    # What was listed and is not gone has a name by now, unless something held it.
    verified.orphans_left -= verified.removed if why else len(found.orphans)
    if verified.missing:
        await _make_again(database, blobs, verified)


async def _make_again(database: Database, blobs: BlobStore, verified: Verified) -> None:
    missing = [one.key for one in verified.missing]
    images = await damaged(database, SYSTEM, missing)
    # An image whose original is not what was uploaded would be rejected, and what is left of it with it.
    whole = await _which(images, lambda image: _is_whole(blobs, image))
    verified.not_whole = len(images) - len(whole)
    async with transaction(database) as tx:
        verified.made_again, mended = await make_again(tx, SYSTEM, whole, missing)
        forgotten = await forget_variants(tx, SYSTEM, missing)
    verified.forgotten = len(forgotten)
    verified.missing_left -= len(mended | forgotten)


async def _is_whole(blobs: BlobStore, image: DamagedRow) -> bool:
    try:
        if await blobs.size(image.original_key) != image.size_bytes:
            return False
    except NotFound:
        return False
    return await digest_of(blobs, image.original_key) == image.sha256


async def _which(findings: Iterable[T], is_so: Callable[[T], Awaitable[bool]]) -> list[T]:
    """Those of which it is so."""
    ones, kept = list(findings), []
    for start in range(0, len(ones), AT_ONCE):
        batch = ones[start : start + AT_ONCE]
        answers = await asyncio.gather(*map(is_so, batch))
        kept += [one for one, answer in zip(batch, answers, strict=True) if answer]
    return kept


async def _is_missing(blobs: BlobStore, one: Finding) -> bool:
    return not await blobs.exists(one.key)


async def _has_wrong_size(blobs: BlobStore, one: Finding) -> bool:
    try:
        return await blobs.size(one.key) != one.expected
    except NotFound:
        return False


async def _wrong_hashes(blobs: BlobStore, hashes: Path, progress: Progress) -> list[str]:
    wrong: list[str] = []
    done = 0
    for lines in batches(hashes, AT_ONCE):
        batch = [line.split("\t") for line in lines]
        digests = await asyncio.gather(*(digest_of(blobs, key) for key, _ in batch))
        wrong += [key for (key, sha256), digest in zip(batch, digests, strict=True) if digest not in (None, sha256)]
        done += len(lines)
        progress(done, 0)
    return wrong


def batches(path: Path, size: int) -> Iterator[list[str]]:
    """The lines of a file, so many at a time."""
    with path.open() as file:
        while lines := [line.rstrip("\n") for line in islice(file, size)]:
            yield lines


async def digest_of(blobs: BlobStore, key: str) -> str | None:
    """The SHA-256 in hex of what is stored; None when it is gone."""
    digest = hashlib.sha256()
    try:
        async for chunk in blobs.stream(key):
            digest.update(chunk)
    except NotFound:
        return None
    return digest.hexdigest()


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[Database, BlobStore]]:
    database, blobs = await connect_database(settings, "storage"), blob_store(settings)
    try:
        yield database, blobs
    finally:
        await blobs.close()
        await database.close()
