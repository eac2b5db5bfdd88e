"""Signing in and out, the caller itself, and users."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.devices.models import DeviceRow
from domain.devices.queries import devices_by_ids
from domain.kit.errors import Denied, NotFound, Unauthenticated
from domain.kit.paging import Page, page_size
from domain.kit.scope import ActorKind, Scope
from domain.users import commands, queries, sessions
from domain.users.models import Role, UserRow
from domain.users.passwords import hash_password
from domain.users.principals import Permission, Principal, PrincipalKind
from domain.users.sessions import SessionTokens
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.pages import Connection
from schema.relation import answers
from schema.users import Deleted, Session, User, Viewer


@strawberry.type
class UserQuery:
    @operation(Permission.ACCOUNT, Viewer)
    async def viewer(self, info: Info) -> Principal:
        """Whoever is asking."""
        return info.context.principal

    @operation(Permission.USERS_READ, Connection[User])
    async def users(self, info: Info, first: int = 20, after: str | None = None) -> Page[UserRow]:
        """The users that the caller may see, by e-mail."""
        ctx = info.context
        return await queries.list_users(ctx.db, ctx.scope, first=page_size(first), after=after)


@strawberry.type
class UserMutation:
    @operation(Permission.PUBLIC, Session)
    async def login(self, info: Info, email: str, password: str) -> SessionTokens:
        """Sign in. After five wrong passwords in a minute the account and the address have to wait."""
        ctx = info.context
        user = await sessions.check_password(
            ctx.db,
            ctx.services.limiter,
            ctx.services.sessions,
            email=email,
            password=password,
            address=ctx.address,
        )
        async with ctx.transaction() as tx:
            return await sessions.start_session(tx, ctx.services.sessions, user)

    @operation(Permission.PUBLIC, Session)
    async def refresh_session(self, info: Info, refresh_token: str) -> SessionTokens:
        """Exchange a refresh token for new tokens. Each works once; using one twice ends the session."""
        ctx = info.context
        async with ctx.transaction() as tx:
            tokens = await sessions.refresh_session(tx, ctx.services.sessions, refresh_token)
        if tokens is None:
            raise Unauthenticated("This refresh token was used before: the session is over.", code="TOKEN_REUSED")
        return tokens

    @operation(Permission.ACCOUNT, bool)
    async def logout(self, info: Info) -> bool:
        """End the caller's session: its tokens stop working at once."""
        ctx = info.context
        if ctx.principal.session_id is None:
            raise Denied("Only a user can sign out; a token is replaced instead.", code="NO_SESSION")
        async with ctx.transaction() as tx:
            await sessions.end_session(tx, ctx.scope, ctx.principal.session_id)
        return True

    @operation(Permission.USERS_WRITE, User)
    async def create_user(
        self, info: Info, email: str, password: str, role: Role, client_id: strawberry.ID | None = None
    ) -> UserRow:
        """Make a user. Operators and viewers belong to a client, admins to none."""
        ctx = info.context
        password_hash = await hash_password(password)
        async with ctx.transaction() as tx:
            user_id = await commands.create_user(
                tx, ctx.scope, email=email, password_hash=password_hash, role=role, client_id=client_id
            )
        return await _user(ctx, user_id)

    @operation(Permission.USERS_WRITE, User)
    async def set_user_role(
        self, info: Info, id: strawberry.ID, role: Role, client_id: strawberry.ID | None = None
    ) -> UserRow:
        """Give a user another role, from its next request on. The last admin stays one."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.set_user_role(tx, ctx.scope, id, role=role, client_id=client_id)
        return await _user(ctx, id)

    @operation(Permission.USERS_WRITE, Deleted)
    async def delete_user(self, info: Info, id: strawberry.ID) -> Deleted:
        """Remove a user and end its sessions at once. The last admin stays."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.delete_user(tx, ctx.scope, id)
        return Deleted(id=id)

    @operation(Permission.ACCOUNT, User)
    async def change_password(self, info: Info, current: str, new: str) -> UserRow:
        """Change the caller's own password (12 to 200 characters). Its other sessions end at once."""
        ctx = info.context
        if ctx.principal.kind is not PrincipalKind.USER or ctx.principal.id is None:
            raise Denied("Only a user has a password.", code="NO_PASSWORD")
        new_hash = await hash_password(new, argument="new")
        # Whoever found an open session must not find out its password.
        limit = ctx.services.sessions.wrong_passwords
        async with ctx.services.limiter.guess(limit, ("user", ctx.principal.id)), ctx.transaction() as tx:
            await commands.change_password(
                tx,
                ctx.scope,
                ctx.principal.id,
                current=current,
                new_hash=new_hash,
                session_id=ctx.principal.session_id,
            )
        return await _user(ctx, ctx.principal.id)


async def _user(ctx: Context, user_id: str) -> UserRow:
    row = (await queries.users_by_ids(ctx.db, ctx.scope, [user_id]))[0]
    if row is None:
        raise NotFound("There is no such user any more.", userId=user_id)
    return row


@answers(Session, "user")
async def user_of_session(ctx: Context, sessions: Sequence[SessionTokens]) -> list[UserRow | None]:
    """Who signed in: known by its password, though the request itself had no credential."""
    ids = [session.user_id for session in sessions]
    return await queries.users_by_ids(ctx.db, Scope(ActorKind.USER, ids[0], None), ids)


@answers(Viewer, "user")
async def user_of_viewer(ctx: Context, viewers: Sequence[Principal]) -> list[UserRow | None]:
    ids = [viewer.id for viewer in viewers if viewer.kind is PrincipalKind.USER and viewer.id]
    rows = await queries.users_by_ids(ctx.db, ctx.scope, ids) if ids else []
    found: dict[Any, UserRow | None] = dict(zip(ids, rows, strict=True))
    return [found.get(viewer.id) for viewer in viewers]


@answers(Viewer, "device")
async def device_of_viewer(ctx: Context, viewers: Sequence[Principal]) -> list[DeviceRow | None]:
    ids = [viewer.id for viewer in viewers if viewer.kind is PrincipalKind.DEVICE and viewer.id]
    rows = await devices_by_ids(ctx.db, ctx.scope, ids) if ids else []
    found: dict[Any, DeviceRow | None] = dict(zip(ids, rows, strict=True))
    return [found.get(viewer.id) for viewer in viewers]
