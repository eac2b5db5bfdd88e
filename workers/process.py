"""What a worker process works with, and the bridge from actors (threads) to the domain (one event loop).

`server/cli.py` fills this in before the worker starts; actors find it here because Dramatiq gives them
nothing but their message.
"""

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

from dramatiq.asyncio import get_event_loop_thread

from domain.generation.providers import Provider
from domain.kit.blobs import BlobStore
from domain.kit.sql import Database
from domain.retention.models import RetentionDefaults
from workers.memory import ORIGINALS, Memory

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """`observe(job, failed, seconds)` counts a job that ended. Who reads an original holds of `originals` what that
    takes; to decode it also one of `decoding`, and of `memory` what that takes. `provider` draws pictures;
    `generation_lease` is longer than that may take.
    """

    database: Database
    blobs: BlobStore
    max_pixels: int
    observe: Callable[[str, bool, float], None]
    decoding: threading.Semaphore
    provider: Provider
    generation_lease: timedelta
    retention: RetentionDefaults
    originals: Memory = field(default_factory=lambda: Memory(ORIGINALS))
    memory: Memory = field(default_factory=Memory)


_parts: WorkerParts | None = None


def install(parts: WorkerParts | None) -> None:
    """Say what this process works with."""
    global _parts  # noqa: PLW0603 - one process, one set of parts
    _parts = parts


def parts() -> WorkerParts:
    """Raises LookupError in a process that is no worker."""
    if _parts is None:
        raise LookupError("this process is no worker: nothing was installed")
    return _parts


def wait_for(work: Awaitable[T]) -> T:
    """Run a coroutine on the worker's event loop and wait for it, in an actor's thread."""
    thread: Any = get_event_loop_thread()
    if thread is None:
        raise LookupError("this process is no worker: it has no event loop thread")
    result: T = thread.run_coroutine(work)
    return result
