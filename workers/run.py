"""Running a worker in this process until it is told to stop."""

import threading
from collections.abc import Awaitable, Callable
from typing import Any

import dramatiq
import structlog
from redis.exceptions import RedisError

from workers.process import WorkerParts, install, parts, wait_for

# Threads without work are woken by what comes (see waking.py); so often they look whether they are to stop.
_IDLE_LOOK = 500  # milliseconds
_STOP_WITHIN = 7_000  # milliseconds

_log = structlog.get_logger(__name__)


class _Parts(dramatiq.Middleware):
    """Opens what jobs need on the event loop on which they will use it, and closes it there."""

    def __init__(self, open_parts: Callable[[], Awaitable[WorkerParts]]) -> None:
        self._open_parts = open_parts
        self.failure: Exception | None = None

    def before_worker_boot(self, broker: dramatiq.Broker, worker: Any) -> None:
        try:
            install(wait_for(self._open_parts()))
        except Exception as error:  # noqa: BLE001 - Dramatiq would log it and work on without the parts
            self.failure = error

    def after_worker_shutdown(self, broker: dramatiq.Broker, worker: Any) -> None:
        if self.failure is None:
            # Before the middleware that stops the loop: what comes later in the list is ended first.
            wait_for(parts().blobs.close())
            wait_for(parts().database.close())
            install(None)


def run_worker(
    broker: dramatiq.Broker,
    open_parts: Callable[[], Awaitable[WorkerParts]],
    *,
    threads: int,
    stop: threading.Event,
) -> None:
    """Work on every queue of the broker until `stop` is set; then finish what is under way, within 7 s.

    Raises what `open_parts` raises.
    """
    opening = _Parts(open_parts)
    broker.add_middleware(opening)
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=_IDLE_LOOK)
    worker.start()
    if opening.failure is None:
        stop.wait()
    _stop(worker)
    if opening.failure is not None:
        raise opening.failure


def _stop(worker: dramatiq.Worker) -> None:
    try:
        worker.stop(timeout=_STOP_WITHIN)
    except (dramatiq.errors.ConnectionError, RedisError, OSError) as error:
        # Dramatiq leaves it at that, and the event loop's thread would keep this process for ever.
        _log.warning("stopped without Redis: what was not finished is sent again", error=str(error))
        worker.broker.emit_after("worker_shutdown", worker)
