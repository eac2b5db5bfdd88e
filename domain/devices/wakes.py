"""What a device tells each time it wakes, and the row that remembers it.

Many wakes are recorded at once, in one transaction: the API gathers those that arrive while an earlier commit
is under way. Server time decides when a device was seen and when it is due again; what its own clock says is
kept beside it, never believed. What a device is answered is put together in `domain/wakes/`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Float,
    Integer,
    Interval,
    bindparam,
    case,
    cast,
    func,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.devices.models import device_telemetry, devices
from domain.devices.vitals import Vitals
from domain.kit.correlation import correlation_id
from domain.kit.errors import Denied, NotFound, Refusal
from domain.kit.scope import ActorKind, Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id, Json, Moment
from domain.kit.transactions import Transaction

AWAKE = timedelta(seconds=60)
"""How long a device that reported counts as awake, unless it says that it stays awake."""


@dataclass(frozen=True, slots=True)
class CommandResult:
    """What became of a command that the device was given."""

    id: str
    done: bool
    message: str | None


@dataclass(frozen=True, slots=True)
class UpdateProgress:
    """How the device comes along with a firmware that it was offered."""

    version: str
    failed: bool
    error: str | None


@dataclass(frozen=True, slots=True)
class WakeReport:
    """What a device said in one wake. None is what it did not say.

    `sleep_seconds` is how long it will now sleep, 0 that it stays awake; `wake_interval_seconds` the interval that
    it runs; `device_time` what its clock shows; `uploaded` whether this wake's photo was accepted, None where there
    was none.
    """

    vitals: Vitals = field(default_factory=Vitals)
    device_time: datetime | None = None
    sleep_seconds: int | None = None
    wake_interval_seconds: int | None = None
    config_version: int | None = None
    config_error: str | None = None
    command_results: tuple[CommandResult, ...] = ()
    update: UpdateProgress | None = None
    uploaded: bool | None = None


class ReportingDevice(Row):
    """A device as it was before this report, held for the rest of the transaction."""

    id: str
    client_id: str
    key: str
    mac: str | None
    board: str | None
    labels: list[str]
    enabled: bool
    wake_interval_seconds: int
    firmware: str | None
    presence: str


@dataclass(frozen=True, slots=True)
class Wake:
    """Who reports (the device or its client's token), for which device, what it said, and under which request."""

    scope: Scope
    device: ReportingDevice
    report: WakeReport
    correlation: str | None = None

    @property
    def firmware(self) -> str | None:
        """The version that it runs, as it says now or said last."""
        return self.report.vitals.firmware or self.device.firmware

    def emit(self, tx: Transaction, type: str, *, subject: tuple[str, str] | None = None, **data: Any) -> None:
        """Emit an event of this wake, about the device unless said otherwise.

        Its actor is the device whoever passed the report on: what is said of itself is nobody else's change, so
        that the audit log holds changes only. `reportedBy` then names who did.
        """
        scope = self.scope
        if scope.actor_kind in (ActorKind.USER, ActorKind.CLIENT):
            data["reportedBy"] = {"kind": scope.actor_kind, "id": scope.actor_id}
            scope = replace(scope, actor_kind=ActorKind.DEVICE, actor_id=self.device.id)
        with _correlated(self.correlation):
            tx.emit(
                scope,
                type,
                client_id=self.device.client_id,
                subject=subject or ("Device", self.device.id),
                **data,
            )


_HOLD = Statement(
    select(*(devices.c[name] for name in ReportingDevice.__annotations__))
    .where(devices.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), devices.c.deregistered_at.is_(None))
    .order_by(devices.c.id)  # so that two transactions that hold some of the same never wait for each other
    .with_for_update(),
    ReportingDevice,
)
_SAID = (
    Column("device_id", Id),
    *(Column(name, device_telemetry.c[name].type) for name in Vitals.__dataclass_fields__),
    Column("device_time", Moment),
    Column("sleep_seconds", Integer),
    Column("wake_interval_seconds", Integer),
    Column("uploaded", Boolean),
    Column("captures", Integer),
)
_said = (
    func.jsonb_to_recordset(bindparam("wakes", type_=Json))
    .table_valued(*_SAID)
    .render_derived(name="said", with_types=True)
)


def _seconds(amount: ColumnElement[Any]) -> ColumnElement[Any]:
    return func.make_interval(0, 0, 0, 0, 0, 0, cast(amount, Float))


