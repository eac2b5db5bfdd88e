"""What runs at times of the day, while this relay leads. What is due when is `domain/schedule/`'s to say.

Each job is a task of its own, so that a backup of an hour keeps nobody waiting. One that is cut off, because this
process ends or no longer leads, is begun again by whoever leads next.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping

import structlog

from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.tasks import end
from domain.kit.transactions import transaction
from domain.schedule.commands import end_run, take_due
from domain.schedule.times import Timetable

Work = Callable[[], Awaitable[None]]
"""What a job does. What it raises is told as the reason of its failure."""

_log = structlog.get_logger(__name__)


class Timed:
    """Starts what is due; `work` is what each job of the timetable does."""

    def __init__(self, database: Database, timetable: Timetable, work: Mapping[str, Work]) -> None:
        self._database = database
        self._timetable = timetable
        self._work = work
        self._running: dict[str, asyncio.Task[None]] = {}

    async def look(self) -> None:
        """Start what is due now."""
        async with transaction(self._database) as tx:
            due = await take_due(tx, SYSTEM, self._timetable, self._running)
        for name in due:
            self._running[name] = asyncio.create_task(self._run(name), name=f"job {name}")

    async def stop(self) -> None:
        """Cut off what runs."""
        await end(*self._running.values())

    async def _run(self, name: str) -> None:
        failure = None
        try:
            await self._work[name]()
        except Exception as error:  # noqa: BLE001 - whatever it is, its operator sees it in `scheduledJobs`
            failure = str(error) or type(error).__name__
            _log.error("a scheduled job failed", job=name, error=failure, exc_info=error)
        try:
            async with transaction(self._database) as tx:
                await end_run(tx, SYSTEM, name, failure)
        finally:
            del self._running[name]
