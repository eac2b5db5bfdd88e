"""Jobs that run at times of the day: once each, whatever clocks do; made up for once; begun again when cut off."""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.schedule.times import is_due, is_wrong, next_moment, on_the_wall
from tests.conftest import StackOf
from tests.retention.operations import JOBS, RUN_JOB, job, value
from tests.support.api import Api, Organisation
from tests.support.log import eventually, logged
from tests.support.sql import execute
from tests.support.stack import Stack

_NIGHTLY = "0 2 * * *"
_BERLIN, _NEW_YORK, _TOKYO = map(ZoneInfo, ("Europe/Berlin", "America/New_York", "Asia/Tokyo"))


def _runs(
    cron: str, begin: datetime, minutes: int, zone_at: Any, *, skip: Any = lambda moment: False
) -> list[datetime]:
    """When a relay that looks every five minutes runs a job; `zone_at(moment)` is the zone that is set then."""
    reached = on_the_wall(begin, zone_at(begin))
    runs = []
    for step in range(0, minutes, 5):
        moment = begin + timedelta(minutes=step)
        shown = on_the_wall(moment, zone_at(moment))
        if skip(moment):
            continue
        if is_wrong(reached, shown):
            reached = shown
        elif is_due(cron, reached, shown):
            reached = max(reached, shown)
            runs.append(moment)
    return runs


@pytest.mark.parametrize(
    ("cron", "begin", "expected"),
    [
        # The night of 25 October 2026, when 02:00 to 03:00 comes twice in Berlin.
        ("30 2 * * *", datetime(2026, 10, 24, 12, tzinfo=UTC), ["10-25 00:30", "10-26 01:30"]),
        # The night of 29 March 2026, when 02:00 to 03:00 is left out.
        ("30 2 * * *", datetime(2026, 3, 28, 12, tzinfo=UTC), ["03-29 01:00", "03-30 00:30"]),
    ],
    ids=["an hour that comes twice", "an hour that is left out"],
)
def test_a_night_in_which_clocks_change_has_one_run(cron: str, begin: datetime, expected: list[str]) -> None:
    runs = _runs(cron, begin, 2 * 24 * 60, lambda _: _BERLIN)
    assert [f"{run:%m-%d %H:%M}" for run in runs] == expected


@pytest.mark.parametrize("other", [_NEW_YORK, _TOKYO], ids=str)
@pytest.mark.parametrize("moved_at", [1, 3, 9, 20])
def test_a_move_to_another_time_zone_runs_no_night_twice(other: ZoneInfo, moved_at: int) -> None:
    begin = datetime(2026, 6, 1, 12, tzinfo=UTC)
    move = begin + timedelta(hours=24 + moved_at)
    runs = _runs(_NIGHTLY, begin, 5 * 24 * 60, lambda moment: other if moment >= move else ZoneInfo("UTC"))
    nights = [on_the_wall(run, other if run >= move else ZoneInfo("UTC")).date() for run in runs]
    assert len(nights) == len(set(nights))
    assert 4 <= len(nights) <= 6


def test_what_was_missed_is_made_up_for_once() -> None:
    begin = datetime(2026, 6, 1, 12, tzinfo=UTC)
    back = begin + timedelta(days=10)
    runs = _runs(_NIGHTLY, begin, 12 * 24 * 60, lambda _: UTC, skip=lambda moment: moment < back)
    assert [f"{run:%m-%d %H:%M}" for run in runs] == ["06-11 12:00", "06-12 02:00", "06-13 02:00"]


def test_a_clock_that_was_years_ahead_stops_nothing() -> None:
    ahead = datetime(2031, 1, 1)
    now = datetime(2026, 6, 1, 12, tzinfo=UTC)
    assert is_wrong(ahead, on_the_wall(now, ZoneInfo("UTC")))
    assert next_moment(_NIGHTLY, ahead, now, ZoneInfo("UTC")) == datetime(2026, 6, 2, 2, tzinfo=UTC)


async def _ran(api: Api, name: str, before: str | None) -> dict[str, Any]:
    """A job, once a run of it ended that began after the one that began then."""

    async def over() -> dict[str, Any] | None:
        found = await job(api, name)
        return found if found["startedAt"] != before and found["endedAt"] else None

    found: dict[str, Any] = await eventually(over, what=f"a run of {name}")
    return found


async def test_every_job_tells_when_it_runs_next(admin: Api) -> None:
    async def known() -> Any:
        found = {one["name"]: one for one in (await admin.run(JOBS))["scheduledJobs"]}
        return found if all(one["nextRunAt"] for one in found.values()) else None

    found = await eventually(known, what="a relay that looked")
    assert {name: one["cron"] for name, one in found.items()} == {
        "IMAGE_CLEANUP": "0 2 * * *",
        "TELEMETRY_CLEANUP": "0 3 * * 0",
        "EVENT_CLEANUP": "30 3 * * 0",
        "BACKUP": "0 1 * * *",
    }
    next_run = datetime.fromisoformat(found["TELEMETRY_CLEANUP"]["nextRunAt"])
    assert (next_run.isoweekday(), next_run.hour, next_run.minute) == (7, 3, 0)
    assert timedelta(0) < next_run - datetime.now(UTC) <= timedelta(days=7)


