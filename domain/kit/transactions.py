"""A transaction, and the outbox through which it reaches the world outside the database.

What a command wants to happen elsewhere (a job, an event) becomes a row in `outbox` in the same
transaction as the change itself, so either both are true or neither. The relay (`workers/relay.py`) takes
the rows from there. Domain code never commits: the floor above opens the transaction and leaving it
commits.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import BigInteger, Column, Identity, Table, Text, bindparam, func, literal_column, select
from sqlalchemy.dialects.postgresql import insert

from domain.kit.correlation import correlation_id
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Database, R, Runner, Statement, fetch
from domain.kit.tables import NOW, Id, Json, Moment, metadata

if TYPE_CHECKING:
    from domain.kit.sql import Connection

CHANNEL = "quartermaster_outbox"
"""The PostgreSQL notification channel that says: there is something in the outbox."""


class OutboxKind(StrEnum):
    EVENT = "event"
    JOB = "job"


outbox = Table(
    "outbox",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("client_id", Id),
    Column("payload", Json, nullable=False),
    Column("correlation_id", Text),
    Column("created_at", Moment, nullable=False, server_default=NOW),
)

_rows = func.jsonb_to_recordset(bindparam("rows", type_=Json)).table_valued(
    Column("kind", Text),
    Column("name", Text),
    Column("client_id", Id),
    Column("payload", Json),
    Column("correlation_id", Text),
)
_FIELDS = ("kind", "name", "client_id", "payload", "correlation_id")
_APPEND = Statement(
    insert(outbox).from_select(
        _FIELDS,
        select(*(literal_column(f"r.{field}") for field in _FIELDS)).select_from(
            _rows.render_derived(name="r", with_types=True)
        ),
    )
)


class Transaction(Runner):
    """What a command is given: the three verbs on one connection, and the outbox."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._outbox: list[dict[str, Any]] = []
        self.wake_relay = False
        """Set by who wrote to the outbox in SQL of its own: there is something for the relay."""

    @property
    def emitted(self) -> list[str]:
        """The types of the events so far."""
        return [row["name"] for row in self._outbox if row["kind"] is OutboxKind.EVENT]

    async def _fetch(self, statement: Statement[R], arguments: list[Any]) -> list[R]:
        return await fetch(self._connection, statement, arguments)

    async def load(self, table: str, path: Path) -> None:
        """Fill a table with the lines of a file, in the text format of COPY."""
        await self._connection.copy_to_table(table, source=path, timeout=600)

    async def unload(self, query: str, path: Path) -> None:
        """Write what a query without parameters yields into a file, in the text format of COPY."""
        await self._connection.copy_from_query(query, output=path, timeout=600)

    def emit(
        self, scope: Scope, type: str, *, client_id: str | None, subject: tuple[str, str], **data: Any
    ) -> None:
        """Append an event to the log when this commits.

        `type` is `noun.happened`; `subject` is (kind, id) of what changed, kind as its GraphQL type is
        named; `data` are JSON values that explain the change.
        """
        payload = {
            "id": new_id(),
            "occurred_at": datetime.now(UTC),
            "subject_kind": subject[0],
            "subject_id": subject[1],
            "actor_kind": scope.actor_kind,
            "actor_id": scope.actor_id,
            "data": data,
        }
        self._append(OutboxKind.EVENT, type, client_id, payload)

    def enqueue(self, job: str, **arguments: Any) -> None:
        """Send a job when this commits. `job` is an actor's name; arguments are ids, not objects."""
        self._append(OutboxKind.JOB, job, None, arguments)

    def _append(self, kind: OutboxKind, name: str, client_id: str | None, payload: dict[str, Any]) -> None:
        row = {
            "kind": kind,
            "name": name,
            "client_id": client_id,
            "payload": payload,
            "correlation_id": correlation_id.get(),
        }
        self._outbox.append(row)

    async def flush(self) -> bool:
        """Write the outbox rows; says whether there is something for the relay."""
        if self._outbox:
            await self.all(_APPEND, rows=self._outbox)
        return self.wake_relay or bool(self._outbox)


@asynccontextmanager
async def transaction(database: Database) -> AsyncIterator[Transaction]:
    """Commit on leaving, roll back on any exception, and then wake the relay."""
    async with database.connection() as connection:
        async with connection.transaction():
            tx = Transaction(connection)
            yield tx
            wrote = await tx.flush()
    if wrote:
        # Not inside the transaction: there NOTIFY would hold a lock of the whole database until the commit
        # is on disk, and commits could no longer share one flush. If this process dies right here only
        # time is lost: the relay also polls.
        database.notify_soon(CHANNEL)
