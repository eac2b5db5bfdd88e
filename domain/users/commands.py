"""Changing users: making, promoting, removing them, and their passwords."""

import re

import asyncpg
from sqlalchemy import bindparam, func, select, update

from domain.clients.queries import clients_by_ids
from domain.kit.errors import Conflict, Invalid, NotFound, Unauthenticated
from domain.kit.ids import new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement, insertion
from domain.kit.transactions import Transaction
from domain.users import passwords
from domain.users.models import Role, users
from domain.users.sessions import revoke_sessions

_EMAIL = re.compile(r"[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]{1,190}")


class _Held(Row):
    client_id: str | None
    role: Role
    password_hash: str


_INSERT = Statement(insertion(users, "id", "client_id", "email", "password_hash", "role"))
_FOUND = (users.c.id == bindparam("user"), users.c.deleted_at.is_(None), visible(users.c.client_id))
_HOLD = Statement(
    select(users.c.client_id, users.c.role, users.c.password_hash).where(*_FOUND).with_for_update(), _Held
)
_ADMINS = Statement(
    select(users.c.id)
    .where(users.c.role == Role.ADMIN.value, users.c.deleted_at.is_(None))
    .order_by(users.c.id)
    .with_for_update()
)
_SET_ROLE = Statement(
    update(users)
    .where(users.c.id == bindparam("user"))
    .values(role=bindparam("new_role"), client_id=bindparam("new_client", type_=users.c.client_id.type))
)
_SET_PASSWORD = Statement(
    update(users).where(users.c.id == bindparam("user")).values(password_hash=bindparam("hash"))
)
_DELETE = Statement(update(users).where(users.c.id == bindparam("user")).values(deleted_at=func.now()))


async def create_user(
    tx: Transaction, scope: Scope, *, email: str, password_hash: str, role: Role, client_id: str | None
) -> str:
    """Make a user; returns its id. Raises Conflict when the e-mail is taken, Invalid for a wrong pairing."""
    email = email.strip()
    if not _EMAIL.fullmatch(email):
        raise Invalid("This is not an e-mail address.", argument="email")
    client_id = await _client_for(tx, scope, role, client_id)
    user_id = new_id()
    try:
        await tx.all(
            _INSERT,
            id=user_id,
            client_id=client_id,
            email=email,
            password_hash=password_hash,
            role=role.value,
        )
    except asyncpg.UniqueViolationError:
        raise Conflict("There is already a user with that e-mail.", code="EMAIL_TAKEN", argument="email") from None
    # No e-mail: whoever may read events need not be one who may read users.
    tx.emit(
        scope,
        "user.created",
        client_id=client_id,
        subject=("User", user_id),
        role=role,
        after={"role": role, "clientId": client_id},
    )
    return user_id


async def set_user_role(tx: Transaction, scope: Scope, user_id: str, *, role: Role, client_id: str | None) -> None:
    """Give a user another role. Its sessions go on, with the new role from the next request."""
    admins = await _hold_admins(tx)
    held = await _hold(tx, scope, user_id)
    if role is not Role.ADMIN:
        _refuse_last_admin(admins, user_id)
    client_id = await _client_for(
        tx, scope, role, client_id or (held.client_id if role is not Role.ADMIN else None)
    )
    await tx.all(_SET_ROLE, user=user_id, new_role=role.value, new_client=client_id)
    tx.emit(
        scope,
        "user.role_changed",
        client_id=client_id,
        subject=("User", user_id),
        before={"role": held.role, "clientId": held.client_id},
        after={"role": role, "clientId": client_id},
    )


async def delete_user(tx: Transaction, scope: Scope, user_id: str) -> None:
    """Remove a user and end its sessions. Raises Conflict for the last admin."""
    admins = await _hold_admins(tx)
    held = await _hold(tx, scope, user_id)
    _refuse_last_admin(admins, user_id)
    await tx.all(_DELETE, user=user_id)
    await revoke_sessions(tx, scope, user_id, reason="user deleted")
    tx.emit(
        scope,
        "user.deleted",
        client_id=held.client_id,
        subject=("User", user_id),
        before={"role": held.role, "clientId": held.client_id},
    )


async def change_password(
    tx: Transaction, scope: Scope, user_id: str, *, current: str, new_hash: str, session_id: str | None
) -> None:
    """Replace the caller's own password and end its other sessions.

    Raises Unauthenticated when `current` is wrong.
    """
    held = await _hold(tx, scope, user_id)
    if not await passwords.matches(current, held.password_hash):
        raise Unauthenticated("The current password is wrong.", code="WRONG_CREDENTIALS", argument="current")
    await tx.all(_SET_PASSWORD, user=user_id, hash=new_hash)
    await revoke_sessions(tx, scope, user_id, reason="password changed", but=session_id)
    tx.emit(scope, "user.password_changed", client_id=held.client_id, subject=("User", user_id))


async def _hold(tx: Transaction, scope: Scope, user_id: str) -> _Held:
    held = await tx.one(_HOLD, user=user_id, scope=scope.client_id)
    if held is None:
        raise NotFound("There is no such user.", userId=user_id)
    return held


async def _client_for(tx: Transaction, scope: Scope, role: Role, client_id: str | None) -> str | None:
    if role is Role.ADMIN:
        if client_id is not None:
            raise Invalid("An admin belongs to the platform, not to a client.", argument="clientId")
        return None
    if client_id is None:
        raise Invalid(f"A user with the role {role} belongs to a client: name it.", argument="clientId")
    if (await clients_by_ids(tx, scope, [client_id]))[0] is None:
        raise NotFound("There is no such client.", clientId=client_id)
    return client_id


async def _hold_admins(tx: Transaction) -> set[str]:
    """The admins, locked before anybody else and in one order, so that two who remove each other queue up."""
    return {row.id for row in await tx.all(_ADMINS)}


def _refuse_last_admin(admins: set[str], user_id: str) -> None:
    if admins == {user_id}:
        raise Conflict("This is the last admin: make another first.", code="LAST_ADMIN")
