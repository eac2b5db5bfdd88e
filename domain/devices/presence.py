"""Whether a device is there, told by somebody who knows that it sleeps.

A device that reported is ONLINE for a moment, then ASLEEP until it is due again, then LATE, and LOST when it missed
several wakes. The state follows from its last report and the server's clock alone, so it is computed where it is
read and is never stale: once in Python for what is shown, once in SQL for what is searched and swept, by the same
rules. What the row keeps as `presence` is what was announced last; the sweep announces changes.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from sqlalchemy import ColumnElement, Float, Integer, Interval, bindparam, case, cast, func, literal_column

from domain.devices.models import devices


class PresenceState(StrEnum):
    """NEW never reported. ONLINE reported a moment ago. ASLEEP is not due yet. LATE missed a wake, LOST several."""

    NEW = "NEW"
    ONLINE = "ONLINE"
    ASLEEP = "ASLEEP"
    LATE = "LATE"
    LOST = "LOST"


class StatusState(StrEnum):
    """ERROR: its last three uploads failed. INACTIVE: disabled, deregistered or long unseen."""

    ACTIVE = "ACTIVE"
    INACTIVE = "INACTIVE"
    ERROR = "ERROR"


FAILURES_OF_AN_ERROR = 3
_GRACE_SHARE = 0.1  # of the interval: clocks of microcontrollers drift by some percent
_AWAKE_INTERVALS = 2  # that one which stays awake may miss


@dataclass(frozen=True, slots=True)
class PresencePolicy:
    """What the settings say. `grace` is the least that a device may be late; `lost_after` counts missed wakes."""

    awake: timedelta = timedelta(seconds=60)
    grace: timedelta = timedelta(seconds=60)
    lost_after: int = 3
    inactive_after: timedelta = timedelta(days=7)
    marked_inactive_after: timedelta = timedelta(days=14)

    def parameters(self) -> dict[str, Any]:
        """Those of the SQL expressions below."""
        return {"awake": self.awake, "grace": self.grace, "lost_after": self.lost_after}


@dataclass(frozen=True, slots=True)
class Presence:
    """`since` is when the state began; `missed_wakes` how often it did not come; `evidence` is for people."""

    state: PresenceState
    since: datetime
    missed_wakes: int
    evidence: str
    last_seen_at: datetime | None
    next_wake_at: datetime | None


@dataclass(frozen=True, slots=True)
class _Bounds:
    """When each state ends, and how long the device sleeps."""

    online_until: datetime
    late_at: datetime
    lost_at: datetime
    interval: timedelta


def presence_of(row: Any, policy: PresencePolicy, now: datetime | None = None) -> Presence:
    """The presence of a device by its row, at a moment (now when absent)."""
    now = now or datetime.now(UTC)
    if row.last_seen_at is None or row.next_wake_at is None:
        return Presence(PresenceState.NEW, row.created_at, 0, f"It never reported.{_refused(row)}", None, None)
    bounds = _bounds(row, policy)
    state, since = _state(row, bounds, now)
    missed = 0
    if state in (PresenceState.LATE, PresenceState.LOST):
        missed = (now - bounds.late_at) // bounds.interval + 1
    return Presence(state, since, missed, _evidence(row, missed), row.last_seen_at, row.next_wake_at)


DEFAULT_POLICY = PresencePolicy()

PRESENCE_READS = (
    *("created_at", "enabled", "deregistered_at"),
    *("last_seen_at", "next_wake_at", "stays_awake", "presence", "presence_since"),
)
"""The columns that `presence_of` reads."""


def _bounds(row: Any, policy: PresencePolicy) -> _Bounds:
    interval = max(row.next_wake_at - row.last_seen_at, timedelta(seconds=1))
    if row.stays_awake:
        online_until = late_at = row.last_seen_at + _AWAKE_INTERVALS * interval
    else:
        online_until = row.last_seen_at + policy.awake
        late_at = max(row.next_wake_at + max(policy.grace, _GRACE_SHARE * interval), online_until)
    return _Bounds(online_until, late_at, late_at + (policy.lost_after - 1) * interval, interval)


def _state(row: Any, bounds: _Bounds, now: datetime) -> tuple[PresenceState, datetime]:
    if now < bounds.online_until:
        since = row.presence_since if row.presence == PresenceState.ONLINE else row.last_seen_at
        return PresenceState.ONLINE, since
    if now < bounds.late_at:
        return PresenceState.ASLEEP, bounds.online_until
    if now < bounds.lost_at:
        return PresenceState.LATE, bounds.late_at
    return PresenceState.LOST, bounds.lost_at


def _evidence(row: Any, missed: int) -> str:
    seen, due = f"Last report {_clock(row.last_seen_at)}", _clock(row.next_wake_at)
    told = f"{seen}; {'it stays awake and reports again by' if row.stays_awake else 'due again'} {due}"
    if missed:
        told += f"; {missed} {'wake' if missed == 1 else 'wakes'} missed"
    return f"{told}.{_refused(row)}"


def _refused(row: Any) -> str:
    """Why it could not report even if it came."""
    if row.deregistered_at is not None:
        return f" It was deregistered {_clock(row.deregistered_at)}, and is refused since."
    return "" if row.enabled else " It is disabled: when it reports it is refused."


def _clock(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def status_of(row: Any, policy: PresencePolicy, now: datetime | None = None) -> StatusState:
    """Whether a device works, at a glance."""
    now = now or datetime.now(UTC)
    if not row.enabled or row.deregistered_at is not None or row.last_seen_at is None:
        return StatusState.INACTIVE
    if now - row.last_seen_at > policy.inactive_after:
        return StatusState.INACTIVE
    return StatusState.ERROR if row.failures_in_a_row >= FAILURES_OF_AN_ERROR else StatusState.ACTIVE


STATUS_READS = ("enabled", "deregistered_at", "last_seen_at", "failures_in_a_row")
"""The columns that `status_of` reads."""

# The same in SQL, on the columns of `devices`, with the parameters of `PresencePolicy.parameters`.
_d = devices.c
_second: Any = literal_column("interval '1 second'")
_interval: Any = func.greatest(_d.next_wake_at - _d.last_seen_at, _second)
_awake_until: Any = _d.last_seen_at + _AWAKE_INTERVALS * _interval
_online_until: Any = case(
    (_d.stays_awake, _awake_until), else_=_d.last_seen_at + bindparam("awake", type_=Interval)
)
_late_at: Any = case(
    (_d.stays_awake, _awake_until),
    else_=func.greatest(
        _d.next_wake_at + func.greatest(bindparam("grace", type_=Interval), cast(_GRACE_SHARE, Float) * _interval),
        _d.last_seen_at + bindparam("awake", type_=Interval),
    ),
)
_lost_at: Any = _late_at + (bindparam("lost_after", type_=Integer) - 1) * _interval
_now = func.now()

STATE: ColumnElement[str] = case(
    (_d.last_seen_at.is_(None) | _d.next_wake_at.is_(None), PresenceState.NEW.value),
    (_now < _online_until, PresenceState.ONLINE.value),
    (_now < _late_at, PresenceState.ASLEEP.value),
    (_now < _lost_at, PresenceState.LATE.value),
    else_=PresenceState.LOST.value,
)
"""The state."""

SINCE: ColumnElement[datetime] = case(
    (_now < _online_until, _d.presence_since),
    (_now < _late_at, _online_until),
    (_now < _lost_at, _late_at),
    else_=_lost_at,
)
"""When it began, of a device that reported."""

DUE_AT: ColumnElement[datetime | None] = case(
    (_now < _online_until, _online_until), (_now < _late_at, _late_at), (_now < _lost_at, _lost_at), else_=None
)
"""When it changes by itself, of a device that reported; null for LOST."""

STATUS: ColumnElement[str] = case(
    (~_d.enabled | _d.deregistered_at.is_not(None) | _d.last_seen_at.is_(None), StatusState.INACTIVE.value),
    (_now - _d.last_seen_at > bindparam("inactive_after", type_=Interval), StatusState.INACTIVE.value),
    (_d.failures_in_a_row >= FAILURES_OF_AN_ERROR, StatusState.ERROR.value),
    else_=StatusState.ACTIVE.value,
)
"""The status."""
