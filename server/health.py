"""Whether this server can do its work, and if not, why."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import column, select, table

from domain.events.log import backlog
from domain.kit.blobs import BlobStore
from domain.kit.errors import Refusal
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database, Statement
from migrations import newest_revision

_PATIENCE = 3.0  # seconds for each check
_LATE = 30.0  # seconds that the outbox may lag

_REVISION = Statement(select(column("version_num")).select_from(table("alembic_version")))


@dataclass(frozen=True, slots=True)
class Check:
    """`reason` None: all is well."""

    reason: str | None
    milliseconds: float


class Health:
    """Checks that run together, each with its own time limit."""

    def __init__(self, database: Database, redis: Redis, blobs: BlobStore) -> None:
        self._database = database
        self._redis = redis
        self._blobs = blobs
        self._due = newest_revision()
        self._started = time.time()

    async def checks(self) -> dict[str, "Check"]:
        """What each check finds. All run together."""
        checks: dict[str, Callable[[], Awaitable[str | None]]] = {
            "database": self._database_answers,
            "redis": self._redis_answers,
            "storage": self._storage_works,
            "migrations": self._migrated,
            "relay": self._relay_keeps_up,
        }
        results = await asyncio.gather(*(_measured(check) for check in checks.values()))
        return dict(zip(checks, results, strict=True))

    async def report(self) -> tuple[bool, dict[str, Any]]:
        """(ready, report). A check's `reason` says what is wrong and never holds a secret."""
        report = {
            name: {"ok": check.reason is None, **({} if check.reason is None else {"reason": check.reason})}
            for name, check in (await self.checks()).items()
        }
        ready = all(check["ok"] for check in report.values())
        uptime = round(time.time() - self._started, 1)
        return ready, {"status": "ok" if ready else "unavailable", "uptimeSeconds": uptime, "checks": report}

    async def _database_answers(self) -> str | None:
        await self._database.value(Statement(select(1)))
        return None

    async def _redis_answers(self) -> str | None:
        await self._redis.ping()
        return None

    async def _storage_works(self) -> str | None:
        await self._blobs.check()
        return None

    async def _migrated(self) -> str | None:
        revision = await self._database.value(_REVISION)
        if revision != self._due:
            return f"The database is at revision {revision}, this server needs {self._due}: migrate."
        return None

    async def _relay_keeps_up(self) -> str | None:
        waiting = await backlog(self._database, SYSTEM)
        if waiting.seconds > _LATE:
            return f"{waiting.waiting} entries of the outbox wait, the oldest for {waiting.seconds:.0f} s."
        return None


async def _measured(check: Callable[[], Awaitable[str | None]]) -> Check:
    started = time.perf_counter()
    reason = await _checked(check)
    return Check(reason, round((time.perf_counter() - started) * 1000, 2))


async def _checked(check: Callable[[], Awaitable[str | None]]) -> str | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await check()
    except TimeoutError:
        return f"No answer within {_PATIENCE:.0f} s."
    except Refusal as refusal:
        return refusal.message
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the reason that was asked for
        return f"{type(error).__name__}."
