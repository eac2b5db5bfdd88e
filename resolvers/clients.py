"""Clients: root operations, and the relation that leads to them."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.clients import commands, queries
from domain.clients.models import ClientRow
from domain.kit.errors import NotFound
from domain.kit.paging import Page, page_size
from domain.kit.scope import SYSTEM, Scope
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.clients import Client, NewClientToken
from schema.configs import Config, ConfigTemplate
from schema.devices import Device
from schema.pages import Connection
from schema.relation import answers
from schema.retention import CleanupRun, RetentionPolicy
from schema.storage import ClientUse
from schema.users import Deleted, User, Viewer


@strawberry.type
class ClientQuery:
    @operation(Permission.CLIENTS_READ, Connection[Client])
    async def clients(self, info: Info, first: int = 20, after: str | None = None) -> Page[ClientRow]:
        """The clients that the caller may see, by name: all of them for an admin, one for everybody else."""
        ctx = info.context
        return await queries.list_clients(ctx.db, ctx.scope, first=page_size(first), after=after)

    @operation(Permission.CLIENTS_READ, Client | None)
    async def client(self, info: Info, id: strawberry.ID) -> ClientRow | None:
        """One client; null when there is none that the caller may see."""
        return (await queries.clients_by_ids(info.context.db, info.context.scope, [id]))[0]


@strawberry.type
class ClientMutation:
    @operation(Permission.CLIENTS_WRITE, Client)
    async def create_client(self, info: Info, name: str) -> ClientRow:
        """Make a client. Its name must not be taken."""
        ctx = info.context
        async with ctx.transaction() as tx:
            client_id = await commands.create_client(tx, ctx.scope, name=name)
        return await _client(ctx, client_id)

    @operation(Permission.CLIENTS_WRITE, Deleted)
    async def delete_client(self, info: Info, id: strawberry.ID) -> Deleted:
        """Close a client: its users, tokens and devices are refused from now on. Its images stay."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.delete_client(tx, ctx.scope, id)
        return Deleted(id=id)

    @operation(Permission.CLIENT_TOKEN, NewClientToken)
    async def regenerate_client_token(self, info: Info, id: strawberry.ID) -> NewClientToken:
        """Give a client a token for its own programs. An older one stops working at once."""
        ctx = info.context
        async with ctx.transaction() as tx:
            token = await commands.regenerate_client_token(tx, ctx.scope, id)
        client: Any = await _client(ctx, id)
        return NewClientToken(token=token, client=client)


async def _client(ctx: Context, client_id: str) -> ClientRow:
    row = (await queries.clients_by_ids(ctx.db, ctx.scope, [client_id]))[0]
    if row is None:
        raise NotFound("There is no such client any more.", clientId=client_id)
    return row


@answers(Device, "client", reads=["client_id"])
@answers(Config, "client", reads=["client_id"])
@answers(ConfigTemplate, "client", reads=["client_id"])
@answers(ClientUse, "client", reads=["client_id"])
@answers(RetentionPolicy, "client", reads=["client_id"])
@answers(CleanupRun, "client", reads=["client_id"])
@answers(Viewer, "client")
async def client_of(ctx: Context, parents: Sequence[Any]) -> list[ClientRow | None]:
    return await _clients_of(ctx, ctx.scope, parents)


@answers(User, "client", reads=["client_id"])
async def client_of_user(ctx: Context, users: Sequence[Any]) -> list[ClientRow | None]:
    """Whoever was given a user may see its client, even who signs in with this request and has no scope yet."""
    return await _clients_of(ctx, SYSTEM, users)


async def _clients_of(ctx: Context, scope: Scope, parents: Sequence[Any]) -> list[ClientRow | None]:
    """The client that each parent's `client_id` names, also when it was deleted since."""
    ids = list({parent.client_id for parent in parents if parent.client_id is not None})
    rows = await queries.clients_by_ids(ctx.db, scope, ids, closed=True) if ids else []
    found = dict(zip(ids, rows, strict=True))
    return [found.get(parent.client_id) for parent in parents]
