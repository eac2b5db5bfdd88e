"""What happens by the clock, while this relay leads: overdue jobs, new partitions, forgotten keys."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from types import TracebackType

import asyncpg
import structlog
from apscheduler.schedulers.asyncio import AsyncIOScheduler

from domain.configs.wakes import mark_overdue
from domain.device_commands.jobs import expire_device_commands
from domain.devices.models import device_telemetry
from domain.devices.presence import PresencePolicy
from domain.devices.sweep import BATCH, mark_inactive, sweep_presence
from domain.devices.telemetry import drop_old_telemetry
from domain.events.models import events
from domain.firmware.jobs import advance_rollouts
from domain.idempotency.commands import expire_keys
from domain.images.jobs import resend_overdue_images
from domain.images.variants import resend_overdue_variants
from domain.kit.errors import Refusal
from domain.kit.partitions import make_partitions
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.users.sessions import delete_ended_sessions

_SESSIONS_KEPT = timedelta(days=30)

_log = structlog.get_logger(__name__)


class Schedule:
    """Runs each job at its interval, never twice at a time, and once at the start."""

    def __init__(self, database: Database, presence: PresencePolicy, telemetry_kept: timedelta) -> None:
        self._database = database
        self._presence = presence
        self._telemetry_kept = telemetry_kept
        self._scheduler = AsyncIOScheduler(timezone="UTC", job_defaults={"coalesce": True, "max_instances": 1})

    async def __aenter__(self) -> "Schedule":
        await self._guarded(self._make_partitions)
        for job, interval in (
            (self._resend_overdue_images, timedelta(seconds=5)),
            (self._expire_device_commands, timedelta(seconds=10)),
            (self._advance_rollouts, timedelta(seconds=5)),
            (self._make_partitions, timedelta(hours=6)),
            (self._mark_overdue_configs, timedelta(minutes=1)),
            (self._sweep_presence, timedelta(minutes=1)),
            (self._mark_inactive_devices, timedelta(hours=1)),
            (self._drop_old_telemetry, timedelta(hours=6)),
            (self._expire_keys, timedelta(hours=1)),
            (self._delete_ended_sessions, timedelta(hours=6)),
        ):
            seconds = interval.total_seconds()
            self._scheduler.add_job(
                self._guarded,
                "interval",
                (job,),
                seconds=seconds,
                id=job.__name__,
                next_run_time=datetime.now(UTC),
            )
        self._scheduler.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._scheduler.shutdown(wait=False)

    async def _guarded(self, job: Callable[[], Awaitable[None]]) -> None:
        try:
            await job()
        except (Refusal, asyncpg.PostgresError) as error:
            # The next time comes by itself. One job that cannot run must not keep a relay from leading.
            _log.warning("a scheduled job could not run", job=job.__name__, error=str(error))

    async def _resend_overdue_images(self) -> None:
        async with transaction(self._database) as tx:
            resent = await resend_overdue_images(tx, SYSTEM) + await resend_overdue_variants(tx, SYSTEM)
        if resent:
            _log.warning("images whose worker did not come back were sent again", images=resent)

    async def _expire_device_commands(self) -> None:
        async with transaction(self._database) as tx:
            await expire_device_commands(tx, SYSTEM)

    async def _advance_rollouts(self) -> None:
        async with transaction(self._database) as tx:
            await advance_rollouts(tx, SYSTEM)

    async def _make_partitions(self) -> None:
        for table in (events, device_telemetry):
            async with transaction(self._database) as tx:
                await make_partitions(tx, SYSTEM, table)

    async def _mark_overdue_configs(self) -> None:
        async with transaction(self._database) as tx:
            await mark_overdue(tx, SYSTEM)

    async def _sweep_presence(self) -> None:
        due = BATCH
        while due == BATCH:
            async with transaction(self._database) as tx:
                due = (await sweep_presence(tx, SYSTEM, self._presence)).due

    async def _mark_inactive_devices(self) -> None:
        marked = BATCH
        while marked == BATCH:
            async with transaction(self._database) as tx:
                marked = await mark_inactive(tx, SYSTEM, self._presence)

    async def _drop_old_telemetry(self) -> None:
        async with transaction(self._database) as tx:
            await drop_old_telemetry(tx, SYSTEM, self._telemetry_kept)

    async def _expire_keys(self) -> None:
        await expire_keys(self._database)

    async def _delete_ended_sessions(self) -> None:
        await delete_ended_sessions(self._database, older_than=_SESSIONS_KEPT)
