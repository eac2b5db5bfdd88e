"""Taking what is due, once, and writing down how it went. Only the leading relay does.

Time is the database's: relays on several machines then agree about it.
"""

from collections.abc import Collection
from datetime import datetime
from zoneinfo import ZoneInfo

from sqlalchemy import DateTime, bindparam, func, null, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, insert

from domain.kit.errors import Conflict
from domain.kit.scope import SYSTEM_ID, Scope
from domain.kit.sql import Statement
from domain.kit.transactions import Transaction
from domain.schedule.models import ScheduledJobRow, scheduled_jobs
from domain.schedule.queries import platform_only
from domain.schedule.times import Timetable, is_due, is_wrong, on_the_wall

MAX_ATTEMPTS = 3
"""How often a run that was cut off is begun again."""
_MOST_SAID = 2_000  # characters of a failure
_UTC = ZoneInfo("UTC")

_j = scheduled_jobs.c
_NOW = Statement(select(func.now().label("now")))
_KNOWN = Statement(
    insert(scheduled_jobs)
    .from_select(
        ["name", "reached"],
        select(
            func.unnest(bindparam("names", type_=ARRAY(TEXT))), bindparam("reached", type_=DateTime(timezone=False))
        ),
    )
    .on_conflict_do_nothing()
)
_LOCKED = Statement(select(scheduled_jobs).order_by(_j.name).with_for_update(), ScheduledJobRow)
_REACHED = Statement(update(scheduled_jobs).where(_j.name == bindparam("job")).values(reached=bindparam("reached")))
_STARTED = Statement(
    update(scheduled_jobs)
    .where(_j.name == bindparam("job"))
    .values(
        reached=bindparam("reached"),
        requested_at=null(),
        started_at=func.now(),
        ended_at=null(),
        attempts=bindparam("attempt"),
        failure=null(),
    )
)
_ENDED = Statement(
    update(scheduled_jobs)
    .where(_j.name == bindparam("job"))
    .values(ended_at=func.now(), failure=bindparam("failure", type_=TEXT))
)
_REQUESTED = Statement(
    update(scheduled_jobs)
    .where(_j.name == bindparam("job"))
    .values(requested_at=func.now())
    .returning(_j.started_at, _j.ended_at)
)


async def take_due(tx: Transaction, scope: Scope, timetable: Timetable, running: Collection[str]) -> list[str]:
    """The jobs that are to run now; they count as started. `running` are those that this process has under way.

    What was missed, however often, is due once. A run that was cut off is due again, up to three times.
    """
    now: datetime = await tx.value(_NOW)
    shown = on_the_wall(now, timetable.zone)
    await tx.all(_KNOWN, names=list(timetable.crons), reached=shown)
    taken = []
    for row in await tx.all(_LOCKED):
        if row.name not in timetable.crons or row.name in running:
            continue
        if is_wrong(row.reached, shown):
            await tx.all(_REACHED, job=row.name, reached=shown)
        elif attempt := await _attempt(tx, scope, row, timetable.crons[row.name], shown):
            await tx.all(_STARTED, job=row.name, reached=max(shown, row.reached), attempt=attempt)
            taken.append(row.name)
    return taken


async def _attempt(tx: Transaction, scope: Scope, row: ScheduledJobRow, cron: str | None, shown: datetime) -> int:
    """The how manieth attempt is due; 0 for none."""
    if row.requested_at is not None or (cron is not None and is_due(cron, row.reached, shown)):
        return 1
    if row.started_at is None or row.ended_at is not None:
        return 0
    if row.attempts < MAX_ATTEMPTS:
        return row.attempts + 1
    await end_run(tx, scope, row.name, f"It was cut off {MAX_ATTEMPTS} times.")
    return 0


async def end_run(tx: Transaction, scope: Scope, name: str, failure: str | None) -> None:
    """A run came to its end; `failure` says why it is none to be content with, and an event tells it."""
    told = failure and failure.replace("\0", "")[:_MOST_SAID]
    await tx.all(_ENDED, job=name, failure=told)
    if told:
        subject = ("System", SYSTEM_ID)
        tx.emit(scope, "schedule.job_failed", client_id=None, subject=subject, job=name, message=told)


async def request_run(tx: Transaction, scope: Scope, name: str) -> None:
    """Have a job run now, whatever its cron says. Raises Denied to a client, Conflict while it runs."""
    platform_only(scope)
    now = await tx.value(_NOW)
    await tx.all(_KNOWN, names=[name], reached=on_the_wall(now, _UTC))
    row = await tx.one(_REQUESTED, job=name)
    assert row is not None  # it was made known
    if row.started_at is not None and row.ended_at is None:
        raise Conflict("This job is running.", code="ALREADY_RUNNING", job=name)
    tx.emit(scope, "schedule.job_requested", client_id=None, subject=("System", SYSTEM_ID), job=name)
