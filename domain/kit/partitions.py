"""Tables that are partitioned by month: making months ahead, and dropping those that are over, whole and at once.

Identifiers and bounds cannot be parameters of DDL; all of them are made of a table's own name and a date.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, Text, bindparam, text

from domain.kit.scope import SYSTEM_ID, Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.transactions import Transaction


def partition_name(table: Table, month: datetime) -> str:
    return f"{table.name}_{month:%Y_%m}"


async def make_partitions(db: Runner, scope: Scope, table: Table, *, ahead: int = 3) -> None:
    """Make the partitions for this month and so many ahead. Months already there are left alone."""
    month = _month(datetime.now(UTC))
    for _ in range(ahead + 1):
        await db.all(_make(table, month))
        month = _following(month)


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
_PATIENCE = Statement(text("SET LOCAL lock_timeout = '1s'"))


async def months(db: Runner, scope: Scope, table: Table) -> list[Partition]:
    """Every month that there is, the oldest first."""
    return await db.all(_MONTHS, parent=table.name)


def is_before(table: Table, partition: Partition, moment: datetime) -> bool:
    """Whether a month is over before that moment's month begins."""
    return partition.name < partition_name(table, moment)


async def drop_month(tx: Transaction, scope: Scope, table: Table, partition: Partition) -> None:
    """Drop a month, with an event. Its lock stops every use of the table while it is waited for: a second at most.

    Raises asyncpg's LockNotAvailableError then.
    """
    await tx.all(_PATIENCE)
    await tx.all(Statement(text(f"DROP TABLE IF EXISTS {partition.name}")))
    subject = ("System", SYSTEM_ID)
    data = {"table": table.name, "partition": partition.name, "bytes": partition.bytes}
    tx.emit(scope, "retention.partition_dropped", client_id=None, subject=subject, **data)


def _make(table: Table, month: datetime) -> Statement[Row]:
    return Statement(
        text(
            f"CREATE TABLE IF NOT EXISTS {partition_name(table, month)} PARTITION OF {table.name} "
            f"FOR VALUES FROM ('{month.isoformat()}') TO ('{_following(month).isoformat()}')"
        )
    )


def _month(moment: datetime) -> datetime:
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _following(month: datetime) -> datetime:
    return (month + timedelta(days=32)).replace(day=1)
