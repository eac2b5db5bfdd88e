"""What is written once and kept by month: telemetry and events. Months that nobody keeps any longer go whole and at
once; a client that keeps less than others has its rows taken in small steps.

A step is bounded by what it looks at: a day of some devices, or so many events. Nothing here waits for a writer.
"""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import BigInteger, Table, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.devices.models import device_telemetry, devices
from domain.events.models import event_floors, events
from domain.events.queries import log_head, oldest_position
from domain.kit.partitions import Partition, is_before, months
from domain.kit.scope import Scope
from domain.kit.sql import Database, Runner, Statement
from domain.kit.tables import Id, Moment
from domain.kit.transactions import transaction
from domain.retention.models import CleanupKind

TABLES: Mapping[CleanupKind, Table] = {CleanupKind.TELEMETRY: device_telemetry, CleanupKind.EVENTS: events}
_DEVICES_AT_ONCE = 100
_EVENTS_AT_ONCE = 2_000
_DAY = timedelta(days=1)

_t, _e, _d = device_telemetry.c, events.c, devices.c
_ids = bindparam("ids", type_=ARRAY(Id))
_DEVICES = Statement(
    select(_d.id)
    .where(_d.client_id == bindparam("client", type_=Id), _d.id > bindparam("after", type_=Id))
    .order_by(_d.id)
    .limit(_DEVICES_AT_ONCE)
)
_FIRST_ID = "00000000-0000-0000-0000-000000000000"
_COUNT_TELEMETRY = Statement(
    select(
        func.count().label("found"),
        func.count().filter(_t.reported_at < bindparam("until", type_=Moment)).label("due"),
    ).where(_t.device_id == func.any(_ids))
)
_OLDEST_TELEMETRY = Statement(
    select(func.min(_t.reported_at)).where(
        _t.device_id == func.any(_ids), _t.reported_at < bindparam("until", type_=Moment)
    )
)
_gone_telemetry = (
    delete(device_telemetry)
    .where(
        _t.device_id == func.any(_ids),
        _t.reported_at >= bindparam("since", type_=Moment),
        _t.reported_at < bindparam("until", type_=Moment),
    )
    .returning(_t.device_id)
    .cte("gone")
)
_TAKE_TELEMETRY = Statement(select(func.count()).select_from(_gone_telemetry))

_position = bindparam("position", type_=BigInteger)
_RECORDED = Statement(select(_e.recorded_at).where(_e.position >= _position).order_by(_e.position).limit(1))
_of_client = _e.client_id == bindparam("client", type_=Id)
_COUNT_EVENTS = Statement(
    select(func.count().label("found"), func.count().filter(_e.position < _position).label("due")).where(_of_client)
)
_oldest = (
    select(_e.position)
    .where(_of_client, _e.position < _position)
    .order_by(_e.position)
    .limit(_EVENTS_AT_ONCE)
    .scalar_subquery()
)
_gone_events = (
    delete(events)
    .where(_of_client, _e.position == func.any(func.array(_oldest)))
    .returning(_e.position)
    .cte("gone")
)
_floor = insert(event_floors).from_select(
    ["client_id", "position"],
    select(bindparam("client", type_=Id), func.max(_gone_events.c.position)).having(func.count() > 0),
)
_floored = (
    _floor.on_conflict_do_update(
        index_elements=["client_id"],
        set_={"position": func.greatest(event_floors.c.position, _floor.excluded.position)},
    )
    .returning(event_floors.c.client_id)
    .cte("floored")
)
_TAKE_EVENTS = Statement(select(func.count()).select_from(_gone_events).add_cte(_floored))


@dataclass(frozen=True, slots=True)
class Months:
    """Those there are, and of these the ones that nobody keeps any longer."""

    found: list[Partition]
    over: list[Partition]

    @property
    def share(self) -> float:
        """Of the bytes, 0 to 1."""
        return sum(one.bytes for one in self.over) / max(1, sum(one.bytes for one in self.found))


async def months_over(
    db: Runner, scope: Scope, kind: CleanupKind, kept: Mapping[str, int | None], default: int | None
) -> Months:
    """`kept` says for each client for how many days, `default` for what is nobody's; None is for ever."""
    table, days = TABLES[kind], [*kept.values(), default]
    found = await months(db, scope, table)
    longest = [day for day in days if day is not None]
    if len(longest) < len(days):
        return Months(found, [])
    oldest = datetime.now(UTC) - timedelta(days=max(longest))
    return Months(found, [one for one in found if is_before(table, one, oldest)])


def shorter_kept(kept: Mapping[str, int | None], default: int | None) -> dict[str, int]:
    """The clients whose rows go before their month does, with their days."""
    days = [*kept.values(), default]
    longest = None if None in days else max(day for day in days if day is not None)
    return {client: day for client, day in kept.items() if day is not None and (longest is None or day < longest)}


async def count_rows(db: Runner, scope: Scope, kind: CleanupKind, client_id: str, days: int) -> tuple[int, int]:
    """(rows there, rows that are over) of one client."""
    until = datetime.now(UTC) - timedelta(days=days)
    if kind is CleanupKind.EVENTS:
        row = await db.one(_COUNT_EVENTS, client=client_id, position=await _position_at(db, scope, until))
        return (row["found"], row["due"]) if row else (0, 0)
    found = due = 0
    async for ids in _devices(db, client_id):
        row = await db.one(_COUNT_TELEMETRY, ids=ids, until=until)
        found, due = found + (row["found"] if row else 0), due + (row["due"] if row else 0)
    return found, due


async def take_rows(
    database: Database, scope: Scope, kind: CleanupKind, client_id: str, days: int
) -> AsyncIterator[int]:
    """Take a client's rows that are over, step by step: how many each took, each in a transaction of its own."""
    until = datetime.now(UTC) - timedelta(days=days)
    steps = _take_events if kind is CleanupKind.EVENTS else _take_telemetry
    async for taken in steps(database, scope, client_id, until):
        yield taken


async def _take_telemetry(database: Database, scope: Scope, client_id: str, until: datetime) -> AsyncIterator[int]:
    async for ids in _devices(database, client_id):
        while (oldest := await database.value(_OLDEST_TELEMETRY, ids=ids, until=until)) is not None:
            async with transaction(database) as tx:
                end = min(until, oldest + _DAY)
                taken = await tx.value(_TAKE_TELEMETRY, ids=ids, since=oldest, until=end)
            yield taken


async def _take_events(database: Database, scope: Scope, client_id: str, until: datetime) -> AsyncIterator[int]:
    position = await _position_at(database, scope, until)
    taken = _EVENTS_AT_ONCE
    while taken == _EVENTS_AT_ONCE:
        async with transaction(database) as tx:
            taken = await tx.value(_TAKE_EVENTS, client=client_id, position=position)
        yield taken


async def _devices(db: Runner, client_id: str) -> AsyncIterator[list[str]]:
    after = _FIRST_ID
    while rows := await db.all(_DEVICES, client=client_id, after=after):
        ids = [row["id"] for row in rows]
        yield ids
        after = ids[-1]


async def _position_at(db: Runner, scope: Scope, moment: datetime) -> int:
    """The position before which all events are older. The log is in order of time, so halving finds it."""
    low, high = await oldest_position(db, scope) or 0, await log_head(db, scope) + 1
    while low < high:
        middle = (low + high) // 2
        recorded = await db.value(_RECORDED, position=middle)
        if recorded is not None and recorded < moment:
            low = middle + 1
        else:
            high = middle
    return low
