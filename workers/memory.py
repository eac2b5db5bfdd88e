"""How much memory the decoders of a worker may take together: two large pictures wait for each other."""

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

DECODING = 300_000_000
"""Bytes. With interpreter, libraries and buffers a worker stays under 400 MB."""

ORIGINALS = 40_000_000
"""Bytes of files that are read and not finished with: one of the largest, or many as cameras make them."""

# Of glibc's <malloc.h>.
_TRIM_THRESHOLD, _MMAP_THRESHOLD, _ARENA_MAX = -1, -3, -8
_LARGE = 4 << 20
_FEW = 2


def give_back_early() -> None:
    """Let the C library give large blocks back to the system at once. Left alone it learns from the first large
    picture to keep what comes after it, for each thread apart: hundreds of megabytes that nobody uses."""
    with suppress(OSError, AttributeError):  # another C library than glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_THRESHOLD, _LARGE)
        mallopt(_TRIM_THRESHOLD, _LARGE)
        mallopt(_ARENA_MAX, _FEW)


class Memory:
    """Bytes that are promised, not measured. Safe to share between threads."""

    def __init__(self, most: int = DECODING) -> None:
        self._most = most
        self._promised = 0
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, size: int) -> Iterator[None]:
        """Wait until there are so many; what is more than there will ever be waits until nobody else has any."""
        size = min(size, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._promised + size <= self._most)
            self._promised += size
        try:
            yield
        finally:
            with self._changed:
                self._promised -= size
                self._changed.notify_all()
