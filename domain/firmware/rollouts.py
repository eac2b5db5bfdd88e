"""Rollouts as operators steer them: begun, paused, resumed, cancelled.

Who is meant is decided when a rollout begins, and in which order, by a hash of rollout and device: a stage of so
many percent is the first so many, so each stage holds the ones before it. A device is in one open rollout at most.
The newest has it: what was to bring it something older lets it go.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import asyncpg
from sqlalchemy import Select, Text, bindparam, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, insert

from domain.clients.models import clients
from domain.devices.models import devices
from domain.firmware.commands import hold_firmware
from domain.firmware.models import FirmwareRow, RolloutRow, RolloutStatus, UpdateState, rollout_devices, rollouts
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.ids import checked_id, new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement, insertion
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

MOST_STAGES = 20
MOST_NAMED = 1_000
"""Devices that may be named one by one."""
_LONGEST_STAGE = 90 * 24 * 60  # minutes
_LONGEST_TIMEOUT = 30 * 24 * 60  # minutes
_MOST_RETRIES = 10


@dataclass(frozen=True, slots=True)
class Stage:
    """So many percent of the devices, for so many minutes at most; None: until all of them have ended."""

    percent: float
    minutes: int | None = None


@dataclass(frozen=True, slots=True)
class NewRollout:
    """Which firmware for whom: `device_ids`, those with all of `labels`, or `everything` that its client has."""

    firmware_id: str
    device_ids: Sequence[str] | None = None
    labels: Sequence[str] | None = None
    everything: bool = False
    stages: Sequence[Stage] = field(default_factory=list)
    failure_share: float = 0.1
    timeout_minutes: int = 60
    retries: int = 2

    def checked(self) -> "NewRollout":
        """The same. Raises Invalid naming what is wrong."""
        if sum([self.device_ids is not None, self.labels is not None, self.everything]) != 1:
            raise Invalid("Say for whom: `deviceIds`, `labels`, or `all`.", argument="deviceIds")
        if self.labels is not None and not self.labels:
            raise Invalid("Name at least one label.", argument="labels")
        if self.device_ids is not None and not 1 <= len(self.device_ids) <= MOST_NAMED:
            raise Invalid(f"Name 1 to {MOST_NAMED} devices.", argument="deviceIds")
        if not 0 <= self.failure_share <= 1:
            raise Invalid("A share is between 0 and 1.", argument="failureShare")
        if not 1 <= self.timeout_minutes <= _LONGEST_TIMEOUT:
            raise Invalid("A timeout is between a minute and 30 days.", argument="timeoutMinutes")
        if not 0 <= self.retries <= _MOST_RETRIES:
            raise Invalid(f"There are 0 to {_MOST_RETRIES} retries.", argument="retries")
        _check_stages(self.stages)
        return self


def _check_stages(stages: Sequence[Stage]) -> None:
    if len(stages) > MOST_STAGES:
        raise Invalid(f"There are at most {MOST_STAGES} stages.", argument="stages")
    before = 0.0
    for at, stage in enumerate(stages):
        if not before < stage.percent <= 100:
            message = "The percentages of stages rise, from more than 0 up to 100."
            raise Invalid(message, argument=f"stages.{at}.percent")
        if stage.minutes is not None and not 1 <= stage.minutes <= _LONGEST_STAGE:
            raise Invalid("A stage takes between a minute and 90 days.", argument=f"stages.{at}.minutes")
        before = stage.percent


_LOCK_CLIENT = Statement(
    # Rollouts of one client begin and are cancelled one after the other: of two for the same device the later is
    # the newer, and neither has what the other waits for.
    select(clients.c.id).where(clients.c.id == bindparam("owner")).with_for_update(key_share=True)
)
_INSERT = Statement(
    insertion(
        rollouts,
        *("id", "client_id", "firmware_id", "stages", "failure_share", "timeout_minutes", "retries"),
        *("creator_kind", "creator_id"),
    )
)
_FILL = Statement(
    update(rollouts)
    .where(rollouts.c.id == bindparam("rollout"))
    .values(device_count=bindparam("devices"), stage_limit=bindparam("new_limit"))
)
_TARGETS = {
    "device_ids": devices.c.id == func.any(bindparam("device_ids", type_=ARRAY(Id))),
    "labels": devices.c.labels.contains(bindparam("labels", type_=ARRAY(TEXT))),
    "all": literal(True),
}
_COLUMNS = ["rollout_id", "device_id", "client_id", "position", "state", "error", "ended_at"]


def _meant(target: str) -> tuple[Any, ...]:
    owned = devices.c.client_id == bindparam("owner", type_=Id)
    return (owned, devices.c.deregistered_at.is_(None), _TARGETS[target])


def _free(target: str) -> Statement[Row]:
    """Ends what older rollouts have open for the devices that are meant; gives those rollouts."""
    freed = (
        update(rollout_devices)
        .where(rollout_devices.c.ended_at.is_(None), rollout_devices.c.device_id.in_(_ids(target)))
        .values(**_ending(UpdateState.CANCELLED), error="A newer rollout took the device over.")
        .returning(rollout_devices.c.rollout_id)
        .cte("freed")
    )
    return Statement(select(freed.c.rollout_id, func.count().label("count")).group_by(freed.c.rollout_id))


def _ids(target: str) -> Select[Any]:
    return select(devices.c.id).where(*_meant(target))


def _ending(state: UpdateState) -> dict[str, Any]:
    return {"state": state.value, "state_since": func.now(), "ended_at": func.now(), "due_at": None}


def _enlist(target: str) -> Statement[Row]:
    """Puts the devices that are meant into a rollout; gives how many are in each state."""
    board, version = bindparam("board", type_=Text), bindparam("version", type_=Text)
    other_board = board.is_not(None) & devices.c.board.is_distinct_from(board)
    runs_it = func.coalesce(devices.c.firmware == version, False)
    skipped = other_board | runs_it
    order = func.row_number().over(
        order_by=(skipped, func.md5(func.concat(bindparam("seed", type_=Text), devices.c.id)), devices.c.id)
    )
    enlisted = (
        insert(rollout_devices)
        .from_select(
            _COLUMNS,
            select(
                bindparam("rollout", type_=Id),
                devices.c.id,
                devices.c.client_id,
                order,
                case((skipped, UpdateState.SKIPPED.value), else_=UpdateState.PENDING.value),
                case(
                    (other_board, "Its board is another, or not known."), (runs_it, "It runs this version already.")
                ),
                case((skipped, func.now())),
            ).where(*_meant(target)),
        )
        .returning(rollout_devices.c.state)
        .cte("enlisted")
    )
    return Statement(select(enlisted.c.state, func.count().label("count")).group_by(enlisted.c.state))


def _lock(target: str) -> Statement[Row]:
    """Holds the devices that are meant, as wakes do and in their order, so that nobody waits in a circle."""
    held = select(devices.c.id).where(*_meant(target)).order_by(devices.c.id)
    held_ones = held.with_for_update(key_share=True, read=True).cte("held")
    return Statement(select(func.count()).select_from(held_ones))


_LOCK = {target: _lock(target) for target in _TARGETS}
_FREE = {target: _free(target) for target in _TARGETS}
_ENLIST = {target: _enlist(target) for target in _TARGETS}
_HOLD = Statement(
    select(*(rollouts.c[name] for name in RolloutRow.__annotations__))
    .where(rollouts.c.id == bindparam("rollout"), visible(rollouts.c.client_id))
    .with_for_update(),
    RolloutRow,
)
_SET_STATUS = Statement(
    update(rollouts)
    .where(rollouts.c.id == bindparam("rollout"))
    .values(status=bindparam("new_status"), reason=bindparam("new_reason", type_=TEXT))
)
_RESUME = Statement(
    update(rollouts)
    .where(rollouts.c.id == bindparam("rollout"))
    .values(status=RolloutStatus.RUNNING.value, reason=None, stage_started_at=func.now(), judged_from=func.now())
)
_CANCEL = Statement(
    update(rollouts)
    .where(rollouts.c.id == bindparam("rollout"))
    .values(status=RolloutStatus.CANCELLED.value, reason=None, finished_at=func.now())
)
# In the order in which wakes lock them, so that nobody waits in a circle.
_open_ones = (
    select(rollout_devices.c.position)
    .where(rollout_devices.c.rollout_id == bindparam("rollout"), rollout_devices.c.ended_at.is_(None))
    .order_by(rollout_devices.c.device_id)
    .with_for_update()
    .cte("open_ones")
)
_is_open_one = (
    rollout_devices.c.rollout_id == bindparam("rollout"),
    rollout_devices.c.position == _open_ones.c.position,
)
_LET_GO = Statement(
    update(rollout_devices)
    .where(*_is_open_one)
    .values(**_ending(UpdateState.CANCELLED), error="The rollout was cancelled.")
)
_RENEW = Statement(
    # What was offered before the pause was not offered during it: the time begins again.
    update(rollout_devices)
    .where(*_is_open_one, rollout_devices.c.due_at.is_not(None))
    .values(due_at=func.now() + func.make_interval(0, 0, 0, 0, 0, bindparam("minutes")))
)


async def create_rollout(tx: Transaction, scope: Scope, new: NewRollout) -> str:
    """Begin to bring firmware to devices; returns the rollout's id.

    Raises Invalid for a plan that cannot be and for no device at all, NotFound for firmware or a device that is not
    there (with the same client).
    """
    new.checked()
    firmware = await hold_firmware(tx, scope, new.firmware_id)
    await tx.all(_LOCK_CLIENT, owner=firmware.client_id)
    rollout_id = new_id()
    stages: list[dict[str, Any]] = [{"percent": stage.percent, "minutes": stage.minutes} for stage in new.stages]
    if not stages or stages[-1]["percent"] != 100:
        stages.append({"percent": 100, "minutes": None})
    await tx.all(
        _INSERT,
        id=rollout_id,
        client_id=firmware.client_id,
        firmware_id=firmware.id,
        stages=stages,
        failure_share=new.failure_share,
        timeout_minutes=new.timeout_minutes,
        retries=new.retries,
        creator_kind=scope.actor_kind.value,
        creator_id=scope.actor_id,
    )
    target, given = _target(new)
    await _free_devices(tx, scope, firmware, rollout_id, target, given)
    counted = await _enlist_devices(tx, firmware, rollout_id, target, given)
    pending = counted.get(UpdateState.PENDING, 0)
    limit = stage_limit(pending, stages[0]["percent"])
    await tx.all(_FILL, rollout=rollout_id, devices=pending, new_limit=limit)
    told = {"firmwareId": firmware.id, "version": firmware.version, "devices": pending, "stages": stages}
    subject = ("Rollout", rollout_id)
    tx.emit(scope, "rollout.created", client_id=firmware.client_id, subject=subject, **told)
    return rollout_id


async def pause_rollout(tx: Transaction, scope: Scope, rollout_id: str) -> None:
    """Offer nothing more for now. Raises Conflict (ROLLOUT_OVER). One that is paused stays so."""
    held = await _hold(tx, scope, rollout_id)
    if held.status == RolloutStatus.RUNNING:
        reason = "An operator paused it."
        await tx.all(_SET_STATUS, rollout=rollout_id, new_status=RolloutStatus.PAUSED.value, new_reason=reason)
        _tell(tx, scope, "rollout.paused", held, reason=reason)


async def resume_rollout(tx: Transaction, scope: Scope, rollout_id: str) -> None:
    """Go on, and judge failures afresh. Raises Conflict (ROLLOUT_OVER). One that runs is left alone."""
    held = await _hold(tx, scope, rollout_id)
    if held.status == RolloutStatus.PAUSED:
        await tx.all(_RESUME, rollout=rollout_id)
        await tx.all(_RENEW, rollout=rollout_id, minutes=held.timeout_minutes)
        _tell(tx, scope, "rollout.resumed", held)


async def cancel_rollout(tx: Transaction, scope: Scope, rollout_id: str) -> None:
    """End it. What is installed stays; a download that is under way may still be installed by its device."""
    held = await _hold(tx, scope, rollout_id)
    await tx.all(_CANCEL, rollout=rollout_id)
    await tx.all(_LET_GO, rollout=rollout_id)
    _tell(tx, scope, "rollout.cancelled", held)


def stage_limit(devices: int, percent: float) -> int:
    """How many of so many devices a stage holds: at least one."""
    return -(-devices * round(percent * 1000) // 100_000)


async def _hold(tx: Transaction, scope: Scope, rollout_id: str) -> RolloutRow:
    held = await tx.one(_HOLD, rollout=rollout_id, scope=scope.client_id)
    if held is None:
        raise NotFound("There is no such rollout.", rolloutId=rollout_id)
    if held.finished_at is not None:
        raise Conflict("This rollout is over.", code="ROLLOUT_OVER", rolloutId=rollout_id, status=held.status)
    return held


def _target(new: NewRollout) -> tuple[str, dict[str, Any]]:
    if new.device_ids is not None:
        return "device_ids", {"device_ids": sorted(set(map(checked_id, new.device_ids)))}
    return ("all", {}) if new.labels is None else ("labels", {"labels": list(new.labels)})


async def _free_devices(
    tx: Transaction, scope: Scope, firmware: FirmwareRow, rollout_id: str, target: str, given: dict[str, Any]
) -> None:
    await tx.all(_LOCK[target], owner=firmware.client_id, **given)
    for freed in await tx.all(_FREE[target], owner=firmware.client_id, **given):
        subject = ("Rollout", freed["rollout_id"])
        told = {"by": rollout_id, "devices": freed["count"]}
        tx.emit(scope, "rollout.superseded", client_id=firmware.client_id, subject=subject, **told)


async def _enlist_devices(
    tx: Transaction, firmware: FirmwareRow, rollout_id: str, target: str, given: dict[str, Any]
) -> dict[str, int]:
    try:
        rows = await tx.all(
            _ENLIST[target],
            rollout=rollout_id,
            seed=rollout_id,
            board=firmware.board,
            version=firmware.version,
            owner=firmware.client_id,
            **given,
        )
    except asyncpg.UniqueViolationError:  # a device that was just registered, or moved between the two statements
        raise Conflict("Devices changed meanwhile: try again.", code="TRY_AGAIN") from None
    counted = {row["state"]: row["count"] for row in rows}
    if target == "device_ids" and sum(counted.values()) < len(given["device_ids"]):
        raise NotFound("Not all of these devices are there.", argument="deviceIds")
    if not counted:
        raise Invalid("No device is meant.", argument=target)
    return counted


def _tell(tx: Transaction, scope: Scope, event: str, rollout: RolloutRow, **data: Any) -> None:
    tx.emit(scope, event, client_id=rollout.client_id, subject=("Rollout", rollout.id), **data)
