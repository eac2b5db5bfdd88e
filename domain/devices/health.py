"""How well devices do: their uploads of a week, and where their batteries are going.

The trend is the Theil–Sen slope of half-day medians since the battery was last charged: the median of the slopes
between all pairs of them, which a few wild readings do not move. Its bounds are the 95 % confidence interval by
Kendall's statistic (Sen 1968), so that a forecast says how sure it is. A median is of the first reports of its half
day: what a device's health costs must not grow with how often it reports.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil, floor, sqrt
from statistics import median
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Integer,
    Interval,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from domain.devices.models import device_telemetry
from domain.devices.presence import PRESENCE_READS, Presence, PresencePolicy, presence_of
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id, Moment

UPLOADS_OVER = timedelta(days=7)
BATTERY_OVER = timedelta(days=21)
_HALF_DAY = timedelta(hours=12)
_SAMPLES = 5  # reports that make a half day's median
_CHARGED = 5.0  # percent points that a battery does not gain by itself
_FEWEST = 4  # points that make a trend
_SHORTEST = timedelta(days=2)
_DAY = 86_400.0
_Z = 1.96
_STEADY = 0.05  # percent points a day that are no direction
_t = device_telemetry.c


class BatteryDirection(StrEnum):
    """DRAINING and CHARGING are sure (95 %), STEADY is neither."""

    DRAINING = "DRAINING"
    STEADY = "STEADY"
    CHARGING = "CHARGING"


@dataclass(frozen=True, slots=True)
class BatteryTrend:
    """Percent points a day, with the bounds within which it is for 95 %, from so many half-day medians."""

    percent_per_day: float
    low: float
    high: float
    points: int
    since: datetime
    direction: BatteryDirection


@dataclass(frozen=True, slots=True)
class DaysLeft:
    """Days until the battery is empty. `high` is null when it may last for ever."""

    days: float
    low: float
    high: float | None


@dataclass(frozen=True, slots=True)
class DeviceHealth:
    """Shares are 0 to 1; what there is too little to say of is None."""

    presence: Presence
    battery_v: float | None
    battery_pct: float | None
    rssi: int | None
    last_seen_at: datetime | None
    uploads: int
    failed_uploads: int
    upload_success_rate: float | None
    battery_trend: BatteryTrend | None
    battery_days_left: DaysLeft | None


HEALTH_READS = ("id", "battery_v", "battery_pct", "rssi", *PRESENCE_READS)
"""The columns that `health_of` reads."""


class _Measured(Row):
    device_id: str
    uploads: int
    failed_uploads: int
    times: list[datetime] | None
    medians: list[float] | None


_half_day = bindparam("half_day", type_=Interval)
_asked = (
    func.unnest(bindparam("ids", type_=ARRAY(Id)), bindparam("with_battery", type_=ARRAY(Boolean)))
    .table_valued(Column("id", Id), Column("with_battery", Boolean))
    .render_derived(name="asked")
)
_uploads = (
    select(
        _t.device_id,
        cast(func.count().filter(_t.uploaded), Integer).label("uploads"),
        cast(func.count().filter(~_t.uploaded), Integer).label("failed_uploads"),
    )
    .where(
        _t.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        _t.uploaded.is_not(None),
        _t.reported_at > func.now() - bindparam("uploads_over", type_=Interval),
        _t.reported_at <= func.now(),
    )
    .group_by(_t.device_id)
    .subquery("uploads")
)
_first = func.date_bin(
    _half_day, func.now() - bindparam("battery_over", type_=Interval), literal_column("'epoch'::timestamptz")
)
_half_days = (
    func.generate_series(_first, func.now(), _half_day)
    .table_valued(Column("at", Moment))
    .render_derived("half_days")
)
_sample = (
    select(_t.battery_pct)
    .where(
        _t.device_id == _asked.c.id,
        _t.reported_at >= _half_days.c.at,
        _t.reported_at < _half_days.c.at + _half_day,
        _t.reported_at <= func.now(),
        _t.battery_pct.is_not(None),
    )
    .order_by(_t.reported_at)
    .limit(bindparam("samples", type_=BigInteger))
    .correlate(_asked, _half_days)
    .lateral("sample")
)
_median = select(cast(func.percentile_cont(0.5).within_group(_sample.c.battery_pct), Float).label("value")).lateral(
    "median"
)
_medians = (
    select(
        func.array_agg(aggregate_order_by(_half_days.c.at, _half_days.c.at)).label("times"),
        func.array_agg(aggregate_order_by(_median.c.value, _half_days.c.at)).label("medians"),
    )
    .select_from(_half_days.join(_median, true()))
    # One that runs from the mains may report every few seconds, and nothing of a battery: look for none.
    .where(_asked.c.with_battery, _median.c.value.is_not(None))
    .lateral("medians")
)
_MEASURED = Statement(
    select(
        _asked.c.id.label("device_id"),
        func.coalesce(_uploads.c.uploads, 0).label("uploads"),
        func.coalesce(_uploads.c.failed_uploads, 0).label("failed_uploads"),
        _medians.c.times,
        _medians.c.medians,
    ).select_from(_asked.outerjoin(_uploads, _uploads.c.device_id == _asked.c.id).join(_medians, true())),
    _Measured,
)


async def health_of(db: Runner, scope: Scope, devices: Sequence[Any], policy: PresencePolicy) -> list[DeviceHealth]:
    """The health of devices that the scope was checked for, aligned; one statement for all of them."""
    asked = {device.id: device.battery_pct is not None for device in devices}
    rows = await db.all(
        _MEASURED,
        ids=list(asked),
        with_battery=list(asked.values()),
        half_day=_HALF_DAY,
        samples=_SAMPLES,
        uploads_over=UPLOADS_OVER,
        battery_over=BATTERY_OVER,
    )
    found = {row.device_id: row for row in rows}
    return [_health(device, found[device.id], policy) for device in devices]


def _health(device: Any, measured: _Measured, policy: PresencePolicy) -> DeviceHealth:
    uploads, failed = measured.uploads, measured.failed_uploads
    points = list(zip(measured.times or [], measured.medians or [], strict=True))
    trend = battery_trend(points)
    return DeviceHealth(
        presence=presence_of(device, policy),
        battery_v=device.battery_v,
        battery_pct=device.battery_pct,
        rssi=device.rssi,
        last_seen_at=device.last_seen_at,
        uploads=uploads,
        failed_uploads=failed,
        upload_success_rate=uploads / (uploads + failed) if uploads + failed else None,
        battery_trend=trend,
        battery_days_left=_days_left(points[-1][1], trend) if trend else None,
    )


def battery_trend(points: Sequence[tuple[datetime, float]]) -> BatteryTrend | None:
    """The trend of medians in the order of time, since the last charge; None when they are too few or too close."""
    points = _since_charged(points)
    if len(points) < _FEWEST or points[-1][0] - points[0][0] < _SHORTEST:
        return None
    slopes = sorted(
        (value - before) / ((at - earlier).total_seconds() / _DAY)
        for number, (at, value) in enumerate(points)
        for earlier, before in points[:number]
    )
    slope, (low, high) = median(slopes), _bounds(slopes, len(points))
    direction = BatteryDirection.STEADY
    if high < 0 and slope <= -_STEADY:
        direction = BatteryDirection.DRAINING
    elif low > 0 and slope >= _STEADY:
        direction = BatteryDirection.CHARGING
    return BatteryTrend(slope, low, high, len(points), points[0][0], direction)


def _since_charged(points: Sequence[tuple[datetime, float]]) -> Sequence[tuple[datetime, float]]:
    charged = [n for n in range(1, len(points)) if points[n][1] - points[n - 1][1] >= _CHARGED]
    return points[charged[-1] :] if charged else points


def _bounds(slopes: Sequence[float], points: int) -> tuple[float, float]:
    """The slopes at Sen's ranks: so far from the middle as Kendall's S may be by chance."""
    spread = _Z * sqrt(points * (points - 1) * (2 * points + 5) / 18)
    lowest = max(0, floor((len(slopes) - spread) / 2))
    highest = min(len(slopes) - 1, ceil((len(slopes) + spread) / 2))
    return slopes[lowest], slopes[highest]


def _days_left(percent: float, trend: BatteryTrend) -> DaysLeft | None:
    """None unless the battery is surely draining."""
    if trend.direction is not BatteryDirection.DRAINING:
        return None
    return DaysLeft(percent / -trend.percent_per_day, percent / -trend.low, percent / -trend.high)
