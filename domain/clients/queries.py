"""Reading clients."""

from collections.abc import Sequence

from sqlalchemy import Text, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.clients.models import ClientRow, clients
from domain.kit.errors import NotFound
from domain.kit.paging import Count, Order, Page, fetch_page, paged
from domain.kit.scope import Scope, visible
from domain.kit.sql import Runner, Statement
from domain.kit.tables import Id

_COLUMNS = [clients.c[name] for name in ClientRow.__annotations__]
_live = clients.c.deleted_at.is_(None)

BY_NAME = Order(
    "NAME", False, func.lower(clients.c.name, type_=clients.c.name.type), lambda row: row.name, func.lower
)

_by_ids = select(*_COLUMNS).where(
    clients.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(clients.c.id)
)
_BY_IDS = {closed: Statement(_by_ids if closed else _by_ids.where(_live), ClientRow) for closed in (False, True)}
_BY_NAME = Statement(
    select(*_COLUMNS)
    .where(func.lower(clients.c.name) == func.lower(bindparam("name", type_=Text)), _live)
    .where(visible(clients.c.id)),
    ClientRow,
)
_LIST = {
    after: Statement(
        paged(select(*_COLUMNS).where(_live, visible(clients.c.id)), clients.c.id, BY_NAME, after=after),
        ClientRow,
    )
    for after in (False, True)
}
_COUNT = Statement(select(func.count()).select_from(clients).where(_live, visible(clients.c.id)))


async def clients_by_ids(
    db: Runner, scope: Scope, ids: Sequence[str], *, closed: bool = False
) -> list[ClientRow | None]:
    """The clients with these ids, aligned with them; None where there is none in the scope.

    Deleted ones are there only for `closed`: what they owned still names them.
    """
    return await db.by_ids(_BY_IDS[closed], scope, ids)


async def owning_client(db: Runner, scope: Scope, client_id: str | None) -> str:
    """The id of the client that a new thing will belong to: as `Scope.owner`, and it is there."""
    owner = scope.owner(client_id)
    if (await clients_by_ids(db, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    return owner


async def client_by_name(db: Runner, scope: Scope, name: str) -> ClientRow | None:
    """The client of this name, in any case."""
    return await db.one(_BY_NAME, name=name, scope=scope.client_id)


async def list_clients(db: Runner, scope: Scope, *, first: int, after: str | None) -> Page[ClientRow]:
    """The clients in the scope by name."""

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_COUNT, scope=scope.client_id)}

    statement = _LIST[after is not None]
    return await fetch_page(
        db, lambda _: statement, BY_NAME, Count("clients", None, count), first, after, scope=scope.client_id
    )
