"""Reading the schedule. It is the platform's: only scopes of the whole platform may ask."""

from sqlalchemy import select

from domain.kit.errors import Denied
from domain.kit.scope import Scope
from domain.kit.sql import Runner, Statement
from domain.schedule.models import ScheduledJobRow, scheduled_jobs

_ALL = Statement(select(*(scheduled_jobs.c[name] for name in ScheduledJobRow.__annotations__)), ScheduledJobRow)


async def scheduled_jobs_by_name(db: Runner, scope: Scope) -> dict[str, ScheduledJobRow]:
    """Every job that a relay has ever looked at."""
    platform_only(scope)
    return {row.name: row for row in await db.all(_ALL)}


def platform_only(scope: Scope) -> None:
    """Raises Denied for the scope of one client."""
    if scope.client_id is not None:
        raise Denied("This is of the whole platform.")
