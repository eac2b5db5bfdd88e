"""How much memory the decoders of a worker may take together: two large pictures wait for each other."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

DECODING = 330_000_000
"""Bytes. With interpreter, libraries and buffers a worker stays under 400 MB."""


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
