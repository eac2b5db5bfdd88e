"""Running the processes behind the API: the worker and the relay."""

import asyncio
import signal
import threading
from datetime import timedelta
from functools import partial
from typing import Any

import dramatiq
from PIL import Image

from domain.kit.sql import Database
from domain.kit.tasks import end
from domain.retention.models import CleanupKind
from domain.schedule.models import JobName
from server import metrics, telemetry
from server.announce import announced
from server.backups.nightly import back_up_apart
from server.generation import generation_lease, generation_provider
from server.logs import configure_logs
from server.process import (
    blob_store,
    connect_database,
    connect_redis,
    presence_policy,
    retention_defaults,
    sweep_policy,
    timetable,
)
from server.settings import Settings
from workers.broker import GENERATION, make_broker
from workers.memory import give_back_early
from workers.process import WorkerParts
from workers.relay import Relay
from workers.run import run_worker
from workers.schedule import Schedule
from workers.timetable import Timed, Work

# Pillow's memory blocks of 16 MB that are kept for the next image: the pages of a new one are cleared by the
# kernel while the interpreter's lock is held.
_KEPT_BLOCKS = 4


def run_worker_process(settings: Settings, stop: threading.Event) -> None:
    """Work until `stop` is set."""
    configure_logs(level=settings.log_level, format=settings.log_format, process="worker")
    telemetry.start(settings, "worker")
    assert settings.redis_url is not None
    broker = make_broker(settings.redis_url, settings.redis_namespace)
    import workers.actors  # noqa: F401, PLC0415 - they register with the broker that is set by now

    broker.at_once = {GENERATION: settings.generations_at_once}
    give_back_early()
    Image.core.set_blocks_max(_KEPT_BLOCKS)  # type: ignore[attr-defined]
    # Twice as many threads as may decode at once: while some decode, others wait for disk and database. And one for
    # each picture that is waited for.
    decoding = threading.Semaphore(settings.worker_threads)

    async def open_parts() -> WorkerParts:
        database: Database = await connect_database(settings, "worker")
        return WorkerParts(
            database,
            blob_store(settings),
            settings.upload_max_pixels,
            _observe,
            decoding,
            generation_provider(settings),
            generation_lease(settings),
            retention_defaults(settings),
        )

    broker.add_middleware(_Traced())
    counts = _Counts(sorted(broker.get_declared_queues()))
    broker.add_middleware(counts)
    threads = 2 * settings.worker_threads + sum(broker.at_once.values())
    with announced(settings, "worker", counts.told):
        run_worker(broker, open_parts, threads=threads, stop=stop)


class _Counts(dramatiq.Middleware):
    """The jobs of this process."""

    def __init__(self, queues: list[str]) -> None:
        self._queues = queues
        self._lock = threading.Lock()
        self._done = self._failed = 0

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        with self._lock:
            self._done += exception is None
            self._failed += exception is not None

    def told(self) -> dict[str, Any]:
        return {"queues": self._queues, "jobs_done": self._done, "jobs_failed": self._failed}


class _Traced(dramatiq.Middleware):
    """A span for each job. The first of its hooks runs after the correlation id is set, the last before it goes."""

    def __init__(self) -> None:
        self._spans: dict[str, telemetry.Span] = {}

    def before_process_message(self, broker: dramatiq.Broker, message: Any) -> None:
        span = telemetry.span(f"job {message.actor_name}", kind="CONSUMER", job=message.actor_name)
        self._spans[message.message_id] = span.__enter__()

    def after_process_message(
        self, broker: dramatiq.Broker, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        span = self._spans.pop(message.message_id)
        span.__exit__(None if exception is None else type(exception), exception, None)

    def after_skip_message(self, broker: dramatiq.Broker, message: Any) -> None:
        self._spans.pop(message.message_id, telemetry.NOTHING).__exit__(None, None, None)


def _observe(job: str, failed: bool, seconds: float) -> None:
    metrics.jobs.labels(job, "error" if failed else "ok").observe(seconds)


async def run_relay(settings: Settings) -> None:
    """Relay until SIGTERM or SIGINT."""
    configure_logs(level=settings.log_level, format=settings.log_format, process="relay")
    telemetry.start(settings, "relay")
    assert settings.redis_url is not None
    broker = make_broker(settings.redis_url, settings.redis_namespace)
    import workers.actors  # noqa: F401, PLC0415 - as above

    # One holds the leadership and listens; the others move the outbox and run the schedule meanwhile.
    database = await connect_database(settings, "relay", at_least=3)
    redis = connect_redis(settings)
    schedule = partial(_schedule, settings, database)
    relay = Relay(database, redis, broker, settings.redis_namespace, schedule, recorded=metrics.events.inc)
    with announced(settings, "relay", lambda: {"leader": relay.leads}):
        await _until_stopped(relay)
    await redis.aclose()
    await database.close()


def _schedule(settings: Settings, database: Database) -> Schedule:
    """What runs by the clock, of one leadership."""
    from workers.cleanup import begin_image_cleanups, begin_log_cleanup  # noqa: PLC0415 - as above

    defaults = retention_defaults(settings)
    work: dict[str, Work] = {
        JobName.IMAGE_CLEANUP: partial(begin_image_cleanups, database, defaults),
        JobName.TELEMETRY_CLEANUP: partial(begin_log_cleanup, database, CleanupKind.TELEMETRY, defaults),
        JobName.EVENT_CLEANUP: partial(begin_log_cleanup, database, CleanupKind.EVENTS, defaults),
        JobName.BACKUP: partial(back_up_apart, timedelta(hours=settings.backup_max_hours)),
    }
    timed = Timed(database, timetable(settings), work)
    return Schedule(database, presence_policy(settings), sweep_policy(settings), timed)


async def _until_stopped(relay: Relay) -> None:
    leading, stop = asyncio.create_task(relay.run()), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({leading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    await end(leading)
    stopping.cancel()
    if not leading.cancelled():
        leading.result()
