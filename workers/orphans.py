"""Taking away blobs that nobody names, batch by batch, each asked for once more before it goes."""

from collections.abc import Awaitable, Callable, Sequence

from domain.kit.blobs import BlobStore
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.storage.comparison import Finding
from domain.storage.sweeps import orphans_among

_AT_ONCE = 500  # blobs
_BACKUP = ("BACKUP_RUNS", "A backup of the blobs is under way; run it again when that is done.")


async def remove_orphans(
    database: Database,
    blobs: BlobStore,
    orphans: Sequence[Finding],
    removed: Callable[[int, int], Awaitable[None]],
) -> tuple[str, str] | None:
    """Why it may not go on (code and sentence), if so. `removed` is told blobs and bytes after each batch."""
    for start in range(0, len(orphans), _AT_ONCE):
        batch = {one.key: one.size or 0 for one in orphans[start : start + _AT_ONCE]}
        async with transaction(database) as tx:
            keys = await orphans_among(tx, SYSTEM, list(batch))
        if keys is None:
            return _BACKUP
        gone = await blobs.delete_many(keys)
        await removed(gone, sum(batch[key] for key in keys))
    return None
