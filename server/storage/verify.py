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

from domain.images.repair import make_again
from domain.kit.blobs import BlobStore
from domain.kit.errors import NotFound
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.storage.comparison import Comparison, Finding, KindRow, brake, compare
from domain.storage.listing import listed
from server.process import blob_store, connect_database
from server.settings import Settings
from workers.orphans import remove_orphans

AT_ONCE = 16
"""So many blobs are asked for at the same time."""
_CAN_BE_MADE_AGAIN = ("clean", "display", "thumbnails", "variants")

Progress = Callable[[int, int], None]
"""Told how many blobs are done, of how many; 0 where nobody knows yet."""


@dataclass(slots=True)
class Verified:
    """What was found. `lost` cannot be made again of anything; `held` is why orphans were not taken away."""

    kinds: list[KindRow]
    named: int
    orphans: list[Finding]
    missing: list[Finding]
    lost: list[Finding]
    wrong_size: list[Finding]
    wrong_hash: list[str] = field(default_factory=list)
    removed: int = 0
    made_again: int = 0
    held: str | None = None

    @property
    def is_well(self) -> bool:
        """Whether nothing is wrong any more."""
        unmended = self.orphans and not self.removed
        missing = self.missing and not self.made_again
        return not (unmended or missing or self.lost or self.wrong_size or self.wrong_hash)


async def verify(settings: Settings, *, repair: bool, deep: bool, max_share: float, progress: Progress) -> Verified:
    """Compare; with `deep` read every blob whose hash a row knows; with `repair` mend what can be."""
    async with _opened(settings) as (database, blobs):
        with tempfile.TemporaryDirectory(prefix="quartermaster-") as folder:
            hashes = Path(folder, "hashes") if deep else None
            found = await _compared(database, blobs, settings.storage_grace_hours * 3600, hashes, progress)
            missing = await _which(found.missing, lambda one: _is_missing(blobs, one))
            verified = Verified(
                kinds=found.kinds,
                named=found.totals.named,
                orphans=found.orphans,
                missing=[one for one in missing if one.kind in _CAN_BE_MADE_AGAIN],
                lost=[one for one in missing if one.kind not in _CAN_BE_MADE_AGAIN],
                wrong_size=await _which(found.wrong_size, lambda one: _has_wrong_size(blobs, one)),
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

    why = brake(found, max_share) or await remove_orphans(database, blobs, found.orphans, removed)
    verified.held = why and why[1]
    if verified.missing:
        async with transaction(database) as tx:
            lost = [one.key for one in (*verified.missing, *verified.lost)]
            verified.made_again = await make_again(tx, SYSTEM, lost)


async def _which(findings: Iterable[Finding], is_so: Callable[[Finding], Awaitable[bool]]) -> list[Finding]:
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
