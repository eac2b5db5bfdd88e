"""A list of everything in a blob store, in a file: millions of lines fit there and not in memory."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from domain.kit.blobs import BlobStore

_LINES_AT_ONCE = 1_000


@asynccontextmanager
async def listed(blobs: BlobStore, seen: Callable[[int], None] = lambda count: None) -> AsyncIterator[Path]:
    """The file, until the end of the block: lines of key, size and time (seconds since the epoch), as COPY reads
    them. `seen` is told how many blobs there are so far.
    """
    descriptor, name = tempfile.mkstemp(prefix="quartermaster-blobs-")
    path, lines, count = Path(name), [], 0
    try:
        with os.fdopen(descriptor, "w") as file:
            async for info in blobs.scan(""):
                lines.append(f"{info.key}\t{info.size}\t{info.modified}\n")
                count += 1
                if len(lines) == _LINES_AT_ONCE:
                    await asyncio.to_thread(file.writelines, lines)
                    lines.clear()
                    seen(count)
            file.writelines(lines)
        seen(count)
        yield path
    finally:
        await asyncio.to_thread(path.unlink, missing_ok=True)
