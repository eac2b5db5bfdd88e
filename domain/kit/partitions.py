"""Tables that are partitioned by month: making months ahead, and dropping those that are over, whole and at once.

What comes when its month has no partition lands in the table's default partition, and moves when the month is
made: as long as it lies there PostgreSQL refuses to make that month. Identifiers and bounds cannot be parameters
of DDL; all of them are made of a table's own name and a date.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, Text, bindparam, text

from domain.kit.scope import SYSTEM_ID, Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.transactions import Transaction

# The table's writers stand behind whoever waits for its lock: give up before they notice, and try again later.
# To move many rows may take longer than a statement usually may.
_TIME_LIMITS = Statement(
    text("SELECT set_config('lock_timeout', '2s', true), set_config('statement_timeout', '60s', true)")
)


def partition_name(table: Table, month: datetime) -> str:
    return f"{table.name}_{month:%Y_%m}"


class Partition(Row):
    """`name` of the table, `bytes` with its indexes."""

    name: str
    bytes: int


_MONTHS = Statement(
    text(
        "SELECT child.relname::text AS name, pg_total_relation_size(child.oid) AS bytes FROM pg_inherits "
        "JOIN pg_class AS child ON child.oid = inhrelid WHERE inhparent = CAST(:parent AS text)::regclass "
        "AND child.relname ~ '_[0-9]{4}_[0-9]{2}$' ORDER BY 1"
    ).bindparams(bindparam("parent", type_=Text)),
    Partition,
)


async def make_partitions(tx: Transaction, scope: Scope, table: Table, *, ahead: int = 3) -> None:
    """Make the partitions for this month, for so many ahead, and for what lies in the default partition."""
    months = await _strays(tx, table)
    month = _month(datetime.now(UTC))
    for _ in range(ahead + 1):
        months.add(month)
        month = _following(month)
    there = {partition.name for partition in await tx.all(_MONTHS, parent=table.name)}
    for month in sorted(months):
        if partition_name(table, month) not in there:
            await _make(tx, table, month)


async def old_partitions(db: Runner, scope: Scope, table: Table, *, older_than: timedelta) -> list[Partition]:
    """The months that are wholly older than that: what `drop_partitions` would drop."""
    oldest_kept = partition_name(table, datetime.now(UTC) - older_than)
    return [partition for partition in await db.all(_MONTHS, parent=table.name) if partition.name < oldest_kept]


async def drop_partitions(tx: Transaction, scope: Scope, table: Table, *, older_than: timedelta) -> list[str]:
    """Drop those months, with an event for each; returns their names."""
    dropped = await old_partitions(tx, scope, table, older_than=older_than)
    await tx.all(_TIME_LIMITS)
    for partition in dropped:
        await tx.all(Statement(text(f"DROP TABLE {partition.name}")))
        subject = ("System", SYSTEM_ID)
        data = {"table": table.name, "partition": partition.name, "bytes": partition.bytes}
        tx.emit(scope, "retention.partition_dropped", client_id=None, subject=subject, **data)
    return [partition.name for partition in dropped]


async def _strays(db: Runner, table: Table) -> set[datetime]:
    """The months of what lies in the default partition: of nothing, unless the schedule stood still."""
    month = f"date_trunc('month', {_key(table)}) AS month"
    months = text(f"SELECT DISTINCT {month} FROM {table.name}_default")  # noqa: S608 - names of our own
    return {row.month for row in await db.all(Statement(months))}


async def _make(tx: Transaction, table: Table, month: datetime) -> None:
    """Make a month beside the table, move into it what the default partition holds of it, and attach it.

    Attaching lets the table be read and written; making it as a partition at once would lock all of it.
    """
    name, default, key = partition_name(table, month), f"{table.name}_default", _key(table)
    since, until = month.isoformat(), _following(month).isoformat()
    await tx.all(_TIME_LIMITS)
    moved = f"DELETE FROM {default} WHERE {key} >= '{since}' AND {key} < '{until}' RETURNING *"  # noqa: S608
    for statement in (
        f"CREATE TABLE {name} (LIKE {table.name} INCLUDING DEFAULTS INCLUDING CONSTRAINTS)",
        f"LOCK TABLE {default} IN ACCESS EXCLUSIVE MODE",
        f"WITH moved AS ({moved}) INSERT INTO {name} SELECT * FROM moved",  # noqa: S608
        f"ALTER TABLE {table.name} ATTACH PARTITION {name} FOR VALUES FROM ('{since}') TO ('{until}')",
    ):
        await tx.all(Statement(text(statement.replace(":", r"\:"))))


def _key(table: Table) -> str:
    """The column that the table is partitioned by."""
    rule: str = table.dialect_options["postgresql"]["partition_by"]
    return rule.removeprefix("RANGE (").removesuffix(")")


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _following(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
