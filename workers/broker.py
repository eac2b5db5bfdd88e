"""The Dramatiq broker, its queues, and what surrounds every job.

Retries are not Dramatiq's: a job whose work is still due is sent again by the relay when its lease runs
out (see `domain/images/jobs.py`), so that attempts are counted where Redis cannot lose them.
"""

import time
from typing import Any

import dramatiq
import structlog
from dramatiq.middleware import AsyncIO, CurrentMessage, TimeLimit

from domain.kit.correlation import correlation_id
from workers.process import parts
from workers.waking import WakingBroker

UPLOADS = "uploads"
GENERATION = "generation"
VARIANTS = "variants"
STORAGE = "storage"
CLEANUPS = "cleanups"

_log = structlog.get_logger(__name__)


def make_broker(redis_url: str, namespace: str) -> WakingBroker:
    """The broker, made the process's own. Actors must be imported after this.

    Jobs are not told of a shutdown: most end within the time that it grants, and one that was interrupted
    would have to wait for its lease.
    """
    broker = WakingBroker(  # type: ignore[no-untyped-call]
        url=redis_url,
        namespace=f"{namespace}:jobs",
        middleware=[
            AsyncIO(),
            CurrentMessage(),
            TimeLimit(),
            Surroundings(),
        ],
    )
    dramatiq.set_broker(broker)
    return broker


class Surroundings(dramatiq.Middleware):
    """The correlation id of the request that led to a job, its log line and its time."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        correlation_id.set(message.options.get("correlation_id"))
        self._started[message.message_id] = time.perf_counter()

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        seconds = time.perf_counter() - self._started.pop(message.message_id, time.perf_counter())
        parts().observe(message.actor_name, exception is not None, seconds)
        details = {"job": message.actor_name, "ms": round(seconds * 1000, 1), **message.kwargs}
        if exception is None:
            _log.info("job done", **details)
        else:
            _log.error("job failed; it will be sent again when its lease runs out", exc_info=exception, **details)
        correlation_id.set(None)

    def after_skip_message(self, broker: dramatiq.Broker, message: Any) -> None:
        self._started.pop(message.message_id, None)
