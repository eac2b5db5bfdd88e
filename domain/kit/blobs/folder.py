"""The blob store that is a folder: finished blobs below `blobs/`, those on their way in below `incoming/`."""

import asyncio
import hashlib
import os
import secrets
import shutil
import stat
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from domain.kit.blobs.links import LinkSigner
from domain.kit.blobs.store import STREAMED, BlobInfo, Key, StoreStats, check_key, is_key
from domain.kit.errors import NotFound, Unavailable

_FLUSH_BYTES = 1 << 20
# Not asyncio's own pool, which has hardly more threads than there are cores: these wait for a disk, which makes
# many files durable at once in hardly more time than one.
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="blobs")

T = TypeVar("T")


class FolderStore:
    """Blobs as files below a folder. Safe for many processes on one machine."""

    def __init__(self, root: Path, signer: LinkSigner) -> None:
        with suppress(OSError):  # `check` says what is wrong with it
            root.mkdir(parents=True, exist_ok=True)
        self.root = root
        self._incoming = root / "incoming"
        self._signer = signer

    def path(self, key: str) -> Path:
        return self.root / "blobs" / check_key(key)

    def stage(self) -> "FolderStaged":
        return FolderStaged(self)

    def temporary(self) -> Path:
        return self._incoming / secrets.token_hex(12)

    async def put(self, key: str, data: bytes) -> None:
        check_key(key)  # before anything is written that nobody would take away
        staged = self.stage()
        await staged.write(data)
        await staged.commit(key)

    async def get(self, key: str) -> bytes:
        path = self.path(key)
        with _store_errors(key):
            return await _in_thread(path.read_bytes)

    async def stream(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        path, left = self.path(key), sys.maxsize if length is None else length
        with _store_errors(key):
            file = await _in_thread(_open_at, path, start)
        try:
            while left and (chunk := await _in_thread(file.read, min(STREAMED, left))):
                left -= len(chunk)
                yield chunk
        except OSError as error:
            raise _unavailable(error) from error
        finally:
            file.close()

    async def delete_many(self, keys: Iterable[str]) -> int:
        paths = [self.path(key) for key in keys]
        with _store_errors():
            return await _in_thread(lambda: sum(map(_unlink, paths)))

    async def exists(self, key: str) -> bool:
        try:
            await self.size(key)
        except NotFound:
            return False
        return True

    async def size(self, key: str) -> int:
        path = self.path(key)
        with _store_errors(key):
            found = await _in_thread(path.stat)
        if not stat.S_ISREG(found.st_mode):
            raise _not_found(key)
        return found.st_size

    async def copy(self, source: str, target: str) -> None:
        await self.put(target, await self.get(source))

    async def scan(self, prefix: str) -> AsyncIterator[BlobInfo]:
        folders = iter(self._folders(prefix))
        while (folder := await self._next_folder(folders)) is not None:
            for info in folder:
                yield info

    async def _next_folder(self, folders: Iterator[list[BlobInfo]]) -> list[BlobInfo] | None:
        with _store_errors():
            return await _in_thread(next, folders, None)

    def _folders(self, prefix: str) -> Iterator[list[BlobInfo]]:
        base = self.root / "blobs"
        for directory, folders, names in os.walk(base / prefix.rpartition("/")[0], onerror=_unless_gone):
            folders.sort()
            infos = []
            for name in sorted(names):
                path = Path(directory, name)
                key = path.relative_to(base).as_posix()
                if not key.startswith(prefix) or not is_key(key):
                    continue
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    found = path.stat()
                    infos.append(BlobInfo(key, found.st_size, found.st_mtime))
            yield infos

    def signed_url(self, key: str, *, expires_in: float) -> str:
        return self._signer.link(key, expires_in)

    async def stats(self) -> StoreStats:
        blobs = size = 0
        async for info in self.scan(""):
            blobs += 1
            size += info.size
        with _store_errors():
            free = shutil.disk_usage(self.root).free
        return StoreStats(blobs, size, free)

    async def clear_unfinished(self, before: float) -> int:
        with _store_errors():
            return await _in_thread(_unlink_older, self._incoming, before)

    async def check(self) -> None:
        path = self.temporary()
        with _store_errors():
            await _in_thread(_write_durably, path, b"ok")
            await _in_thread(path.unlink)

    async def close(self) -> None:
        """Nothing is open between two calls."""


class FolderStaged:
    """Bytes are gathered up to 1 MB, so that a usual photo takes one trip to a thread, and then spill."""

    def __init__(self, store: FolderStore) -> None:
        self._store = store
        self._chunks: list[bytes] = []
        self._waiting = 0
        self._path: Path | None = None
        self._digest = hashlib.sha256()
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._waiting += len(chunk)
        self.size += len(chunk)
        if self._waiting >= _FLUSH_BYTES:
            await self._in_thread(self._spill)

    async def commit(self, key: Key) -> None:
        await self._in_thread(self._finish, key)

    async def discard(self) -> None:
        self._chunks.clear()
        if self._path is not None:
            with suppress(OSError):  # where not even this works, why it is discarded is what to tell
                await _in_thread(_unlink, self._path)

    async def _in_thread(self, function: object, *arguments: object) -> None:
        try:
            await _in_thread(function, *arguments)  # type: ignore[arg-type]
        except OSError as error:
            await self.discard()
            raise _unavailable(error) from error

    def _spill(self) -> None:
        self._path = self._path or self._store.temporary()
        _append(self._path, self._take())

    def _finish(self, key: Key) -> None:
        chunks = self._take()
        target = self._store.path(key if isinstance(key, str) else key(self._digest.hexdigest()))
        self._path = self._path or self._store.temporary()
        _write_durably(self._path, *chunks)
        try:
            os.rename(self._path, target)
        except FileNotFoundError:
            _make_folders(target.parent)
            os.rename(self._path, target)
        _sync_folder(target.parent)
        self._path = None

    def _take(self) -> list[bytes]:
        # Hashed here and not as it arrives: this is a thread, and the event loop has one core.
        chunks, self._chunks, self._waiting = self._chunks, [], 0
        for chunk in chunks:
            self._digest.update(chunk)
        return chunks


async def _in_thread(function: Callable[..., T], *arguments: Any) -> T:
    return await asyncio.get_running_loop().run_in_executor(_THREADS, function, *arguments)


def _open_at(path: Path, start: int) -> BinaryIO:
    file = path.open("rb", buffering=0)
    file.seek(start)
    return file


def _open_new(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    try:
        return os.open(path, flags, 0o640)
    except FileNotFoundError:
        # Not its parents: when the root itself is gone, a disk was unmounted, and a new folder would hide that.
        path.parent.mkdir(exist_ok=True)
        return os.open(path, flags, 0o640)


def _append(path: Path, chunks: list[bytes]) -> None:
    descriptor = _open_new(path)
    try:
        _write_all(descriptor, chunks)
    finally:
        os.close(descriptor)


def _write_durably(path: Path, *chunks: bytes) -> None:
    descriptor = _open_new(path)
    try:
        _write_all(descriptor, chunks)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, chunks: Iterable[bytes]) -> None:
    for chunk in chunks:
        left = memoryview(chunk)
        while left:
            left = left[os.write(descriptor, left) :]


def _make_folders(folder: Path) -> None:
    """Make a folder and its parents durable: each new name is synced in the folder that holds it."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for new in reversed(missing):
        new.mkdir(exist_ok=True)
        _sync_folder(new.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unlink(path: Path) -> bool:
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    return True


def _unlink_older(folder: Path, before: float) -> int:
    removed = 0
    for path in folder.iterdir() if folder.exists() else ():
        with suppress(FileNotFoundError):  # it was finished meanwhile
            if path.stat().st_mtime < before:
                removed += _unlink(path)
    return removed


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _store_errors(key: str | None = None) -> Iterator[None]:
    """OSError as Unavailable; where one blob is asked for, its absence as NotFound."""
    try:
        yield
    except OSError as error:
        if key is not None and isinstance(error, FileNotFoundError | IsADirectoryError):
            raise _not_found(key) from None
        raise _unavailable(error) from error


def _not_found(key: str) -> NotFound:
    return NotFound("There is no such blob.", key=key)


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"The blob store cannot be used: {error.strerror or error}.", retry_after=10)
