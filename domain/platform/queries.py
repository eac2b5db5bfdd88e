"""The state of the database, out of PostgreSQL's own statistics: sizes, dead rows, connections, clock.

Platform-wide by nature: no client's scope can narrow it, so only scopes of the whole platform may ask.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from domain.kit.errors import Denied
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement


class DatabaseRow(Row):
    """Bytes and counts since the statistics were last reset; `cache_hit_ratio` is null before the first read."""

    name: str
    version: str
    bytes: int
    connections: int
    active_connections: int
    idle_in_transaction: int
    max_connections: int
    cache_hit_ratio: float | None
    commits: int
    rollbacks: int
    deadlocks: int
    oldest_transaction_seconds: float | None
    oldest_transaction_application: str | None


class RelationRow(Row):
    """A table, or a partition of `parent`. Rows are PostgreSQL's estimate."""

    name: str
    parent: str | None
    range: str | None
    rows: int
    bytes: int
    index_bytes: int
    dead_rows: int
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None


class ClockRow(Row):
    now: datetime
    revision: str | None


@dataclass(frozen=True, slots=True)
class TableStats:
    """A table; one that is partitioned with all of its partitions."""

    name: str
    rows: int
    bytes: int
    index_bytes: int
    dead_rows: int
    last_vacuum_at: datetime | None
    last_analyze_at: datetime | None
    partitions: list[RelationRow]


_DATABASE = Statement(
    text(
        """
SELECT current_database()::text AS name, current_setting('server_version') AS version,
  pg_database_size(current_database()) AS bytes, activity.*,
  current_setting('max_connections')::int AS max_connections,
  blks_hit::float / nullif(blks_hit + blks_read, 0) AS cache_hit_ratio,
  xact_commit AS commits, xact_rollback AS rollbacks, deadlocks,
  extract(epoch FROM clock_timestamp() - oldest.xact_start)::float AS oldest_transaction_seconds,
  oldest.application_name AS oldest_transaction_application
FROM pg_stat_database
CROSS JOIN (
  SELECT count(*) AS connections, count(*) FILTER (WHERE state = 'active') AS active_connections,
    count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction
  FROM pg_stat_activity WHERE datname = current_database()
) AS activity
LEFT JOIN LATERAL (
  SELECT xact_start, application_name FROM pg_stat_activity
  WHERE datname = current_database() AND pid <> pg_backend_pid() AND xact_start IS NOT NULL
  ORDER BY xact_start LIMIT 1
) AS oldest ON true
WHERE datname = current_database()
"""
    ),
    DatabaseRow,
)
_RELATIONS = Statement(
    text(
        """
SELECT c.relname::text AS name, p.relname::text AS parent, pg_get_expr(c.relpartbound, c.oid) AS range,
  coalesce(s.n_live_tup, 0) AS rows, pg_table_size(c.oid) AS bytes, pg_indexes_size(c.oid) AS index_bytes,
  coalesce(s.n_dead_tup, 0) AS dead_rows, greatest(s.last_vacuum, s.last_autovacuum) AS last_vacuum_at,
  greatest(s.last_analyze, s.last_autoanalyze) AS last_analyze_at
FROM pg_class AS c
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid
LEFT JOIN pg_class AS p ON p.oid = i.inhparent
LEFT JOIN pg_stat_user_tables AS s ON s.relid = c.oid
WHERE c.relkind = 'r' AND c.relnamespace = to_regnamespace(current_schema())
ORDER BY c.relname
"""
    ),
    RelationRow,
)
_CLOCK = Statement(
    text("SELECT clock_timestamp() AS now, (SELECT version_num FROM alembic_version) AS revision"), ClockRow
)


async def database_state(db: Runner, scope: Scope) -> DatabaseRow:
    """The database as a whole."""
    _platform_only(scope)
    row = await db.one(_DATABASE)
    assert row is not None  # the database that we are connected to
    return row


async def table_stats(db: Runner, scope: Scope) -> list[TableStats]:
    """Every table, the largest first."""
    _platform_only(scope)
    families: dict[str, list[RelationRow]] = {}
    for row in await db.all(_RELATIONS):
        families.setdefault(row.parent or row.name, []).append(row)
    return sorted((_added_up(name, rows) for name, rows in families.items()), key=lambda one: -one.bytes)


async def database_clock(db: Runner, scope: Scope) -> ClockRow:
    """The database's time, and the migration that it is at."""
    _platform_only(scope)
    row = await db.one(_CLOCK)
    assert row is not None  # there is no FROM that could be empty
    return row


def _added_up(name: str, rows: Sequence[RelationRow]) -> TableStats:
    vacuums = [row.last_vacuum_at for row in rows if row.last_vacuum_at]
    analyses = [row.last_analyze_at for row in rows if row.last_analyze_at]
    return TableStats(
        name=name,
        rows=sum(row.rows for row in rows),
        bytes=sum(row.bytes for row in rows),
        index_bytes=sum(row.index_bytes for row in rows),
        dead_rows=sum(row.dead_rows for row in rows),
        last_vacuum_at=max(vacuums, default=None),
        last_analyze_at=max(analyses, default=None),
        partitions=[row for row in rows if row.parent is not None],
    )


def _platform_only(scope: Scope) -> None:
    if scope.client_id is not None:
        raise Denied("This is of the whole platform.")
