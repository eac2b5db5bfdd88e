"""What Prometheus is told. Right with several processes: each writes to files that `/metrics` adds up.

Requests, operations and documents are so many that they are summed up first, and the sums told soon (`soon.py`).

Importing `prometheus_client` fixes where those files are, so `server/cli.py` sets PROMETHEUS_MULTIPROC_DIR
before it imports anything that imports this.
"""

import os
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from domain.events.log import BacklogRow
from server.soon import finish, soon

_FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_MOST_NAMES = 200

requests = Histogram(
    "quartermaster_http_request_seconds",
    "HTTP requests by method, route and status.",
    ["method", "route", "status"],
    buckets=_FAST,
)
operations = Histogram(
    "quartermaster_graphql_operation_seconds",
    "GraphQL operations by type, name and outcome (ok, error).",
    ["type", "operation", "status"],
    buckets=_FAST,
)
documents = Counter(
    "quartermaster_graphql_documents_total",
    "GraphQL documents by outcome: hit (it was kept, compiled) or miss (it was parsed and validated).",
    ["outcome"],
)
uploads = Counter(
    "quartermaster_uploads_total",
    "Image uploads by outcome (accepted, duplicate, or the refusal's code).",
    ["outcome"],
)
upload_bytes = Counter("quartermaster_upload_bytes_total", "Bytes of accepted images.")
jobs = Histogram(
    "quartermaster_job_seconds",
    "Background jobs by actor and outcome (ok, error).",
    ["job", "status"],
    buckets=(*_FAST, 30, 60),
)
events = Counter("quartermaster_events_recorded_total", "Events moved from the outbox to the log.")
connections = Gauge(
    "quartermaster_live_connections",
    "Open WebSockets and event streams.",
    ["transport"],
    multiprocess_mode="livesum",
)
subscriptions = Gauge("quartermaster_live_subscriptions", "Subscriptions that run.", multiprocess_mode="livesum")
subscription_groups = Gauge(
    "quartermaster_live_subscription_groups",
    "Groups of subscriptions that ask the same: each executes an event once.",
    multiprocess_mode="livesum",
)
pool = Gauge(
    "quartermaster_database_connections",
    "Pooled database connections by state (open, idle).",
    ["state"],
    multiprocess_mode="livesum",
)

_names: set[str] = set()


class Tally:
    """The sum of what a counter will be told."""

    __slots__ = ("_counter", "_sum")

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._sum = 0

    def inc(self) -> None:
        if not self._sum:
            soon(self._tell)
        self._sum += 1

    def _tell(self) -> None:
        told, self._sum = self._sum, 0
        self._counter.inc(told)


class Times:
    """The sums of what a histogram will be told. Each second is an event's; its bounds are `_FAST`."""

    __slots__ = ("_buckets", "_counts", "_seconds", "_sum")

    def __init__(self, histogram: Histogram) -> None:
        # The library counts one observation at a time, each with two locks. These are what it counts in.
        self._sum, self._buckets = histogram._sum, histogram._buckets
        self._counts = [0] * len(self._buckets)
        self._seconds = 0.0

    def observe(self, seconds: float) -> None:
        soon(self._tell)
        self._counts[bisect_left(_FAST, seconds)] += 1
        self._seconds += seconds

    def _tell(self) -> None:
        self._sum.inc(self._seconds)
        self._seconds = 0.0
        for index, count in enumerate(self._counts):
            if count:
                self._buckets[index].inc(count)
                self._counts[index] = 0


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    _request_times(method, route, status).observe(seconds)


def observe_operation(type: str, name: str | None, failed: bool, seconds: float) -> None:
    _operation_times(type, _bounded(name), failed).observe(seconds)


# There are few of them.
@lru_cache(maxsize=1_000)
def _request_times(method: str, route: str, status: int) -> Times:
    return Times(requests.labels(method, route, str(status)))


@lru_cache(maxsize=1_000)
def _operation_times(type: str, name: str, failed: bool) -> Times:
    return Times(operations.labels(type, name, "error" if failed else "ok"))


def _bounded(name: str | None) -> str:
    """Names are the clients' to choose, and every new one would be a new time series for ever."""
    name = name or "anonymous"
    if name in _names or len(_names) < _MOST_NAMES:
        _names.add(name)
        return name
    return "other"


def exposition(backlog: BacklogRow | None) -> bytes:
    """Everything in Prometheus' text format; `backlog` None when the database could not be asked."""
    _forget_dead()
    finish()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    if backlog is not None:
        registry.register(_Outbox(backlog))
    return generate_latest(registry)


class _Outbox:
    """Of the one database, not of a process: a `Gauge` would be written to this process's file."""

    def __init__(self, backlog: BacklogRow) -> None:
        self._backlog = backlog

    def collect(self) -> Iterator[GaugeMetricFamily]:
        yield GaugeMetricFamily(
            "quartermaster_outbox_rows", "Rows that wait in the outbox.", value=self._backlog.waiting
        )
        yield GaugeMetricFamily(
            "quartermaster_outbox_lag_seconds", "Age of the oldest of them.", value=float(self._backlog.seconds)
        )


def _forget_dead() -> None:
    """A process that was killed left its gauges behind: connections that nobody has any more."""
    for path in Path(os.environ["PROMETHEUS_MULTIPROC_DIR"]).glob("gauge_live*_*.db"):
        pid = int(path.stem.rpartition("_")[2])
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            mark_process_dead(pid)  # type: ignore[no-untyped-call]
        except PermissionError:
            pass  # it lives, as another user
