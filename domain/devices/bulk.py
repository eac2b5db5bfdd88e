"""Changing many devices at once: those that match a filter, or those of a list of ids.

One statement finds and locks them, one changes them, however many there are; what is wrong with one of them is
told of that one and leaves the others alone. A dry run tells the same and changes nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, Integer, bindparam, func, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.devices.commands import MOST_LABELS, checked_interval, checked_labels, deregister_held, tell_updated
from domain.devices.models import DeviceRow, devices
from domain.devices.presence import DEFAULT_POLICY, PresencePolicy
from domain.devices.queries import matching_devices
from domain.kit.errors import Invalid, NotFound, Refusal
from domain.kit.ids import is_id
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction

MOST_DEVICES = 1_000


@dataclass(frozen=True, slots=True)
class Choice:
    """Which devices: those with these ids, or those that match the filters (as those of `list_devices`).

    Without any filter it is every device in the scope, which has to be said: `everything`.
    """

    ids: Sequence[str] | None = None
    filters: Mapping[str, Any] | None = None
    everything: bool = False
    policy: PresencePolicy = DEFAULT_POLICY


@dataclass(frozen=True, slots=True)
class BulkChanges:
    """What to set of each device; None is what stays. Labels are set whole, or some added and taken away."""

    enabled: bool | None = None
    wake_interval_seconds: int | None = None
    labels: Sequence[str] | None = None
    add_labels: Sequence[str] = ()
    remove_labels: Sequence[str] = ()

    def checked(self) -> "BulkChanges":
        """Itself, labels in order. Raises Invalid for changes that say nothing or contradict themselves."""
        if self.wake_interval_seconds is not None:
            checked_interval(self.wake_interval_seconds)
        labels = None if self.labels is None else checked_labels(self.labels)
        add = checked_labels(self.add_labels, argument="addLabels")
        remove = checked_labels(self.remove_labels, argument="removeLabels")
        if labels is not None and (add or remove):
            raise Invalid("Either set all labels, or add and remove some.", argument="labels")
        if both := set(add) & set(remove):
            raise Invalid("A label is either added or removed.", argument="addLabels", given=min(both))
        checked = BulkChanges(self.enabled, self.wake_interval_seconds, labels, add, remove)
        if checked == BulkChanges(add_labels=[], remove_labels=[]):
            raise Invalid("Say what to change.", argument="changes")
        return checked

    def of(self, device: DeviceRow) -> dict[str, Any]:
        """What differs from what the device has, by column. Raises Invalid when it would have too many labels."""
        labels = self.labels
        if labels is None:
            labels = sorted((set(device.labels) | set(self.add_labels)) - set(self.remove_labels))
            if self.add_labels and len(labels) > MOST_LABELS:
                raise Invalid(f"It would have more than {MOST_LABELS} labels.", argument="addLabels")
        wanted = {
            "enabled": self.enabled,
            "wake_interval_seconds": self.wake_interval_seconds,
            "labels": labels if self.labels is not None or self.add_labels or self.remove_labels else None,
        }
        return {
            name: value for name, value in wanted.items() if value is not None and value != getattr(device, name)
        }


@dataclass(frozen=True, slots=True)
class BulkResult:
    """What became of one device: changed, as it was already, or refused; `key` None: it was not found."""

    device_id: str
    key: str | None = None
    changed: bool = False
    refusal: Refusal | None = None


_new = (
    func.jsonb_to_recordset(bindparam("rows", type_=Json))
    .table_valued(
        Column("id", Id),
        Column("enabled", Boolean),
        Column("wake_interval_seconds", Integer),
        Column("labels", ARRAY(TEXT)),
    )
    .render_derived(name="new", with_types=True)
)
_UPDATE = Statement(
    update(devices)
    .where(devices.c.id == _new.c.id)
    .values(
        enabled=_new.c.enabled,
        wake_interval_seconds=_new.c.wake_interval_seconds,
        labels=_new.c.labels,
        updated_at=func.now(),
    )
)


async def bulk_update_devices(
    tx: Transaction, scope: Scope, choice: Choice, changes: BulkChanges, *, dry_run: bool = False
) -> list[BulkResult]:
    """Change the chosen devices; of ids in their order, else by id.

    Raises Invalid for a choice or changes that are wrong, and for more than 1,000 devices.
    """
    changes = changes.checked()
    found = await _found(tx, scope, choice, hold=not dry_run)
    results, rows = [], []
    for device_id, device in found.items():
        result, changed = _planned(device_id, device, changes)
        results.append(result)
        if device is not None and changed and not dry_run:
            rows.append({name: changed.get(name, getattr(device, name)) for name in _COLUMNS})
            tell_updated(tx, scope, device, changed)
    if rows:
        await tx.all(_UPDATE, rows=rows)
    return results


async def bulk_deregister_devices(
    tx: Transaction, scope: Scope, choice: Choice, *, dry_run: bool = False
) -> list[BulkResult]:
    """Take the chosen devices out of service, as `deregister_device` does with one; results and errors as above."""
    found = await _found(tx, scope, choice, hold=not dry_run)
    going = [device for device in found.values() if device is not None]
    if going and not dry_run:
        await deregister_held(tx, scope, going)
    return [
        _unknown(device_id) if device is None else BulkResult(device_id, device.key, changed=True)
        for device_id, device in found.items()
    ]


_COLUMNS = ("id", "enabled", "wake_interval_seconds", "labels")


def _planned(device_id: str, device: DeviceRow | None, changes: BulkChanges) -> tuple[BulkResult, dict[str, Any]]:
    if device is None:
        return _unknown(device_id), {}
    try:
        changed = changes.of(device)
    except Refusal as refusal:
        return BulkResult(device_id, device.key, refusal=refusal), {}
    return BulkResult(device_id, device.key, changed=bool(changed)), changed


def _unknown(device_id: str) -> BulkResult:
    if not is_id(device_id):
        return BulkResult(device_id, refusal=Invalid("This is not an id: ids are UUIDs."))
    return BulkResult(device_id, refusal=NotFound("There is no such device.", deviceId=device_id))


async def _found(tx: Transaction, scope: Scope, choice: Choice, *, hold: bool) -> dict[str, DeviceRow | None]:
    """The chosen devices by their ids, None for those that there are not; locked, if they are to be held."""
    if choice.ids is not None:
        return await _with_ids(tx, scope, choice, hold)
    given = {name: value for name, value in (choice.filters or {}).items() if value is not None}
    # Every device has all of no labels.
    if not (given.keys() - {"labels"} or given.get("labels")) and not choice.everything:
        raise Invalid("An empty filter is every device: say `all: true` if you mean that.", argument="filter")
    rows = await matching_devices(tx, scope, most=MOST_DEVICES + 1, hold=hold, policy=choice.policy, **given)
    if len(rows) > MOST_DEVICES:
        message = f"More than {MOST_DEVICES:,} devices match, and so many are changed at once: filter for fewer."
        raise Invalid(message, code="TOO_MANY_DEVICES", argument="filter", most=MOST_DEVICES)
    return {row.id: row for row in rows}


async def _with_ids(tx: Transaction, scope: Scope, choice: Choice, hold: bool) -> dict[str, DeviceRow | None]:
    if choice.filters is not None or choice.everything:
        raise Invalid("Give either `ids` or `filter`.", argument="ids")
    wanted = list(dict.fromkeys(choice.ids or ()))
    if len(wanted) > MOST_DEVICES:
        message = f"{len(wanted):,} ids, and at most {MOST_DEVICES:,} devices are changed at once."
        raise Invalid(message, code="TOO_MANY_DEVICES", argument="ids", most=MOST_DEVICES)
    ids = [device_id for device_id in wanted if is_id(device_id)]
    rows = {row.id: row for row in await matching_devices(tx, scope, most=len(ids), hold=hold, ids=ids)}
    return {device_id: rows.get(device_id) for device_id in wanted}
