"""How SQL is said and run: SQLAlchemy Core builds each statement once, asyncpg's pool runs it.

A `Statement` is a Core expression compiled to text at import time, with the class its rows have. Both a
`Database` (each call on its own, outside a transaction) and a `Transaction` (see `transactions.py`) run
statements through the same verbs: `all`, `one`, `value`, and `by_id`, `by_ids`. Rows are records whose columns are
attributes; UUIDs are strings and JSON is Python values, set once per connection, so that nothing is
converted again on the way to the wire.

Why not an ORM session, and why this pool: docs/decisions/0001-core-statements-on-asyncpg.md.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar, cast, overload

import asyncpg
import orjson
import structlog
from sqlalchemy import Insert, Table, Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import asyncpg as asyncpg_dialect
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql import ClauseElement
from sqlalchemy.sql.compiler import SQLCompiler

from domain.kit.errors import Invalid, Unavailable
from domain.kit.ids import checked_id
from domain.kit.lookups import Lookups
from domain.kit.scope import Scope

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Connection = PoolConnectionProxy[asyncpg.Record]

_DIALECT = asyncpg_dialect.dialect()  # type: ignore[no-untyped-call]

R = TypeVar("R", bound="Row")
V = TypeVar("V")


class Row(asyncpg.Record):
    """A row whose columns are attributes. Subclasses only annotate them, for the type checker."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__} has no column {name!r}") from None


class Statement(Generic[R]):
    """One SQL statement, compiled once. `row` is the class of what it yields.

    `replanned` says that the best plan depends on the values so much that the server is to make one each time: with
    its own plan for all values, a search for a rare word would read what suits a common one.
    """

    __slots__ = ("_constants", "_names", "replanned", "row", "text")

    @overload
    def __init__(self: Statement[Row], expression: ClauseElement, *, replanned: bool = False) -> None: ...

    @overload
    def __init__(self, expression: ClauseElement, row: type[R], *, replanned: bool = False) -> None: ...

    def __init__(self, expression: ClauseElement, row: type[Any] = Row, *, replanned: bool = False) -> None:
        compiled = cast(SQLCompiler, expression.compile(dialect=_DIALECT))
        if compiled.post_compile_params:
            raise TypeError("IN is expanded at each execution, this is compiled once: say `= ANY(array)`")
        self.row = row
        self.replanned = replanned
        self.text = compiled.string
        self._names: list[str] = list(compiled.positiontup or [])
        self._constants = {
            name: value for name, value in compiled.params.items() if not compiled.binds[name].required
        }

    def arguments(self, parameters: dict[str, Any]) -> list[Any]:
        """The values in the order of `$1, $2, …`. Raises KeyError for one that was not given."""
        constants = self._constants
        return [parameters[name] if name in parameters else constants[name] for name in self._names]


def insertion(table: Table, *columns: str) -> Insert:
    """`INSERT INTO table (columns)` with a parameter of the same name for each."""
    return insert(table).values({column: bindparam(column, type_=table.c[column].type) for column in columns})


def padded(values: list[V]) -> list[V]:
    """The elements of an array for `= ANY`, the last one repeated until there are ten.

    PostgreSQL's plan for any array is made for ten. Of a shorter one it thinks that a plan of its own is cheaper,
    and makes that each time, which takes longer than finding the rows. Repeated ones are looked up once.
    """
    return [*values, *values[-1:] * (_PLANNED_FOR - len(values))]


_PLANNED_FOR = 10


class Runner:
    """The three verbs, and rows by their ids. `_fetch` and `_execute` say on which connection."""

    async def _fetch(self, statement: Statement[R], arguments: list[Any]) -> list[R]:
        raise NotImplementedError

    async def all(self, statement: Statement[R], **parameters: Any) -> list[R]:
        """Every row."""
        return await self._fetch(statement, statement.arguments(parameters))

    async def one(self, statement: Statement[R], **parameters: Any) -> R | None:
        """The first row, or None."""
        rows = await self._fetch(statement, statement.arguments(parameters))
        return rows[0] if rows else None

    async def value(self, statement: Statement[R], **parameters: Any) -> Any:
        """The first column of the first row, or None."""
        row = await self.one(statement, **parameters)
        return None if row is None else row[0]

    async def by_ids(self, statement: Statement[R], scope: Scope, ids: Sequence[str]) -> list[R | None]:
        """The rows with these ids, aligned with them; None where there is none in the scope. Raises Invalid.

        The statement takes `ids` and `scope`, and its rows have an `id`.
        """
        found = await self._by_id(statement, scope.client_id, list(ids))
        return [found.get(id) for id in ids]

    def by_id(self, statement: Statement[R], scope: Scope, id: str) -> Awaitable[R | None]:
        """The first of `by_ids`."""
        return self._one_by_id(statement, scope.client_id, id)

    async def _one_by_id(self, statement: Statement[R], client_id: str | None, id: str) -> R | None:
        return (await self._by_id(statement, client_id, [id])).get(id)

    async def _by_id(self, statement: Statement[R], client_id: str | None, ids: list[str]) -> dict[str, R]:
        return {row["id"]: row for row in await self.all(statement, ids=padded(ids), scope=client_id)}


