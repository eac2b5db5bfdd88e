"""What a store of blobs promises, whichever it is.

A blob is staged first (its key often depends on its content) and then committed under its key; once `commit`
returns it is durable. Keys are relative paths of plain characters, whose first part is the kind of the blob; bytes
never change under a key that somebody was told. Links to blobs are signed and expire.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from domain.kit.errors import Invalid

_KEY = re.compile(r"[a-z0-9][a-z0-9_-]*(?:/[a-z0-9][a-z0-9_.-]*)+")
_MAX_KEY = 512  # bytes; S3 allows 1,024 with the prefix
_CONTENT_TYPES = {"webp": "image/webp", "avif": "image/avif", "jpg": "image/jpeg", "png": "image/png"}
OTHER_TYPE = "application/octet-stream"
STREAMED = 256 * 1024
"""Bytes at most of what `stream` yields at a time."""


@dataclass(frozen=True, slots=True)
class BlobInfo:
    """Sizes are bytes, `modified` seconds since the epoch."""

    key: str
    size: int
    modified: float


@dataclass(frozen=True, slots=True)
class StoreStats:
    """`free_bytes` is None where there is no such limit, or nobody knows it."""

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
    """All raise Unavailable when the store cannot be reached or is full, Invalid for a key that is none, and where
    one blob is asked for, NotFound.
    """

    def stage(self) -> Staged: ...
    async def put(self, key: str, data: bytes) -> None: ...
    async def get(self, key: str) -> bytes: ...

    def stream(self, key: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """The bytes from `start` on, `length` at most (None: to the end), in pieces of at most STREAMED bytes."""
        ...

    async def delete_many(self, keys: Iterable[str]) -> int:
        """How many are gone now that were not before; a store that cannot tell counts all it was asked for."""
        ...

    async def exists(self, key: str) -> bool: ...
    async def size(self, key: str) -> int: ...
    async def copy(self, source: str, target: str) -> None: ...

    def scan(self, prefix: str) -> AsyncIterator[BlobInfo]:
        """Every blob whose key begins with the prefix. Names that are no keys are passed over."""
        ...

    def signed_url(self, key: str, *, expires_in: float) -> str:
        """A link that works for so many seconds at least, the same within an hour."""
        ...

    async def stats(self) -> StoreStats: ...

    async def clear_unfinished(self, before: float) -> int:
        """Take away what was left on its way in since before this time (seconds since the epoch): how many."""
        ...

    async def check(self) -> None:
        """Write something small. Raises Unavailable with the reason."""
        ...

    async def close(self) -> None: ...


def is_key(text: str) -> bool:
    """Whether this is a plain relative path of at least two parts."""
    return len(text) <= _MAX_KEY and _KEY.fullmatch(text) is not None and ".." not in text


def check_key(key: str) -> str:
    """The key itself. Raises Invalid for one that is not a plain relative path."""
    if not is_key(key):
        raise Invalid("This is not a key of the blob store.", key=key)
    return key


def content_type_of(key: str) -> str:
    """By its ending, which is ours."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2], OTHER_TYPE)
