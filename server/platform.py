"""What resolvers ask of the whole platform (`resolvers.context.Platform`), answered by an API process."""

import time
from datetime import UTC, datetime
from typing import Any

from redis.asyncio import Redis

from domain.kit.errors import Unavailable
from domain.kit.scope import Scope
from domain.kit.sql import Database
from domain.platform.queries import RelationRow, TableStats, database_state, table_stats
from resolvers.context import Services
from schema import platform as told
from server.announce import processes, queue_depths
from server.diagnostics import diagnose
from server.graphql.executor import Executor
from server.graphql.fanout import Fanout
from server.health import Health
from server.settings import Settings


class PlatformReports:
    """Of one API process; others are known by what they announced."""

    def __init__(self, settings: Settings, database: Database, redis: Redis, health: Health) -> None:
        self._settings = settings
        self._database = database
        self._redis = redis
        self._health = health
        self._started = time.time()

    async def diagnostics(self, scope: Scope) -> told.Diagnostics:
        try:
            known = await self._processes()
        except Unavailable:
            known = None
        return await diagnose(self._settings, scope, self._database, self._health, known, self._started)

    async def database_stats(self, scope: Scope) -> told.DatabaseStats:
        state = await database_state(self._database, scope)
        tables = [_table(table) for table in await table_stats(self._database, scope)]
        return told.DatabaseStats(**dict(state.items()), tables=tables)

    async def workers(self) -> told.Workers:
        known = await self._processes()
        names = sorted({queue for process in known for queue in process.get("queues", [])})
        depths = await queue_depths(self._redis, self._settings.redis_namespace, names)
        return told.Workers(
            processes=[_process(process) for process in known],
            queues=[told.Queue(name=name, depth=depth) for name, depth in depths.items()],
        )

    async def cache_stats(self) -> list[told.CacheStats]:
        return [_caches(process) for process in await self._processes() if "caches" in process]

    async def _processes(self) -> list[dict[str, Any]]:
        return await processes(self._redis, self._settings.redis_namespace)


def api_details(settings: Settings, services: Services, executor: Executor, fanout: Fanout) -> dict[str, Any]:
    """What an API process announces of itself."""
    documents, pool = executor.documents, services.database.pool
    return {
        "caches": {
            "documents": {
                "entries": documents.kept,
                "capacity": settings.documents_kept,
                "hits": documents.hits,
                "misses": documents.misses,
            },
            "principals": {"entries": services.authenticator.known, "capacity": services.authenticator.capacity},
            "pool": {
                "open": pool.get_size(),
                "idle": services.database.idle,
                "capacity": pool.get_max_size(),
            },
            "live_subscriptions": fanout.subscribers,
            "live_subscription_groups": fanout.groups,
        }
    }


def _table(table: TableStats) -> told.TableStats:
    return told.TableStats(
        name=table.name,
        rows=table.rows,
        bytes=table.bytes,
        index_bytes=table.index_bytes,
        dead_rows=table.dead_rows,
        last_vacuum_at=table.last_vacuum_at,
        last_analyze_at=table.last_analyze_at,
        partitions=[_partition(row) for row in table.partitions],
    )


def _partition(row: RelationRow) -> told.PartitionStats:
    return told.PartitionStats(
        name=row.name, range=row.range or "", rows=row.rows, bytes=row.bytes, index_bytes=row.index_bytes
    )


def _process(said: dict[str, Any]) -> told.Process:
    return told.Process(
        kind=told.ProcessKind(said["kind"]),
        host=said["host"],
        pid=said["pid"],
        version=said["version"],
        started_at=_moment(said["started_at"]),
        heartbeat_at=_moment(said["heartbeat_at"]),
        leader=said.get("leader", False),
        queues=said.get("queues", []),
        jobs_done=said.get("jobs_done", 0),
        jobs_failed=said.get("jobs_failed", 0),
    )


def _caches(said: dict[str, Any]) -> told.CacheStats:
    caches = said["caches"]
    return told.CacheStats(
        host=said["host"],
        pid=said["pid"],
        measured_at=_moment(said["heartbeat_at"]),
        documents=told.CacheUse(**caches["documents"]),
        principals=told.CacheUse(**caches["principals"], hits=None, misses=None),
        pool=told.ConnectionPool(**caches["pool"]),
        live_subscriptions=caches["live_subscriptions"],
        live_subscription_groups=caches["live_subscription_groups"],
    )


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)