_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # the server has said goodbye on this connection, which is not closed yet
    asyncpg.CannotConnectNowError,
    OSError,
)


def is_lost(error: BaseException) -> bool:
    """Whether the error says that the database went away rather than that the statement was wrong."""
    return isinstance(error, (*_LOST, asyncpg.AdminShutdownError, asyncpg.CrashShutdownError))


_NOTIFY = Statement(select(func.pg_notify(bindparam("channel", type_=Text), "")))
_log = structlog.get_logger(__name__)


class Database(Runner):
    """The pool. Safe to share between tasks of one event loop."""

    def __init__(self, pool: asyncpg.Pool[asyncpg.Record], acquire_timeout: float, patience: float) -> None:
        self.pool = pool
        self._acquire_timeout = acquire_timeout
        self._notifying: asyncio.Task[None] | None = None
        self._notify_again = False
        self._kept: list[Connection] = []
        self._waiting = 0
        self._closing = False
        self._lookups = Lookups(self._by_id, patience)

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        pool_size: int,
        statement_timeout: float = 5,
        acquire_timeout: float = 2,
        application: str = "quartermaster",
    ) -> Self:
        """Open the pool. Times are in seconds. Raises what asyncpg raises when the server is not there."""
        pool = await asyncpg.create_pool(
            url,
            min_size=min(2, pool_size),
            max_size=pool_size,
            statement_cache_size=512,
            max_inactive_connection_lifetime=300,
            init=_prepare_connection,
            reset=_reset_connection,
            server_settings={
                "application_name": application,
                "statement_timeout": str(int(statement_timeout * 1000)),
                "idle_in_transaction_session_timeout": "60000",
                "timezone": "UTC",
                # Most statements here touch a few rows: compiling them costs more than it saves.
                "jit": "off",
            },
        )
        return cls(pool, acquire_timeout, acquire_timeout + 2 * statement_timeout)

    async def close(self) -> None:
        if self._notifying is not None:  # a command that ends right after its commit would take the connection away
            await asyncio.wait([self._notifying], timeout=1)
        self._closing = True
        try:
            while self._kept:
                await self.pool.release(self._kept.pop())
            await asyncio.wait_for(self.pool.close(), 5)
        except TimeoutError:
            self.pool.terminate()

    def connection(self) -> _Lease:
        """A pooled connection, for an `async with`. Raises Unavailable when none is free in time or the server is
        away.
        """
        return _Lease(self)

    async def acquire(self) -> Connection:
        """A connection of the pool. Raises as `connection`."""
        while self._kept:
            kept = self._kept.pop()
            if not _is_closed(kept):  # it was usable when it was given back
                return kept
            await self.pool.release(kept)
        self._waiting += 1
        try:
            return await self.pool.acquire(timeout=self._acquire_timeout)
        except TimeoutError:
            raise Unavailable("The server is busy: no database connection was free in time.") from None
        except Exception as error:
            if is_lost(error):
                raise Unavailable("The database cannot be reached.") from error
            raise
        finally:
            self._waiting -= 1

    async def release(self, connection: Connection) -> None:
        """Give a connection back."""
        # asyncpg's pool makes tasks and timers for each use, which costs a third of a read. So it decides how many
        # connections there are and who waits for one; while nobody waits, they are kept here.
        if self._waiting or self._closing or not _is_usable(connection):
            await self.pool.release(connection)
        else:
            self._kept.append(connection)

    def by_id(self, statement: Statement[R], scope: Scope, id: str) -> Awaitable[R | None]:
        """As in `Runner`, but together with what other requests look for."""
        return self._lookups.one(statement, scope.client_id, id)

    async def by_ids(self, statement: Statement[R], scope: Scope, ids: Sequence[str]) -> list[R | None]:
        """As in `Runner`; one row alone as by `by_id`."""
        if len(ids) == 1:
            return [await self.by_id(statement, scope, ids[0])]
        return await super().by_ids(statement, scope, ids)

    @property
    def idle(self) -> int:
        """Open connections that nobody uses."""
        return self.pool.get_idle_size() + len(self._kept)

    def notify_soon(self, channel: str) -> None:
        """Send NOTIFY without waiting for it; calls made while one is under way share the next."""
        self._notify_again = True
        if self._notifying is None or self._notifying.done():
            self._notifying = asyncio.get_running_loop().create_task(self._notify(channel))

    async def _notify(self, channel: str) -> None:
        while self._notify_again:
            self._notify_again = False
            try:
                await self.value(_NOTIFY, channel=channel)
            except Unavailable as error:
                _log.warning("wake-up not sent, polling will find the work", error=str(error))

    async def _fetch(self, statement: Statement[R], arguments: list[Any]) -> list[R]:
        try:
            async with self.connection() as connection:
                return await fetch(connection, statement, arguments)
        except Unavailable as error:
            # A pooled connection may have died while it was idle (the server was restarted); reads and
            # single statements that never reached the server may be tried once more on a fresh one.
            if not isinstance(error.__cause__, asyncpg.ConnectionDoesNotExistError | asyncpg.InterfaceError):
                raise
        async with self.connection() as connection:
            return await fetch(connection, statement, arguments)


