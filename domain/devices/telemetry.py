"""What devices measured over time, downsampled by the database, and how long it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Float, Interval, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from domain.devices.models import device_telemetry
from domain.kit.errors import Invalid
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment

MAX_POINTS = 1_000
MAX_RANGE = timedelta(days=400)
DEFAULT_RANGE = timedelta(days=7)
MEASURES = ("battery_v", "battery_pct", "rssi", "temperature_c", "free_heap_bytes")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_t = device_telemetry.c


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of time in `points` equal steps, whose bounds are whole steps since 1970."""

    since: datetime
    until: datetime
    step: timedelta


@dataclass(frozen=True, slots=True)
class Measure:
    """Of one vital in one step. Each is null when it was not said then."""

    min: float | None
    mean: float | None
    max: float | None


@dataclass(frozen=True, slots=True)
class TelemetryPoint:
    """One step: `at` is when it begins. A step without reports is a gap, with `reports` 0."""

    at: datetime
    reports: int
    uploads: int
    failed_uploads: int
    battery_v: Measure
    battery_pct: Measure
    rssi: Measure
    temperature_c: Measure
    free_heap_bytes: Measure


@dataclass(frozen=True, slots=True)
class Telemetry:
    """`step_seconds` is how long each point's step is."""

    since: datetime
    until: datetime
    step_seconds: int
    points: list[TelemetryPoint]


def window(since: datetime | None, until: datetime | None, points: int) -> Window:
    """The stretch asked for, widened to whole steps. Raises Invalid for one that is empty, too long or too fine."""
    if not 1 <= points <= MAX_POINTS:
        raise Invalid(f"`points` must be between 1 and {MAX_POINTS}.", argument="points", given=points)
    try:
        until = until or datetime.now(UTC)
        since = since or until - DEFAULT_RANGE
        if since >= until:
            raise Invalid("`from` must be before `to`.", argument="from")
        if until - since > MAX_RANGE:
            raise Invalid(f"At most {MAX_RANGE.days} days at once.", argument="from")
        step = timedelta(seconds=max(1, -(-(until - since) // timedelta(seconds=points))))
        first = _EPOCH + (since - _EPOCH) // step * step
        count = -((first - until) // step)
        return Window(first, first + count * step, step)
    except OverflowError:
        raise Invalid("A time is out of range.", argument="from") from None


def _measures() -> list[ColumnElement[Any]]:
    return [
        function(cast(_t[name], Float)).label(f"{name}_{label}")  # averages of whole numbers take twice as long
        for name in MEASURES
        for label, function in (("min", func.min), ("mean", func.avg), ("max", func.max))
    ]


_at = func.date_bin(bindparam("step", type_=Interval), _t.reported_at, bindparam("since", type_=Moment))
_SERIES = Statement(
    select(
        _t.device_id,
        _at.label("at"),
        func.count().label("reports"),
        func.count().filter(_t.uploaded.is_(True)).label("uploads"),
        func.count().filter(_t.uploaded.is_(False)).label("failed_uploads"),
        *_measures(),
    )
    .where(
        _t.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        _t.reported_at >= bindparam("since", type_=Moment),
        _t.reported_at < bindparam("until", type_=Moment),
    )
    .group_by(_t.device_id, text("2"))  # by position: the same parameter written twice is two to PostgreSQL
)


async def telemetry_of(db: Runner, scope: Scope, ids: Sequence[str], asked: Window) -> list[Telemetry]:
    """The series of devices that the scope was checked for, aligned; one statement for all of them."""
    rows = await db.all(_SERIES, ids=list(ids), since=asked.since, until=asked.until, step=asked.step)
    found = {(row.device_id, row.at): row for row in rows}
    steps = [asked.since + number * asked.step for number in range((asked.until - asked.since) // asked.step)]
    return [
        Telemetry(
            asked.since,
            asked.until,
            int(asked.step.total_seconds()),
            [_point(at, found.get((device_id, at))) for at in steps],
        )
        for device_id in ids
    ]


def _point(at: datetime, row: Row | None) -> TelemetryPoint:
    if row is None:
        nothing = Measure(None, None, None)
        return TelemetryPoint(at, 0, 0, 0, *([nothing] * len(MEASURES)))
    return TelemetryPoint(
        at,
        row.reports,
        row.uploads,
        row.failed_uploads,
        *(Measure(*(_float(row[f"{name}_{label}"]) for label in ("min", "mean", "max"))) for name in MEASURES),
    )


def _float(value: Any) -> float | None:
    return None if value is None else float(value)
