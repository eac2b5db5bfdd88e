"""What the clock does to rollouts: offers time out, failing ones stop, stages follow each other, all ends.

Statements for all rollouts at once. They take the rows that they change only where nobody else has them, for a wake
may hold some and come for others: what is left alone now is done the next time.
"""

from collections.abc import Sequence

from sqlalchemy import CTE, ColumnElement, bindparam, case, func, select, text, true, update
from sqlalchemy.dialects.postgresql import ARRAY

from domain.devices.models import devices
from domain.firmware.models import RolloutStatus, UpdateState, firmwares, rollout_devices, rollouts
from domain.kit.scope import Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

SAMPLE = 5
"""So many devices have to have ended before their failures stop a rollout; all of a stage that has fewer."""
_AT_ONCE = 2_000

_is_running = text("rollouts.status = 'RUNNING'")
_is_left = rollout_devices.c.ended_at.is_(None)
_of_rollout = rollout_devices.c.rollout_id == rollouts.c.id


def _is_one_of(found: CTE) -> tuple[ColumnElement[bool], ...]:
    return tuple(rollout_devices.c[name] == found.c[name] for name in ("rollout_id", "position"))


_overdue = (
    select(rollout_devices.c.rollout_id, rollout_devices.c.position)
    .select_from(rollout_devices.join(rollouts, _of_rollout))
    .where(_is_left, rollout_devices.c.due_at <= func.now(), _is_running)
    .order_by(rollout_devices.c.due_at)
    .limit(_AT_ONCE)
    .with_for_update(of=rollout_devices, skip_locked=True)
    .cte("overdue")
)
_TIME_OUT = Statement(
    update(rollout_devices)
    .where(*_is_one_of(_overdue), _of_rollout, firmwares.c.id == rollouts.c.firmware_id)
    .values(
        state=UpdateState.TIMED_OUT.value,
        state_since=func.now(),
        due_at=None,
        error="The device did not report the version in time.",
        ended_at=case((rollout_devices.c.attempts > rollouts.c.retries, func.now())),
    )
    .returning(
        *(rollout_devices.c[name] for name in ("client_id", "rollout_id", "device_id", "attempts", "ended_at")),
        firmwares.c.version,
    )
)
_gone = (
    select(rollout_devices.c.rollout_id, rollout_devices.c.position)
    .select_from(rollout_devices.join(devices, devices.c.id == rollout_devices.c.device_id))
    .where(_is_left, devices.c.deregistered_at.is_not(None))
    .limit(_AT_ONCE)
    .with_for_update(of=rollout_devices, skip_locked=True)
    .cte("gone")
)
_LET_GO = Statement(
    update(rollout_devices)
    .where(*_is_one_of(_gone))
    .values(
        state=UpdateState.CANCELLED.value,
        state_since=func.now(),
        due_at=None,
        error="The device was deregistered.",
        ended_at=func.now(),
    )
)


def _stop(*conditions: object) -> Statement[Row]:
    ended = text("rollout_devices.state IN ('INSTALLED', 'FAILED', 'TIMED_OUT')")
    failed = func.count().filter(rollout_devices.c.state != UpdateState.INSTALLED.value)
    judged = (
        select(failed.label("failed"), func.count().label("ended"))
        .where(_of_rollout, ended, rollout_devices.c.ended_at > rollouts.c.judged_from)
        .correlate(rollouts)
        .lateral("judged")
    )
    stopping = (
        select(rollouts.c.id, judged.c.failed, judged.c.ended)
        .select_from(rollouts.join(judged, true()))
        .where(
            _is_running,
            judged.c.ended >= func.greatest(1, func.least(SAMPLE, rollouts.c.stage_limit)),
            judged.c.failed > rollouts.c.failure_share * judged.c.ended,
            *conditions,  # type: ignore[arg-type]
        )
        .with_for_update(of=rollouts, skip_locked=True)
        .cte("stopping")
    )
    return Statement(
        update(rollouts)
        .where(rollouts.c.id == stopping.c.id)
        .values(
            status=RolloutStatus.PAUSED.value,
            reason=func.concat(
                stopping.c.failed, " of ", stopping.c.ended, " devices that have ended did not install it."
            ),
        )
        .returning(rollouts.c.id, rollouts.c.client_id, rollouts.c.reason, stopping.c.failed, stopping.c.ended)
    )


_STOP_ALL = _stop()
_STOP = _stop(rollouts.c.id == func.any(bindparam("ids", type_=ARRAY(Id))))
_ADVANCE = Statement(
    text(
        "UPDATE rollouts SET stage = stage + 1, stage_started_at = now(), stage_limit = "
        "ceil(device_count * CAST(stages -> (stage + 1) ->> 'percent' AS numeric) / 100) "
        "WHERE id IN (SELECT r.id FROM rollouts AS r WHERE r.status = 'RUNNING' "
        "AND r.stage + 1 < jsonb_array_length(r.stages) AND (r.stage_started_at + make_interval("
        "mins => CAST(r.stages -> r.stage ->> 'minutes' AS integer)) <= now() "
        "OR NOT EXISTS (SELECT FROM rollout_devices AS d WHERE d.rollout_id = r.id AND d.ended_at IS NULL "
        "AND d.position <= r.stage_limit)) FOR UPDATE SKIP LOCKED) "
        "RETURNING id, client_id, stage, stage_limit"
    )
)
_COMPLETE = Statement(
    text(
        "UPDATE rollouts SET status = 'COMPLETED', finished_at = now() WHERE id IN (SELECT r.id FROM rollouts AS r "
        "WHERE r.status = 'RUNNING' AND NOT EXISTS (SELECT FROM rollout_devices AS d WHERE d.rollout_id = r.id "
        "AND d.ended_at IS NULL) FOR UPDATE SKIP LOCKED) "
        "RETURNING id, client_id"
    )
)


async def advance_rollouts(tx: Transaction, scope: Scope) -> None:
    """Do what is due in all rollouts, whosesoever they are: time out, stop, go on to the next stage, complete."""
    for late in await tx.all(_TIME_OUT):
        tx.emit(
            scope,
            "firmware_update.timed_out",
            client_id=late.client_id,
            subject=("Device", late.device_id),
            rolloutId=late.rollout_id,
            version=late.version,
            attempts=late.attempts,
            willRetry=late.ended_at is None,
        )
    await tx.all(_LET_GO)
    await _stopped(tx, scope, await tx.all(_STOP_ALL))
    for rollout in await tx.all(_ADVANCE):
        told = {"stage": rollout.stage, "devices": rollout.stage_limit}
        _tell(tx, scope, "rollout.stage_started", rollout, **told)
    for rollout in await tx.all(_COMPLETE):
        _tell(tx, scope, "rollout.completed", rollout)


async def stop_failing(tx: Transaction, scope: Scope, rollout_ids: Sequence[str]) -> None:
    """Pause those of these rollouts of which too many devices failed."""
    await _stopped(tx, scope, await tx.all(_STOP, ids=list(rollout_ids)))


async def _stopped(tx: Transaction, scope: Scope, stopped: Sequence[Row]) -> None:
    for rollout in stopped:
        told = {"reason": rollout.reason, "failed": rollout.failed, "ended": rollout.ended}
        _tell(tx, scope, "rollout.paused", rollout, **told)


def _tell(tx: Transaction, scope: Scope, event: str, rollout: Row, **data: object) -> None:
    tx.emit(scope, event, client_id=rollout.client_id, subject=("Rollout", rollout.id), **data)
