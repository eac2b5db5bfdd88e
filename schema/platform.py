"""The platform as those who run it see it: diagnostics, the database, processes, caches."""

from datetime import datetime
from enum import StrEnum

from domain.schedule.models import JobName
from schema.describe import enum, object_type


@object_type
class Setting:
    """A setting as it is in force in the API process that answers."""

    name: str
    """The environment variable, such as `QM_PORT`."""
    value: str | None
    """Null when it is absent. Secrets are told as `(set)`, addresses without user and password."""
    is_default: bool


@object_type
class ServiceCheck:
    """Whether a part that the server needs does its work."""

    name: str
    """`database`, `redis`, `storage`, `migrations` or `relay`."""
    ok: bool
    reason: str | None
    """What is wrong; null when nothing is."""
    latency_ms: float
    """How long the check took."""


@object_type
class DiskSpace:
    """The file system that a folder is on. Bytes."""

    path: str
    total_bytes: float
    free_bytes: float


@object_type
class OutboxBacklog:
    """Events and jobs that wait for the relay."""

    waiting: int
    oldest_seconds: float
    """Age of the oldest; 0 when nothing waits."""


@object_type
class ClockComparison:
    """The clock of the database beside that of the API process that answers."""

    database: datetime
    process: datetime
    offset_seconds: float
    """The database's minus the process's, the way there and back taken out."""


@object_type
class MigrationState:
    """Where the database's schema stands."""

    revision: str | None
    """What the database is at."""
    newest: str
    """What this server was made for."""


@object_type
class PlatformWarning:
    """Something that needs a person."""

    code: str
    """For programs, such as `DISK_LOW`."""
    message: str
    """What is so."""
    action: str
    """What to do."""


@object_type
class Diagnostics:
    """How the system is, as one API process sees it now."""

    version: str
    python: str
    started_at: datetime
    uptime_seconds: float
    embedded: list[str]
    """Services that `quartermaster serve` runs itself: `postgresql`, `redis`; empty when all are elsewhere."""
    settings: list[Setting]
    checks: list[ServiceCheck]
    migrations: MigrationState
    outbox: OutboxBacklog
    clock: ClockComparison
    disks: list[DiskSpace]
    warnings: list[PlatformWarning]
    """Empty when all is well."""


@object_type
class PartitionStats:
    """A month of a table."""

    name: str
    range: str
    """Its bounds, as PostgreSQL says them."""
    rows: float
    bytes: float
    index_bytes: float


@object_type
class TableStats:
    """A table; one that is partitioned with all of its partitions. Rows are PostgreSQL's estimate."""

    name: str
    rows: float
    bytes: float
    """Without indexes."""
    index_bytes: float
    dead_rows: float
    """Left behind by updates and deletions, until the next vacuum."""
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None
    partitions: list[PartitionStats]


@object_type
class DatabaseStats:
    """The database, out of PostgreSQL's own statistics."""

    name: str
    version: str
    bytes: float
    connections: int
    """Open ones to this database, of whomever."""
    active_connections: int
    idle_in_transaction: int
    max_connections: int
    cache_hit_ratio: float | None
    """The share of pages that were found in memory, 0 to 1; null before the first read."""
    commits: float
    rollbacks: float
    deadlocks: float
    oldest_transaction_seconds: float | None
    """Age of the oldest transaction but this one; null when there is no other. Vacuum cannot pass it."""
    oldest_transaction_application: str | None
    tables: list[TableStats]
    """The largest first."""


@enum
class ProcessKind(StrEnum):
    """What a process of the system does."""

    API = "api"
    WORKER = "worker"
    RELAY = "relay"


@object_type
class Process:
    """A process that said within the last 30 seconds that it lives."""

    kind: ProcessKind
    host: str
    pid: int
    version: str
    started_at: datetime
    heartbeat_at: datetime
    """When it last said so, by its own clock."""
    leader: bool
    """Whether it is the relay that moves the outbox and runs the schedule; only one does."""
    queues: list[str]
    """Those that a worker takes jobs from."""
    jobs_done: int
    """Since it started."""
    jobs_failed: int


@object_type
class Queue:
    """Jobs that wait in Redis for a worker."""

    name: str
    depth: int
    """Sent, and taken by no worker yet."""


@object_type
class Workers:
    """Every process of the system, and the queues between them."""

    processes: list[Process]
    queues: list[Queue]


enum(JobName)


@object_type
class ScheduledJob:
    """A job that runs at times of the day."""

    name: JobName
    cron: str | None
    """Its times, as cron has them; null when it is off."""
    time_zone: str
    """The zone of these times."""
    running: bool
    started_at: datetime | None
    """When its last run began; null before the first."""
    ended_at: datetime | None
    """When that run ended; null while it runs."""
    failure: str | None
    """Why that run did not do its work; null when it did."""
    requested_at: datetime | None
    """When somebody wanted it to run at once, until it does."""
    next_run_at: datetime | None
    """Null when it is off. What was missed while no relay ran is made up for once."""


@object_type
class CacheUse:
    """A cache of an API process."""

    entries: int
    capacity: int
    hits: float | None
    """Since the process started; null where it is not counted."""
    misses: float | None


@object_type
class ConnectionPool:
    """Database connections of a process."""

    open: int
    idle: int
    capacity: int


@object_type
class CacheStats:
    """What one API process keeps, as it was at its last heartbeat."""

    host: str
    pid: int
    measured_at: datetime
    documents: CacheUse
    """GraphQL documents, parsed and validated."""
    principals: CacheUse
    """Callers whose credential was looked up within the last 10 seconds."""
    pool: ConnectionPool
    live_subscriptions: int
    live_subscription_groups: int
    """Those that ask the same share one group: it executes each event once."""
