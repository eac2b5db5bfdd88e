"""How well devices do: their uploads of a week, and where their batteries are going.

The trend is the Theil–Sen slope of half-day medians since the battery was last charged: the median of the slopes
between all pairs of them, which a few wild readings do not move. Its bounds are the 95 % confidence interval by
Kendall's statistic (Sen 1968), so that a forecast says how sure it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil, floor, sqrt
from statistics import median
from typing import Any

from sqlalchemy import Float, Interval, bindparam, cast, func, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from domain.devices.models import device_telemetry
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id

UPLOADS_OVER = timedelta(days=7)
BATTERY_OVER = timedelta(days=21)
_BUCKET = timedelta(hours=12)
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

    battery_v: float | None
    battery_pct: float | None
    rssi: int | None
    last_seen_at: datetime | None
    uploads: int
    failed_uploads: int
    upload_success_rate: float | None
    battery_trend: BatteryTrend | None
    battery_days_left: DaysLeft | None


HEALTH_READS = ("id", "battery_v", "battery_pct", "rssi", "last_seen_at")
"""The columns that `health_of` reads."""


class _Measured(Row):
    device_id: str
    uploads: int
    failed_uploads: int
    times: list[datetime]
    medians: list[float]


_bucket = func.date_bin(bindparam("bucket", type_=Interval), _t.reported_at, text("'epoch'::timestamptz"))
_recent = _t.reported_at > func.now() - bindparam("uploads_over", type_=Interval)
_buckets = (
    select(
        _t.device_id,
        _bucket.label("at"),
        cast(func.percentile_cont(0.5).within_group(_t.battery_pct), Float).label("battery_pct"),
        func.count().filter(_t.uploaded.is_(True), _recent).label("uploads"),
        func.count().filter(_t.uploaded.is_(False), _recent).label("failed_uploads"),
    )
    .where(
        _t.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        _t.reported_at > func.now() - bindparam("battery_over", type_=Interval),
        _t.reported_at <= func.now(),
    )
    .group_by(_t.device_id, text("2"))
    .subquery("buckets")
)
_known = _buckets.c.battery_pct.is_not(None)
_MEASURED = Statement(
    select(
        _buckets.c.device_id,
        cast(func.sum(_buckets.c.uploads), _t.boot_count.type).label("uploads"),
        cast(func.sum(_buckets.c.failed_uploads), _t.boot_count.type).label("failed_uploads"),
        func.coalesce(func.array_agg(_buckets.c.at).filter(_known), text("'{}'")).label("times"),
        func.coalesce(func.array_agg(_buckets.c.battery_pct).filter(_known), text("'{}'")).label("medians"),
    ).group_by(_buckets.c.device_id),
    _Measured,
)


async def health_of(db: Runner, scope: Scope, devices: Sequence[Any]) -> list[DeviceHealth]:
    """The health of devices that the scope was checked for, aligned; one statement for all of them."""
    rows = await db.all(
        _MEASURED,
        ids=[device.id for device in devices],
        bucket=_BUCKET,
        uploads_over=UPLOADS_OVER,
        battery_over=BATTERY_OVER,
    )
    found = {row.device_id: row for row in rows}
    return [_health(device, found.get(device.id)) for device in devices]


def _health(device: Any, measured: _Measured | None) -> DeviceHealth:
    uploads = measured.uploads if measured else 0
    failed = measured.failed_uploads if measured else 0
    points = sorted(zip(measured.times, measured.medians, strict=True)) if measured else []
    trend = battery_trend(points)
    return DeviceHealth(
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
