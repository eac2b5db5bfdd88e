"""The platform: root operations for those who run it. Where the answers come from is `server/platform.py`."""

from datetime import UTC, datetime

import strawberry

from domain.schedule.commands import request_run
from domain.schedule.models import JobName, ScheduledJobRow
from domain.schedule.queries import scheduled_jobs_by_name
from domain.schedule.times import next_moment
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.platform import CacheStats, DatabaseStats, Diagnostics, ScheduledJob, Workers


@strawberry.type
class PlatformQuery:
    @operation(Permission.PLATFORM_READ, Diagnostics)
    async def diagnostics(self, info: Info) -> Diagnostics:
        """How the system is: health with latencies, settings, disks, clocks, and warnings with what to do."""
        return await info.context.services.platform.diagnostics(info.context.scope)

    @operation(Permission.PLATFORM_READ, DatabaseStats)
    async def database_stats(self, info: Info) -> DatabaseStats:
        """Sizes, dead rows, connections and the oldest transaction of the database."""
        return await info.context.services.platform.database_stats(info.context.scope)

    @operation(Permission.PLATFORM_READ, Workers)
    async def workers(self, info: Info) -> Workers:
        """Every process of the system that lives, and how many jobs wait."""
        return await info.context.services.platform.workers()

    @operation(Permission.PLATFORM_READ, list[CacheStats])
    async def cache_stats(self, info: Info) -> list[CacheStats]:
        """What each API process keeps, some seconds old at most."""
        return await info.context.services.platform.cache_stats()

    @operation(Permission.PLATFORM_READ, list[ScheduledJob])
    async def scheduled_jobs(self, info: Info) -> list[ScheduledJob]:
        """The jobs that run at times of the day: when they ran, how that went, when they run next."""
        return await _jobs(info.context)


@strawberry.type
class PlatformMutation:
    @operation(Permission.PLATFORM_WRITE, ScheduledJob)
    async def run_scheduled_job(self, info: Info, name: JobName) -> ScheduledJob:
        """Have a job run within seconds, whatever its times. Refused (ALREADY_RUNNING) while it runs."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await request_run(tx, ctx.scope, name)
        return next(job for job in await _jobs(ctx) if job.name is name)


async def _jobs(ctx: Context) -> list[ScheduledJob]:
    known = await scheduled_jobs_by_name(ctx.db, ctx.scope)
    return [_job(ctx, name, known.get(name)) for name in JobName]


def _job(ctx: Context, name: JobName, row: ScheduledJobRow | None) -> ScheduledJob:
    timetable = ctx.services.timetable
    cron, zone = timetable.crons[name], timetable.zone
    return ScheduledJob(
        name=name,
        cron=cron,
        time_zone=zone.key,
        running=bool(row and row.started_at and not row.ended_at),
        started_at=row.started_at if row else None,
        ended_at=row.ended_at if row else None,
        failure=row.failure if row else None,
        requested_at=row.requested_at if row else None,
        next_run_at=next_moment(cron, row.reached, datetime.now(UTC), zone) if row and cron else None,
    )
