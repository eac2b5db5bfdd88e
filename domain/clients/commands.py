"""Changing clients. All of it is for platform admins, but for the token, which is the client's own."""

import asyncpg
from sqlalchemy import bindparam, func, update

from domain.clients.models import clients
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.ids import new_id
from domain.kit.scope import Scope, visible
from domain.kit.secrets import CLIENT_TOKEN, new_token
from domain.kit.sql import Statement, insertion
from domain.kit.transactions import Transaction

_INSERT = Statement(insertion(clients, "id", "name"))
_FOUND = (clients.c.id == bindparam("client"), clients.c.deleted_at.is_(None), visible(clients.c.id))
_DELETE = Statement(
    update(clients).where(*_FOUND).values(deleted_at=func.now(), token_hash=None).returning(clients.c.name)
)
_SET_TOKEN = Statement(
    update(clients)
    .where(*_FOUND)
    .values(
        token_hash=bindparam("token_hash"),
        token_prefix=bindparam("token_prefix"),
        token_created_at=func.now(),
        token_last_used_at=None,
    )
    .returning(clients.c.id)
)


def checked_name(name: str) -> str:
    """A name for a person to read: trimmed, 1 to 200 characters, none of them control characters."""
    name = name.strip()
    if not 1 <= len(name) <= 200 or not name.isprintable():
        raise Invalid("A name has 1 to 200 printable characters.", argument="name")
    return name


async def create_client(tx: Transaction, scope: Scope, *, name: str) -> str:
    """Make a client; returns its id. Raises Conflict when a live client has that name."""
    client_id, name = new_id(), checked_name(name)
    try:
        await tx.all(_INSERT, id=client_id, name=name)
    except asyncpg.UniqueViolationError:
        raise Conflict("There is already a client of that name.", code="NAME_TAKEN", argument="name") from None
    tx.emit(
        scope,
        "client.created",
        client_id=client_id,
        subject=("Client", client_id),
        name=name,
        after={"name": name},
    )
    return client_id


async def delete_client(tx: Transaction, scope: Scope, client_id: str) -> None:
    """Close a client. Its tokens stop working at once; its name may be used again."""
    row = await tx.one(_DELETE, client=client_id, scope=scope.client_id)
    if row is None:
        raise NotFound("There is no such client.", clientId=client_id)
    tx.emit(
        scope,
        "client.deleted",
        client_id=client_id,
        subject=("Client", client_id),
        name=row.name,
        before={"name": row.name},
    )


async def regenerate_client_token(tx: Transaction, scope: Scope, client_id: str) -> str:
    """Give a client a new token, which is returned this once; the old one stops working at once."""
    token = new_token(CLIENT_TOKEN)
    found = await tx.one(
        _SET_TOKEN, client=client_id, scope=scope.client_id, token_hash=token.hash, token_prefix=token.prefix
    )
    if found is None:
        raise NotFound("There is no such client.", clientId=client_id)
    tx.emit(scope, "client.token_regenerated", client_id=client_id, subject=("Client", client_id))
    return token.secret
