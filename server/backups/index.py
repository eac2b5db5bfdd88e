"""What a backup's list says of each blob, asked by key: millions of them fit into a file and not in memory."""

import sqlite3
from collections.abc import Iterable
from tempfile import gettempdir
from types import TracebackType
from typing import Any, NamedTuple

from domain.kit.errors import Unavailable


class Known(NamedTuple):
    """Bytes, seconds since the epoch, SHA-256 in hex, and whether it was ticked off."""

    size: int
    modified: float
    sha256: str
    ticked: bool


class BlobIndex:
    """Empty at first. It may be filled in one thread and asked in another, one at a time."""

    def __init__(self) -> None:
        # Without a name it is a file in TMPDIR that nobody else sees, and that is gone with the connection.
        self._base = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._base.execute(
            "CREATE TABLE blobs (key TEXT PRIMARY KEY, size INTEGER NOT NULL, modified REAL NOT NULL, "
            "sha256 TEXT NOT NULL, ticked INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID"
        )

    def __enter__(self) -> "BlobIndex":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._base.close()

    def fill(self, lines: Iterable[dict[str, Any]]) -> None:
        """Take what `manifest` tells. When that fails in the middle, nothing of it is kept.

        Raises Unavailable when there is no room for it, and what `lines` raises.
        """
        self._base.execute("BEGIN")
        try:
            self._base.executemany(
                "INSERT OR REPLACE INTO blobs (key, size, modified, sha256) VALUES (?, ?, ?, ?)",
                ((line["key"], line["size"], line["modified"], line["sha256"]) for line in lines),
            )
            self._base.execute("COMMIT")
        except sqlite3.Error as error:
            raise Unavailable(f"The list of blobs finds no place in {gettempdir()}: {error}.") from error
        finally:
            if self._base.in_transaction:
                self._base.execute("ROLLBACK")

    def get(self, key: str) -> Known | None:
        row = self._base.execute(
            "SELECT size, modified, sha256, ticked FROM blobs WHERE key = ?", (key,)
        ).fetchone()
        return None if row is None else Known(row[0], row[1], row[2], bool(row[3]))

    def tick(self, key: str, size: int) -> None:
        """Note that a blob is there, if it is of the size that the list says."""
        self._base.execute("UPDATE blobs SET ticked = 1 WHERE key = ? AND size = ?", (key, size))

    def unticked(self) -> tuple[int, str | None]:
        """How many were not ticked off, and the first of them."""
        count, first = self._base.execute("SELECT count(*), min(key) FROM blobs WHERE ticked = 0").fetchone()
        return count, first