def _is_closed(connection: Connection) -> bool:
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # it was terminated, and the pool has forgotten it already
        return True


def _is_usable(connection: Connection) -> bool:
    try:
        return not connection.is_closed() and not connection.is_in_transaction()
    except asyncpg.InterfaceError:  # it was terminated, and the pool has forgotten it already
        return False


class _Lease:
    """The use of one connection. What is lost or cancelled on the way is told as a Refusal of the domain."""

    __slots__ = ("_connection", "_database")

    def __init__(self, database: Database) -> None:
        self._database = database

    async def __aenter__(self) -> Connection:
        self._connection = await self._database.acquire()
        return self._connection

    async def __aexit__(self, _: object, error: BaseException | None, __: object) -> None:
        try:
            if isinstance(error, asyncio.CancelledError):
                # The server may see the cancellation of a statement only when it is at the next one: this
                # connection's next statement would then fail for somebody who cancelled nothing.
                self._connection.terminate()
            elif isinstance(error, Exception):
                if is_lost(error):
                    raise Unavailable("The connection to the database was lost.") from error
                if isinstance(error, asyncpg.QueryCanceledError):
                    _log.warning("a statement was cancelled", error=str(error))
                    raise Unavailable("The database took too long to answer.", code="TIMEOUT") from error
        finally:
            await self._database.release(self._connection)


async def fetch(connection: Connection, statement: Statement[R], arguments: list[Any]) -> list[R]:
    """Run a statement on one connection. Raises Invalid for an id that is none, and for text with a NUL."""
    try:
        rows: list[R] = await (_replanned if statement.replanned else _run)(connection, statement, arguments)
    except (asyncpg.CharacterNotInRepertoireError, asyncpg.UntranslatableCharacterError):
        raise Invalid("Text cannot hold the NUL character.") from None
    except asyncpg.DataError as error:
        if error.__cause__ is not None:
            # A codec refused an argument after asyncpg had the statement parsed, without a Sync: on the server
            # its time limit goes on running and would end a later statement of this connection.
            await connection.execute("SELECT 1")
        # asyncpg wraps whatever a codec raises; ids are checked there, in one place for all statements.
        if isinstance(error.__cause__, OverflowError):
            raise Invalid("A number or a time is out of range.") from None
        raise (error.__cause__ if isinstance(error.__cause__, Invalid) else error) from None
    return rows


async def _run(connection: Connection, statement: Statement[R], arguments: list[Any]) -> list[R]:
    rows: list[R] = await connection.fetch(statement.text, *arguments, record_class=statement.row)
    return rows


async def _replanned(connection: Connection, statement: Statement[R], arguments: list[Any]) -> list[R]:
    async with connection.transaction():
        await connection.execute("SET LOCAL plan_cache_mode = force_custom_plan")
        return await _run(connection, statement, arguments)


async def _prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    await connection.set_type_codec("uuid", schema="pg_catalog", encoder=checked_id, decoder=str, format="text")
    for name in ("json", "jsonb"):
        await connection.set_type_codec(
            name, schema="pg_catalog", encoder=_encode_json, decoder=orjson.loads, format="text"
        )


async def _reset_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    # asyncpg would send RESET ALL, UNLISTEN * and more after every use: a round trip that costs as much
    # as a read. Nothing here changes session state on a pooled connection but by a transaction.
    if connection.is_in_transaction():
        await connection.execute("ROLLBACK")


def _encode_json(value: Any) -> str:
    return orjson.dumps(value).decode()
