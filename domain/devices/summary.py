"""A fleet in numbers, for dashboards."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import bindparam, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import TEXT

from domain.devices.models import devices
from domain.devices.presence import FAILURES_OF_AN_ERROR, STATE, STATUS, PresencePolicy
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id

LOW_BATTERY = 20.0  # percent
MOST_NAMES = 50
_d = devices.c


@dataclass(frozen=True, slots=True)
class NamedCount:
    """How many devices have this in common; `name` None is for those that said nothing."""

    name: str | None
    count: int


@dataclass(frozen=True, slots=True)
class DeviceSummary:
    """Of registered devices. What no device has is not among the counts, which hold the 50 most frequent."""

    total: int
    enabled: int
    checked_in_last_day: int
    low_battery: int
    failing_uploads: int
    presence: list[NamedCount]
    status: list[NamedCount]
    firmware: list[NamedCount]
    labels: list[NamedCount]


_registered = _d.deregistered_at.is_(None)
_scopes = {
    None: (_registered,),
    "client": (_registered, _d.client_id == bindparam("client", type_=Id)),
}


def _statements(conditions: tuple[Any, ...]) -> tuple[Statement[Row], Statement[Row]]:
    numbers = select(
        func.count().label("total"),
        func.count().filter(_d.enabled).label("enabled"),
        func.count().filter(_d.last_seen_at > func.now() - literal_column("interval '1 day'")).label("last_day"),
        func.count().filter(_d.battery_pct < LOW_BATTERY).label("low_battery"),
        func.count().filter(_d.failures_in_a_row >= FAILURES_OF_AN_ERROR).label("failing"),
    ).where(*conditions)
    device = select(STATE.label("presence"), STATUS.label("status"), _d.firmware).where(*conditions).cte("device")
    label = func.unnest(_d.labels).table_valued("label").render_derived(name="label")
    labels = select(label.c.label).select_from(devices.join(label, true())).where(*conditions).subquery("labels")
    counts = [
        select(literal_column(f"'{name}'", TEXT).label("kind"), column.label("name"), func.count().label("count"))
        .group_by(column)
        .order_by(func.count().desc(), column)
        .limit(MOST_NAMES)
        .subquery(f"by_{name}")
        .select()
        for name, column in (
            ("presence", device.c.presence),
            ("status", device.c.status),
            ("firmware", device.c.firmware),
            ("labels", labels.c.label),
        )
    ]
    return Statement(numbers), Statement(counts[0].union_all(*counts[1:]))


_STATEMENTS = {name: _statements(conditions) for name, conditions in _scopes.items()}


async def summarize(
    db: Runner, scope: Scope, policy: PresencePolicy, client_id: str | None = None
) -> DeviceSummary:
    """The devices of the scope, or of one client in it, in numbers; two statements."""
    client = client_id if scope.client_id is None else scope.client_id
    if client_id not in (None, client):
        client = "00000000-0000-0000-0000-000000000000"  # another's: nothing, as in every list
    numbers, counts = _STATEMENTS["client" if client else None]
    given = {"client": client} if client else {}
    row = await db.one(numbers, **given)
    assert row is not None  # counts
    rows = await db.all(counts, **given, **policy.parameters(), inactive_after=policy.inactive_after)
    found: dict[str, list[NamedCount]] = {}
    for kind, name, count in rows:
        found.setdefault(kind, []).append(NamedCount(name, count))
    return DeviceSummary(
        total=row.total,
        enabled=row.enabled,
        checked_in_last_day=row.last_day,
        low_battery=row.low_battery,
        failing_uploads=row.failing,
        presence=found.get("presence", []),
        status=found.get("status", []),
        firmware=found.get("firmware", []),
        labels=found.get("labels", []),
    )
