"""One wake, one exchange: what the device said is remembered, what it is to do next is put together.

A battery device pays for a radio session, so the answer to whatever it posts carries all that waits for it: the
next wake, its config when that changed, commands, firmware. Each feature contributes by a function that takes
all the wakes of a transaction at once.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from domain.configs import wakes as configs
from domain.device_commands import wakes as device_commands
from domain.devices.wakes import AWAKE, Wake, WakeReport, hold_reporting_devices, record_wakes, refused
from domain.firmware import wakes as firmware
from domain.kit.errors import Refusal
from domain.kit.scope import Scope
from domain.kit.transactions import Transaction

Answers = dict[str, dict[str, Any]]
"""By the device's id: the keys of `next` that a feature fills."""

_FEATURES: tuple[Callable[[Transaction, Scope, Sequence[Wake]], Awaitable[Answers]], ...] = (
    configs.answer_wakes,
    device_commands.answer_wakes,
    firmware.answer_wakes,
)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A report that came in, before its device was looked up. `scope` is the reporter's."""

    scope: Scope
    device_id: str
    report: WakeReport
    correlation: str | None = None


async def check_in(
    tx: Transaction, scope: Scope, arrivals: Sequence[Arrival], *, awake: timedelta = AWAKE
) -> list[dict[str, Any] | Refusal]:
    """Take reports of different devices at once; returns what each is to do next, or why it is refused.

    `scope` limits the whole call, each arrival's own limits that one.
    """
    held = await hold_reporting_devices(tx, scope, [arrival.device_id for arrival in arrivals])
    wakes: list[Wake] = []
    refusals: dict[str, Refusal] = {}
    for arrival in arrivals:
        device = held.get(arrival.device_id)
        if device is not None and arrival.scope.client_id not in (None, device.client_id):
            device = None
        if refusal := refused(device, arrival.device_id):
            refusals[arrival.device_id] = refusal
        elif device is not None:
            wakes.append(Wake(arrival.scope, device, arrival.report, arrival.correlation))
    answers = await exchange(tx, scope, wakes, awake=awake) if wakes else {}
    return [refusals.get(arrival.device_id) or answers[arrival.device_id] for arrival in arrivals]


async def exchange(
    tx: Transaction, scope: Scope, wakes: Sequence[Wake], *, captured: bool = False, awake: timedelta = AWAKE
) -> Answers:
    """Remember the wakes of held devices and say what each is to do next. `captured` as for `record_wakes`."""
    await record_wakes(tx, scope, wakes, captured=captured, awake=awake)
    answers = {wake.device.id: _nothing_new(wake) for wake in wakes}
    for feature in _FEATURES:
        for device_id, filled in (await feature(tx, scope, wakes)).items():
            answers[device_id].update(filled)
    return answers


def _nothing_new(wake: Wake) -> dict[str, Any]:
    return {
        "wakeInSeconds": wake.device.wake_interval_seconds,
        "configVersion": None,
        "config": None,
        "commands": [],
        "firmware": None,
    }
