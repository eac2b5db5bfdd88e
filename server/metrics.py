"""What Prometheus is told. Right with several processes: each writes to files that `/metrics` adds up.

Importing `prometheus_client` fixes where those files are, so `server/cli.py` sets PROMETHEUS_MULTIPROC_DIR
before it imports anything that imports this.
"""

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from domain.events.log import BacklogRow

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


def observe_request(method: str, route: str, status: int, seconds: float) -> None:
    _request_child(method, route, str(status)).observe(seconds)


def observe_operation(type: str, name: str | None, failed: bool, seconds: float) -> None:
    _operation_child(type, _bounded(name), "error" if failed else "ok").observe(seconds)


# There are few of them, and the library takes a lock and a while to find one.
_request_child = lru_cache(maxsize=1_000)(requests.labels)
_operation_child = lru_cache(maxsize=1_000)(operations.labels)


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
