"""Diagnostics: what one look at the system finds, and what its operator should do about it."""

import asyncio
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo

from domain.events.log import BacklogRow, backlog
from domain.kit.blobs.places import FolderPlace
from domain.kit.scope import Scope
from domain.kit.sql import Database
from domain.platform.queries import database_clock
from domain.schedule.models import JobName, ScheduledJobRow
from domain.schedule.queries import scheduled_jobs_by_name
from domain.schedule.times import Timetable, next_slot, on_the_wall
from migrations import newest_revision
from schema.platform import (
    ClockComparison,
    Diagnostics,
    DiskSpace,
    MigrationState,
    OutboxBacklog,
    PlatformWarning,
    ServiceCheck,
    Setting,
)
from server import VERSION
from server.embedded import attach
from server.health import Health
from server.process import timetable
from server.settings import PREFIX, Settings

_LATE = 30.0  # seconds in the outbox
_SKEW = 1.0  # seconds between two clocks
_LITTLE_SHARE = 0.1  # of a disk
_LITTLE_BYTES = 1 << 30
_LONG = timedelta(hours=6)  # of a scheduled job
_OLD = timedelta(days=3)  # of a backup
_MISSED = 3
_KINDS = ("worker", "relay")

_ACTIONS = {
    "database": "Look at PostgreSQL's log, and at QM_DATABASE_URL.",
    "redis": "Start Redis, or correct QM_REDIS_URL. Nothing is lost meanwhile: jobs wait in the database.",
    "storage": "See that the folder or bucket of QM_STORAGE_URL is there, writable and not full.",
    "migrations": "Run `quartermaster migrate` with this version, then restart the processes of older ones.",
    "relay": "See that a relay runs (`workers` lists it) and what its log says.",
}


async def diagnose(
    settings: Settings,
    scope: Scope,
    database: Database,
    health: Health,
    processes: Sequence[dict[str, Any]] | None,
    started: float,
) -> Diagnostics:
    """One look. `processes` are those that announced themselves, None when Redis could not be asked."""
    checks, clock, waiting, jobs, disks, embedded = await asyncio.gather(
        health.checks(),
        _compared(database, scope),
        backlog(database, scope),
        scheduled_jobs_by_name(database, scope),
        asyncio.to_thread(_disks, settings),
        asyncio.to_thread(_embedded, settings),
    )
    told = [
        ServiceCheck(name=name, ok=check.reason is None, reason=check.reason, latency_ms=check.milliseconds)
        for name, check in checks.items()
    ]
    comparison, revision = clock
    return Diagnostics(
        version=VERSION,
        python=".".join(map(str, sys.version_info[:3])),
        started_at=datetime.fromtimestamp(started, UTC),
        uptime_seconds=round(time.time() - started, 1),
        embedded=embedded,
        settings=_settings(settings),
        checks=told,
        migrations=MigrationState(revision=revision, newest=newest_revision()),
        outbox=OutboxBacklog(waiting=waiting.waiting, oldest_seconds=float(waiting.seconds)),
        clock=comparison,
        disks=disks,
        warnings=[
            *_of_checks(told),
            *_of_processes(processes),
            *_of_outbox(waiting),
            *_of_clock(comparison),
            *_of_disks(disks),
            *_of_settings(settings),
            *_of_jobs(jobs, comparison.database, timetable(settings)),
        ],
    )


async def _compared(database: Database, scope: Scope) -> tuple[ClockComparison, str | None]:
    asked = datetime.now(UTC)
    row = await database_clock(database, scope)
    answered = datetime.now(UTC)
    middle = asked + (answered - asked) / 2
    offset = (row.now - middle).total_seconds()
    return ClockComparison(database=row.now, process=answered, offset_seconds=round(offset, 6)), row.revision


def _disks(settings: Settings) -> list[DiskSpace]:
    found = []
    stored = [settings.storage.folder] if isinstance(settings.storage, FolderPlace) else []
    for folder in dict.fromkeys((*stored, settings.data_dir)):
        there = next((path for path in (folder, *folder.absolute().parents) if path.exists()), Path("/"))
        use = shutil.disk_usage(there)
        found.append(DiskSpace(path=str(folder.absolute()), total_bytes=use.total, free_bytes=use.free))
    return found


def _embedded(settings: Settings) -> list[str]:
    services = attach(settings.data_dir)
    if services is None:
        return []
    pairs = {
        "postgresql": (services.database_url, settings.database_url),
        "redis": (services.redis_url, settings.redis_url),
    }
    return [name for name, (own, used) in pairs.items() if own is not None and own == used]


def _settings(settings: Settings) -> list[Setting]:
    return [
        Setting(
            name=f"{PREFIX}{name.upper()}",
            value=_shown(name, value),
            is_default=value == Settings.model_fields[name].get_default(),
        )
        for name, value in settings
    ]


def _shown(name: str, value: Any) -> str | None:
    """A setting as it may be told: secrets and what may hold one are hidden."""
    if value is None:
        return None
    if not Settings.model_fields[name].repr:
        return "(set)"
    if name.endswith(("_url", "_endpoint")):
        parts = urlsplit(str(value))
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
    return ", ".join(value) if isinstance(value, list) else str(value)


