"""Tables that are partitioned by month: making months ahead, and dropping those that are over.

Identifiers and bounds cannot be parameters of DDL; all of them are made of a table's own name and a date.
"""

from datetime import UTC, datetime, timedelta

from sqlalchemy import Table, text

from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement


def partition_name(table: Table, month: datetime) -> str:
    return f"{table.name}_{month:%Y_%m}"


async def make_partitions(db: Runner, scope: Scope, table: Table, *, ahead: int = 3) -> None:
    """Make the partitions for this month and so many ahead. Months already there are left alone."""
    month = _month(datetime.now(UTC))
    for _ in range(ahead + 1):
        await db.all(_make(table, month))
        month = _following(month)


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
