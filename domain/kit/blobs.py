"""Where bytes are kept: a store of blobs under keys, and the store that is a folder.

A blob is staged first (its key often depends on its content) and then committed under its key; once
`commit` returns it is durable. Nothing here knows what the bytes mean or which row names them. Keys are
relative paths of plain characters; links to blobs are signed and expire, whichever store holds them.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar
from urllib.parse import quote, urlencode

from domain.kit.errors import Invalid, NotFound, Unavailable
from domain.kit.secrets import is_signed, sign

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*(?:/[a-z0-9][a-z0-9_.-]*)+")
_FLUSH_BYTES = 1 << 20
_LINK_ROUNDING = 3600  # seconds
# Not asyncio's own pool, which has hardly more threads than there are cores: these wait for a disk, which makes
# many files durable at once in hardly more time than one.
_THREADS = ThreadPoolExecutor(16, thread_name_prefix="blobs")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """Sizes are bytes, `modified` seconds since the epoch."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class StoreStats:
    blobs: int
    bytes: int
    free_bytes: int | None


Key = str | Callable[[str], str]
"""A key, or a function that makes it of the bytes' SHA-256 in hex. It runs in a thread; what it raises ends the
commit before anything has its name."""


class Staged(Protocol):
    """Bytes on their way in. Exactly one of `commit` and `discard` ends it."""

    size: int

    async def write(self, chunk: bytes) -> None: ...
    async def commit(self, key: Key) -> None: ...
    async def discard(self) -> None: ...


class BlobStore(Protocol):
    """All raise Unavailable when the store cannot be reached or is full."""

    def stage(self) -> Staged: ...
    async def put(self, key: str, data: bytes) -> None: ...
    async def get(self, key: str) -> bytes: ...
    async def delete_many(self, keys: Iterable[str]) -> int: ...
    async def exists(self, key: str) -> bool: ...
    async def size(self, key: str) -> int: ...
    async def copy(self, source: str, target: str) -> None: ...
    def scan(self, prefix: str) -> AsyncIterator[BlobInfo]: ...
    def signed_url(self, key: str, *, expires_in: float) -> str: ...
    async def stats(self) -> StoreStats: ...
    async def check(self) -> None: ...


def check_key(key: str) -> str:
    """The key itself. Raises Invalid for one that is not a plain relative path."""
    if not _KEY.fullmatch(key) or ".." in key:
        raise Invalid("This is not a key of the blob store.", key=key)
    return key


class LinkSigner:
    """Makes and checks links under `base_url` that open one blob until a time.

    Expiries are rounded up to the hour so that the same blob keeps the same link, and caches keep working.
    """

    def __init__(self, key: bytes, base_url: str) -> None:
        self._key = key
        self.base_url = base_url.rstrip("/")

    def link(self, key: str, expires_in: float) -> str:
        until = int((time.time() + expires_in) // _LINK_ROUNDING + 1) * _LINK_ROUNDING
        query = urlencode({"until": until, "signature": sign(self._key, key, str(until))})
        return f"{self.base_url}/media/{quote(key)}?{query}"

    def seconds_left(self, key: str, until: str, signature: str) -> int:
        """Seconds for which the link still works; 0 or less when it is over or was never signed here."""
        if not until.isascii() or not until.isdigit() or not is_signed(self._key, signature, key, until):
            return 0
        return int(until) - int(time.time())


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

    async def delete_many(self, keys: Iterable[str]) -> int:
        """How many were there to delete."""
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
            return (await _in_thread(path.stat)).st_size

    async def copy(self, source: str, target: str) -> None:
        await self.put(target, await self.get(source))

    async def scan(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Every blob whose key begins with the prefix, folder by folder."""
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
                if not key.startswith(prefix):
                    continue
                with suppress(FileNotFoundError):  # deleted since the folder was read
                    stat = path.stat()
                    infos.append(BlobInfo(key, stat.st_size, stat.st_mtime))
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

    async def check(self) -> None:
        """Write and remove a small file. Raises Unavailable with the reason."""
        path = self.temporary()
        with _store_errors():
            await _in_thread(_write_durably, path, b"ok")
            await _in_thread(path.unlink)


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


def _unless_gone(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _store_errors(key: str | None = None) -> Iterator[None]:
    """OSError as Unavailable; where one blob is asked for, its absence as NotFound."""
    try:
        yield
    except OSError as error:
        if key is not None and isinstance(error, FileNotFoundError):
            raise NotFound("There is no such blob.", key=key) from None
        raise _unavailable(error) from error


def _unavailable(error: OSError) -> Unavailable:
    return Unavailable(f"The blob store cannot be used: {error.strerror or error}.", retry_after=10)