async def test_a_job_that_was_missed_for_days_runs_once(admin: Api, database_url: str) -> None:
    before = (await job(admin, "EVENT_CLEANUP"))["startedAt"]
    statement = "SELECT count(*) FROM cleanup_runs WHERE kind = 'EVENTS'"
    runs = await value(database_url, statement)
    missed = "UPDATE scheduled_jobs SET reached = reached - interval '40 days' WHERE name = 'EVENT_CLEANUP'"
    await execute(database_url, missed)
    found = await _ran(admin, "EVENT_CLEANUP", before)
    assert found["failure"] is None
    assert datetime.fromisoformat(found["nextRunAt"]) > datetime.now(UTC)
    # Another job's run, that begins later: the relay has looked at all of them again by then.
    other = (await job(admin, "TELEMETRY_CLEANUP"))["startedAt"]
    await admin.run(RUN_JOB, name="TELEMETRY_CLEANUP")
    await _ran(admin, "TELEMETRY_CLEANUP", other)
    assert (await job(admin, "EVENT_CLEANUP"))["startedAt"] == found["startedAt"]
    assert await value(database_url, statement) == runs + 1


async def test_a_job_runs_when_somebody_wants_it_to(admin: Api, org: Organisation) -> None:
    before = (await job(admin, "IMAGE_CLEANUP"))["startedAt"]
    asked = (await admin.run(RUN_JOB, name="IMAGE_CLEANUP"))["runScheduledJob"]
    assert asked["requestedAt"] is not None
    found = await _ran(admin, "IMAGE_CLEANUP", before)
    assert (found["running"], found["requestedAt"], found["failure"]) == (False, None, None)
    assert await logged(admin, types=["schedule.job_requested"])
    assert await org.operator.code(RUN_JOB, name="IMAGE_CLEANUP") == "FORBIDDEN"
    assert await org.operator.code(JOBS) == "FORBIDDEN"


@pytest.fixture(scope="module")
def own_stack(stack_of: StackOf) -> Iterator[Stack]:
    with stack_of(QM_BACKUP_CRON="off", QM_TIME_ZONE="Asia/Tokyo", QM_IMAGE_CLEANUP_CRON="*/5 4 * * *") as stack:
        yield stack


@asynccontextmanager
async def _admin(stack: Stack) -> AsyncIterator[Api]:
    async with stack.signed_in() as api:
        yield api


async def test_a_job_that_is_off_has_no_next_run_and_a_zone_is_kept_to(own_stack: Stack) -> None:
    async with _admin(own_stack) as admin:

        async def known() -> Any:
            return (await job(admin, "IMAGE_CLEANUP"))["nextRunAt"]

        next_run = datetime.fromisoformat(await eventually(known, what="a relay that looked"))
        assert next_run.astimezone(_TOKYO).hour == 4
        off = await job(admin, "BACKUP")
        assert (off["cron"], off["nextRunAt"], off["timeZone"]) == (None, None, "Asia/Tokyo")


async def test_a_run_that_was_cut_off_is_begun_again_but_not_for_ever(own_stack: Stack) -> None:
    url = own_stack.environment["QM_DATABASE_URL"]
    cut_off = (
        "INSERT INTO scheduled_jobs (name, reached, started_at, attempts) VALUES ('%s', now() AT TIME ZONE "
        "'Asia/Tokyo', now() - interval '1 hour', %s) ON CONFLICT (name) DO UPDATE SET started_at = "
        "EXCLUDED.started_at, ended_at = NULL, attempts = EXCLUDED.attempts"
    )
    async with _admin(own_stack) as admin:
        await execute(url, cut_off % ("TELEMETRY_CLEANUP", 2))
        await execute(url, cut_off % ("EVENT_CLEANUP", 3))

        async def over() -> Any:
            jobs = [await job(admin, name) for name in ("TELEMETRY_CLEANUP", "EVENT_CLEANUP")]
            return jobs if all(one["endedAt"] for one in jobs) else None

        again, given_up = await eventually(over, what="the end of both")
        assert again["failure"] is None
        assert datetime.fromisoformat(again["startedAt"]) > datetime.now(UTC) - timedelta(minutes=5)
        assert "cut off 3 times" in given_up["failure"]
        (event,) = await logged(admin, types=["schedule.job_failed"])
        assert event["data"]["job"] == "EVENT_CLEANUP"
        assert event["subjectKind"] == "SYSTEM"
