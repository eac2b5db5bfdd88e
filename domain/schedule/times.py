"""When a cron expression is due, told in the time on the wall clock of one zone.

A slot is known by what that clock shows, without an offset: "the second of March, 02:00". So an hour that comes
twice in autumn is one slot, one that is left out in spring is due as soon as the clock has passed it, and moving to
another time zone brings no day's slot again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

OFF = "off"
# The clock on the wall may go back by that much when it is moved to another zone. More, and it was wrong before.
_FURTHEST = timedelta(hours=27)
_SOMETIME = datetime(2024, 1, 1)


@dataclass(frozen=True, slots=True)
class Timetable:
    """The cron expression of each job by its name, None for one that is off; all in one time zone."""

    crons: Mapping[str, str | None]
    zone: ZoneInfo


def checked_cron(text: str) -> str:
    """Five fields as cron has them, or `off`. Raises ValueError, also for what never comes."""
    words = " ".join(text.split())
    if words.lower() == OFF:
        return OFF
    try:
        next(CronSim(words, _SOMETIME))
    except (CronSimError, StopIteration) as error:
        why = str(error) or "that never comes"
        raise ValueError(f"it is `off`, or five fields such as `0 2 * * *`: {why}") from None
    return words


def on_the_wall(moment: datetime, zone: ZoneInfo) -> datetime:
    """What a clock in the zone shows at that moment; without a zone."""
    return moment.astimezone(zone).replace(tzinfo=None)


def is_wrong(reached: datetime, shown: datetime) -> bool:
    """Whether the clock must have been wrong when it showed `reached`: no move to another zone explains it."""
    return reached - shown > _FURTHEST


def is_due(cron: str, reached: datetime, shown: datetime) -> bool:
    """Whether a slot has come since the clock showed `reached`."""
    return next_slot(cron, reached) <= shown


def next_slot(cron: str, after: datetime) -> datetime:
    """The first slot after what the clock showed."""
    return next(CronSim(cron, after))


def next_moment(cron: str, reached: datetime, now: datetime, zone: ZoneInfo) -> datetime:
    """When the first slot after `reached` will run, in UTC: now, if it is due already."""
    shown = on_the_wall(now, zone)
    slot = next_slot(cron, shown if is_wrong(reached, shown) else reached)
    return now if slot <= shown else slot.replace(tzinfo=zone).astimezone(UTC)
