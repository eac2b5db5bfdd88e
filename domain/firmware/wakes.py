"""What a wake means for firmware: what the device runs and says of its update is taken, and firmware is offered.

Nothing but the version that a device itself reports as the one it runs makes an update INSTALLED.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Float, Integer, Text, bindparam, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from domain.configs.queries import ota_refused
from domain.devices.wakes import Wake
from domain.firmware.jobs import stop_failing
from domain.firmware.models import RolloutStatus, UpdateState, firmwares, rollout_devices, rollouts
from domain.kit.scope import SYSTEM, Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction


class _Open(Row):
    """A device's place in a rollout that is not over for it, with what the rollout wants."""

    device_id: str
    rollout_id: str
    state: str
    attempts: int
    position: int
    status: str
    stage_limit: int
    timeout_minutes: int
    firmware_id: str
    version: str
    board: str | None
    sha256: str
    size_bytes: int
    blob_key: str


_OPEN = Statement(
    select(
        *(rollout_devices.c[name] for name in ("device_id", "rollout_id", "position", "state", "attempts")),
        *(rollouts.c[name] for name in ("status", "stage_limit", "timeout_minutes", "firmware_id")),
        *(firmwares.c[name] for name in ("version", "board", "sha256", "size_bytes", "blob_key")),
    )
    .select_from(rollout_devices.join(rollouts, rollouts.c.id == rollout_devices.c.rollout_id).join(firmwares))
    .where(
        rollout_devices.c.device_id == func.any(bindparam("ids", type_=ARRAY(Id))),
        rollout_devices.c.ended_at.is_(None),
    )
    .order_by(rollout_devices.c.device_id)
    .with_for_update(of=rollout_devices),
    _Open,
)
_new = (
    func.jsonb_to_recordset(bindparam("rows", type_=Json))
    .table_valued(
        Column("rollout_id", Id),
        Column("position", Integer),
        Column("state", Text),
        Column("attempts", Integer),
        Column("error", Text),
        Column("seconds", Float),
        Column("ended", Boolean),
    )
    .render_derived(name="new", with_types=True)
)
_SET = Statement(
    update(rollout_devices)
    .where(rollout_devices.c.rollout_id == _new.c.rollout_id, rollout_devices.c.position == _new.c.position)
    .values(
        state=_new.c.state,
        state_since=func.now(),
        attempts=_new.c.attempts,
        error=_new.c.error,
        due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, 0, cast(_new.c.seconds, Float)),
        ended_at=case((_new.c.ended, func.now())),
    )
)


@dataclass(frozen=True, slots=True)
class _Change:
    """A device's next state. `seconds` until an offer times out."""

    state: UpdateState
    attempts: int
    error: str | None = None
    seconds: float | None = None

    @property
    def ended(self) -> bool:
        return self.state in (UpdateState.INSTALLED, UpdateState.FAILED)


async def answer_wakes(tx: Transaction, scope: Scope, wakes: Sequence[Wake]) -> dict[str, dict[str, Any]]:
    """Take what devices say of their updates, and offer firmware to those whose turn it is.

    `firmware` is `{version sha256 sizeBytes blobKey}`; whoever answers makes a link of the key.
    """
    by_device = {wake.device.id: wake for wake in wakes}
    places = await tx.all(_OPEN, ids=list(by_device))
    if not places:
        return {}
    reported = {place.device_id: _reported(place, by_device[place.device_id]) for place in places}
    left = [place for place in places if _is_its_turn(place, by_device[place.device_id], reported)]
    refusing = await ota_refused(tx, scope, [place.device_id for place in left]) if left else set()
    offered = [place for place in left if place.device_id not in refusing]
    changes = {device_id: change for device_id, change in reported.items() if change is not None}
    changes.update(
        {
            place.device_id: change
            for place in offered
            if (change := _offer(place, by_device[place.device_id])) is not None
        }
    )
    await _write(tx, by_device, places, changes)
    return {place.device_id: {"firmware": _told(place)} for place in offered}


def _reported(place: _Open, wake: Wake) -> _Change | None:
    """What the device's own words make of its state."""
    if wake.firmware == place.version:
        return _Change(UpdateState.INSTALLED, place.attempts)
    update = wake.report.update
    if update is None or update.version != place.version or not place.attempts:
        return None
    if update.failed:
        return _Change(UpdateState.FAILED, place.attempts, update.error or "The device did not say why.")
    if place.state == UpdateState.DOWNLOADING:
        return None
    return _Change(UpdateState.DOWNLOADING, place.attempts, seconds=_patience(place, wake))


def _is_its_turn(place: _Open, wake: Wake, reported: dict[str, _Change | None]) -> bool:
    change = reported[place.device_id]
    return (
        place.status == RolloutStatus.RUNNING
        and place.position <= place.stage_limit
        and place.board in (None, wake.device.board)
        and not (change and change.ended)
    )


def _offer(place: _Open, wake: Wake) -> _Change | None:
    """The first offer, or another after one that timed out; None for one that is being repeated."""
    if place.state not in (UpdateState.PENDING, UpdateState.TIMED_OUT):
        return None
    said = wake.report.update
    if place.attempts and said is not None and said.version == place.version:
        return _Change(UpdateState.DOWNLOADING, place.attempts + 1, seconds=_patience(place, wake))
    return _Change(UpdateState.OFFERED, place.attempts + 1, seconds=_patience(place, wake))


def _patience(place: _Open, wake: Wake) -> float:
    """Seconds. A device that does as it is told and then sleeps cannot say so before it wakes again."""
    sleeps = max(wake.device.wake_interval_seconds, wake.report.sleep_seconds or 0)
    return place.timeout_minutes * 60 + sleeps


async def _write(
    tx: Transaction, wakes: dict[str, Wake], places: Sequence[_Open], changes: dict[str, _Change]
) -> None:
    if not changes:
        return
    rows = [_row(place, changes[place.device_id]) for place in places if place.device_id in changes]
    await tx.all(_SET, rows=rows)
    for place in places:
        if (change := changes.get(place.device_id)) is not None:
            _tell(tx, wakes[place.device_id], place, change)
    failing = {place.rollout_id for place in places if _has_failed(changes.get(place.device_id))}
    if failing:
        await stop_failing(tx, SYSTEM, list(failing))


def _row(place: _Open, change: _Change) -> dict[str, Any]:
    return {
        "rollout_id": place.rollout_id,
        "position": place.position,
        "state": change.state.value,
        "attempts": change.attempts,
        "error": change.error,
        "seconds": change.seconds,
        "ended": change.ended,
    }


def _has_failed(change: _Change | None) -> bool:
    return change is not None and change.state is UpdateState.FAILED


def _tell(tx: Transaction, wake: Wake, place: _Open, change: _Change) -> None:
    told: dict[str, Any] = {"rolloutId": place.rollout_id, "version": place.version, "attempts": change.attempts}
    if change.error is not None:
        told["error"] = change.error
    wake.emit(tx, f"firmware_update.{change.state.value.lower()}", **told)


def _told(place: _Open) -> dict[str, Any]:
    return {
        "version": place.version,
        "sha256": place.sha256,
        "sizeBytes": place.size_bytes,
        "blobKey": place.blob_key,
    }
