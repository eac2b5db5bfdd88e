"""How devices are: there or not, well or not, and what they measured."""

from datetime import datetime

from domain.devices.health import BatteryDirection
from domain.devices.presence import PresenceState, StatusState
from schema.describe import enum, object_type

enum(BatteryDirection)
enum(PresenceState, name="DevicePresenceState")
enum(StatusState, name="DeviceStatus")


@object_type
class DevicePresence:
    """Whether a device is there, by its last report, what it said of its sleep, and the time."""

    state: PresenceState
    since: datetime
    """When the state began."""
    missed_wakes: int
    """How often it was due since its last report and did not come."""
    evidence: str
    """Why it is so, with figures, for people."""
    last_seen_at: datetime | None
    next_wake_at: datetime | None
    """When it was or is due after its last report."""


@object_type
class BatteryTrend:
    """Where a battery is going: a robust slope (Theil–Sen) of half-day medians since it was last charged.

    A median is of the first five reports of its half day.
    """

    percent_per_day: float
    """Percent points a day; negative while it drains."""
    low: float
    """The slope is at least this, for 95 %."""
    high: float
    """The slope is at most this, for 95 %."""
    points: int
    """Of how many half-day medians it was made."""
    since: datetime
    """From when on."""
    direction: BatteryDirection


@object_type
class BatteryDaysLeft:
    """A forecast by the trend."""

    days: float
    low: float
    """At least so many, for 95 %."""
    high: float | None
    """At most so many, for 95 %."""


@object_type
class DeviceHealth:
    """How well a device does. What there is too little to say of is null."""

    presence: DevicePresence
    """Whether it is there, and why one thinks so."""
    battery_v: float | None
    """Volts, as last reported."""
    battery_pct: float | None
    """Percent, as last reported."""
    rssi: int | None
    """dBm, as last reported."""
    last_seen_at: datetime | None
    uploads: int
    """Photos accepted in the last 7 days, repeats included."""
    failed_uploads: int
    """Uploads of the last 7 days that were refused for what they were."""
    upload_success_rate: float | None
    """0 to 1, of the last 7 days."""
    battery_trend: BatteryTrend | None
    """Null with less than two days of reports of `batteryPct` since the last charge."""
    battery_days_left: BatteryDaysLeft | None
    """Null unless the battery is surely draining."""


@object_type
class TelemetryMeasure:
    """One vital over one step; all null where it was not reported."""

    min: float | None
    mean: float | None
    max: float | None


@object_type
class TelemetryPoint:
    """One step. One without reports is a gap: `reports` is 0."""

    at: datetime
    """When the step begins."""
    reports: int
    uploads: int
    failed_uploads: int
    battery_v: TelemetryMeasure
    battery_pct: TelemetryMeasure
    rssi: TelemetryMeasure
    temperature_c: TelemetryMeasure
    free_heap_bytes: TelemetryMeasure


@object_type
class DeviceTelemetry:
    """What a device measured, in equal steps; widened so that their bounds are whole steps since 1970."""

    since: datetime
    until: datetime
    step_seconds: int
    points: list[TelemetryPoint]
    """Every step, the oldest first."""


@object_type
class NamedCount:
    """How many devices have this in common."""

    name: str | None
    """Null for those that said nothing."""
    count: int


@object_type
class DeviceSummary:
    """A fleet in numbers. Lists hold the 50 most frequent, and nothing that no device has."""

    total: int
    enabled: int
    checked_in_last_day: int
    """Seen in the last 24 hours."""
    low_battery: int
    """With less than 20 % at their last report."""
    failing_uploads: int
    """Whose last three uploads failed."""
    presence: list[NamedCount]
    status: list[NamedCount]
    firmware: list[NamedCount]
    labels: list[NamedCount]