_stays_awake = func.coalesce(_said.c.sleep_seconds == 0, False)
_interval = func.coalesce(func.nullif(_said.c.sleep_seconds, 0), devices.c.wake_interval_seconds)
_KEPT = ("battery_v", "battery_pct", "rssi", "firmware")  # of the vitals, what the device's row shows
_seen = (
    update(devices)
    .where(devices.c.id == _said.c.device_id)
    .values(
        last_seen_at=func.now(),
        reported_clock_at=_said.c.device_time,
        reported_wake_interval_seconds=func.coalesce(
            _said.c.wake_interval_seconds, devices.c.reported_wake_interval_seconds
        ),
        stays_awake=_stays_awake,
        next_wake_at=func.now() + _seconds(_interval),
        presence="ONLINE",
        presence_since=case((devices.c.presence == "ONLINE", devices.c.presence_since), else_=func.now()),
        presence_due_at=func.now()
        + case((_stays_awake, 2 * _seconds(_interval)), else_=bindparam("awake", type_=Interval)),
        marked_inactive_at=None,
        total_captures=devices.c.total_captures + _said.c.captures,
        failed_uploads=devices.c.failed_uploads + case((_said.c.uploaded.is_(False), 1), else_=0),
        failures_in_a_row=case(
            (_said.c.uploaded.is_(True), 0),
            (_said.c.uploaded.is_(False), devices.c.failures_in_a_row + 1),
            else_=devices.c.failures_in_a_row,
        ),
        **{name: func.coalesce(_said.c[name], devices.c[name]) for name in _KEPT},
    )
    .returning(devices.c.id, devices.c.client_id)
    .cte("seen")
)
_clock_offset = func.extract("epoch", _said.c.device_time - func.now())
_MEASURED = (*Vitals.__dataclass_fields__, "uploaded")
_RECORD = Statement(
    insert(device_telemetry).from_select(
        ["device_id", "client_id", "reported_at", "clock_offset_seconds", *_MEASURED],
        select(
            _seen.c.id, _seen.c.client_id, func.now(), cast(_clock_offset, Float), *(_said.c[n] for n in _MEASURED)
        ).select_from(_seen.join(_said, _said.c.device_id == _seen.c.id)),
    )
)


async def hold_reporting_devices(tx: Transaction, scope: Scope, ids: Sequence[str]) -> dict[str, ReportingDevice]:
    """The registered devices with these ids within the scope, locked, by id."""
    held = await tx.all(_HOLD, ids=list(ids))
    return {device.id: device for device in held if scope.client_id in (None, device.client_id)}


async def hold_reporting_device(tx: Transaction, scope: Scope, device_id: str) -> ReportingDevice:
    """The device, locked. Raises NotFound when it is gone, Denied when it is disabled."""
    device = (await hold_reporting_devices(tx, scope, [device_id])).get(device_id)
    if refusal := refused(device, device_id):
        raise refusal
    assert device is not None
    return device


def refused(device: ReportingDevice | None, device_id: str) -> Refusal | None:
    """Why this device's reports are not taken, if they are not."""
    if device is None:
        return NotFound("There is no such device.", deviceId=device_id)
    if not device.enabled:
        return Denied("This device is disabled.", code="DEVICE_DISABLED", key=device.key)
    return None


async def record_wakes(
    tx: Transaction, scope: Scope, wakes: Sequence[Wake], *, captured: bool = False, awake: timedelta = AWAKE
) -> None:
    """Remember what held devices said, each at most once: their rows, their telemetry, their events.

    `captured` says that each of them brought a new photo.
    """
    rows = [_row(wake, int(captured)) for wake in wakes]
    await tx.all(_RECORD, wakes=rows, awake=awake)
    for wake in wakes:
        wake.emit(tx, "device.checked_in", **wake.report.vitals.as_event())
        # That a device which was expected is awake is what its check-in says; that a missed one is back is news.
        if wake.device.presence in ("LATE", "LOST"):
            change: dict[str, Any] = {"from": wake.device.presence, "to": "ONLINE"}
            wake.emit(tx, "device.presence_changed", **change)


def _row(wake: Wake, captures: int) -> dict[str, Any]:
    report = wake.report
    return {
        "device_id": wake.device.id,
        **asdict(report.vitals),
        "device_time": report.device_time,
        "sleep_seconds": report.sleep_seconds,
        "wake_interval_seconds": report.wake_interval_seconds,
        "uploaded": report.uploaded,
        "captures": captures,
    }


@contextmanager
def _correlated(correlation: str | None) -> Iterator[None]:
    if correlation is None:
        yield
        return
    token = correlation_id.set(correlation)
    try:
        yield
    finally:
        correlation_id.reset(token)