def _of_checks(checks: Iterable[ServiceCheck]) -> Iterable[PlatformWarning]:
    for check in checks:
        if not check.ok:
            yield PlatformWarning(
                code=f"{check.name.upper()}_FAILS", message=str(check.reason), action=_ACTIONS[check.name]
            )


def _of_processes(processes: Sequence[dict[str, Any]] | None) -> Iterable[PlatformWarning]:
    if processes is None:
        return
    kinds = {process["kind"] for process in processes}
    for kind in _KINDS:
        if kind not in kinds:
            yield PlatformWarning(
                code=f"NO_{kind.upper()}",
                message=f"No {kind} has said within 30 seconds that it lives.",
                action=f"Start one: `quartermaster {kind}`.",
            )
    if len({process["version"] for process in processes}) > 1:
        yield PlatformWarning(
            code="MIXED_VERSIONS",
            message="Processes of different versions run beside each other.",
            action="Finish the update: restart those that `workers` lists with an older version.",
        )


def _of_outbox(waiting: BacklogRow) -> Iterable[PlatformWarning]:
    if waiting.seconds > _LATE:
        yield PlatformWarning(
            code="OUTBOX_LATE",
            message=f"{waiting.waiting} events and jobs wait, the oldest for {waiting.seconds:.0f} s.",
            action="See that a relay leads, that Redis answers, and that a worker of this version runs.",
        )


def _of_jobs(jobs: Mapping[str, ScheduledJobRow], now: datetime, crons: Timetable) -> Iterable[PlatformWarning]:
    for name, job in sorted(jobs.items()):
        if job.failure:
            yield PlatformWarning(
                code=f"{name}_FAILED",
                message=f"Its last run, at {job.started_at:%Y-%m-%d %H:%M} UTC: {job.failure}",
                action="Mend it, then `runScheduledJob`; or set its QM_…_CRON to `off`.",
            )
        elif job.started_at and job.ended_at is None and now - job.started_at > _LONG:
            yield PlatformWarning(
                code=f"{name}_TAKES_LONG",
                message=f"It runs since {job.started_at:%Y-%m-%d %H:%M} UTC.",
                action="See in the relay's log what it waits for, and in `databaseStats` whether something blocks.",
            )
    backup, cron = jobs.get(JobName.BACKUP), crons.crons[JobName.BACKUP]
    if backup and cron and _is_old(backup, cron, on_the_wall(now, crons.zone), crons.zone):
        last = f"The last is of {backup.started_at:%Y-%m-%d %H:%M} UTC." if backup.started_at else "There is none."
        yield PlatformWarning(
            code="BACKUP_OLD",
            message=f"No backup was made the last {_MISSED} times that one was due. {last}",
            action="See that a relay leads (`workers`), then `runScheduledJob`; or set QM_BACKUP_CRON to `off`.",
        )


def _is_old(backup: ScheduledJobRow, cron: str, shown: datetime, zone: ZoneInfo) -> bool:
    """Whether the last one, which did not fail, is three days old, and three were due since; `shown` is now."""
    if backup.failure or (backup.started_at and backup.ended_at is None):
        return False
    last = on_the_wall(backup.started_at, zone) if backup.started_at else backup.reached
    slot = last
    for _ in range(_MISSED):
        slot = next_slot(cron, slot)
    return slot < shown and shown - last > _OLD


def _of_clock(clock: ClockComparison) -> Iterable[PlatformWarning]:
    if abs(clock.offset_seconds) > _SKEW:
        yield PlatformWarning(
            code="CLOCK_SKEW",
            message=f"The database's clock is {clock.offset_seconds:+.1f} s off this process's.",
            action="Run a time service (chrony, systemd-timesyncd) on both machines.",
        )


def _of_disks(disks: Iterable[DiskSpace]) -> Iterable[PlatformWarning]:
    for disk in disks:
        if disk.free_bytes < max(_LITTLE_BYTES, disk.total_bytes * _LITTLE_SHARE):
            yield PlatformWarning(
                code="DISK_LOW",
                message=f"{disk.path}: {disk.free_bytes / (1 << 30):.1f} GiB are free.",
                action="Free some, or move the folder (QM_STORAGE_URL, QM_DATA_DIR) to a larger disk.",
            )


def _of_settings(settings: Settings) -> Iterable[PlatformWarning]:
    if settings.trusted_proxies == "*":
        yield PlatformWarning(
            code="ANY_PROXY_TRUSTED",
            message="Whoever sends X-Forwarded-For is believed, so limits for an address can be evaded.",
            action="Name the proxies in QM_TRUSTED_PROXIES.",
        )
    if settings.public_url is None and settings.host not in ("127.0.0.1", "localhost", "::1"):
        yield PlatformWarning(
            code="NO_PUBLIC_URL",
            message=f"Links lead to {settings.url}, which others may not reach.",
            action="Say in QM_PUBLIC_URL how the outside reaches this server.",
        )
