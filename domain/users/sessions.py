"""Signing in and staying signed in: access tokens (short JWTs), refresh tokens (rotating, used once).

A session is a family of refresh tokens. Using one a second time means that two parties hold it, so the
whole family is revoked.
"""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import jwt
from limits import RateLimitItem
from sqlalchemy import bindparam, func, select, update

from domain.clients.models import clients
from domain.kit.errors import NotFound, Unauthenticated
from domain.kit.ids import is_id, new_id
from domain.kit.limits import Limiter
from domain.kit.scope import ActorKind, Scope
from domain.kit.secrets import REFRESH_TOKEN, hash_token, new_token
from domain.kit.sql import Database, Row, Runner, Statement, insertion
from domain.kit.transactions import Transaction
from domain.users import passwords
from domain.users.models import Role, UserRow, sessions, users

ALGORITHM = "HS256"


@dataclass(frozen=True, slots=True)
class SessionPolicy:
    """How sessions are signed and how long they last."""

    secret_key: bytes = field(repr=False)
    access_lifetime: timedelta
    refresh_lifetime: timedelta
    wrong_passwords: RateLimitItem


@dataclass(frozen=True, slots=True)
class SessionTokens:
    """What a signed-in person holds. `expires_at` is of the access token."""

    access_token: str
    refresh_token: str
    expires_at: datetime
    user_id: str


class _Credentials(UserRow):
    password_hash: str


class _Family(Row):
    user_id: str
    refresh_hash: str
    client_id: str | None
    role: Role
    alive: bool


_USER_COLUMNS = [users.c[name] for name in UserRow.__annotations__]
_BY_EMAIL = Statement(
    select(*_USER_COLUMNS, users.c.password_hash)
    .outerjoin(clients, clients.c.id == users.c.client_id)
    .where(
        func.lower(users.c.email) == func.lower(bindparam("email", type_=users.c.email.type)),
        users.c.deleted_at.is_(None),
        clients.c.deleted_at.is_(None),
    ),
    _Credentials,
)
_START = Statement(insertion(sessions, "id", "user_id", "refresh_hash", "expires_at"))
_LOGGED_IN = Statement(update(users).where(users.c.id == bindparam("user")).values(last_login_at=func.now()))
_alive = (
    sessions.c.revoked_at.is_(None)
    & (sessions.c.expires_at > func.now())
    & users.c.deleted_at.is_(None)
    & clients.c.deleted_at.is_(None)
)
_FAMILY = Statement(
    select(sessions.c.user_id, sessions.c.refresh_hash, users.c.client_id, users.c.role, _alive.label("alive"))
    .join(users, users.c.id == sessions.c.user_id)
    .outerjoin(clients, clients.c.id == users.c.client_id)
    .where(sessions.c.id == bindparam("session"))
    .with_for_update(of=sessions),
    _Family,
)
_ROTATE = Statement(
    update(sessions)
    .where(sessions.c.id == bindparam("session"))
    .values(
        refresh_hash=bindparam("hash"),
        refreshed_at=func.now(),
        refreshes=sessions.c.refreshes + 1,
        expires_at=bindparam("until", type_=sessions.c.expires_at.type),
    )
)
_REVOKE = Statement(
    update(sessions)
    .where(sessions.c.id == bindparam("session"), sessions.c.revoked_at.is_(None))
    .values(revoked_at=func.now())
    .returning(sessions.c.user_id)
)
_REVOKE_ALL = Statement(
    update(sessions)
    .where(
        sessions.c.user_id == bindparam("user"),
        sessions.c.revoked_at.is_(None),
        sessions.c.id.is_distinct_from(bindparam("but", type_=sessions.c.id.type)),
    )
    .values(revoked_at=func.now())
    .returning(sessions.c.id)
)


async def check_password(
    db: Runner, limiter: Limiter, policy: SessionPolicy, *, email: str, password: str, address: str
) -> UserRow:
    """The user with this e-mail and password.

    Raises Unauthenticated for a wrong pair (never saying which half), TooMany after too many wrong ones for
    the account or from the address.
    """
    account = email.strip().lower()
    async with limiter.guess(policy.wrong_passwords, ("account", account), ("address", address)):
        user = await db.one(_BY_EMAIL, email=account)
        stored = user.password_hash if user else None
        if await passwords.matches(password, stored) and user:
            return user
        raise Unauthenticated("The e-mail or the password is wrong.", code="WRONG_CREDENTIALS")


async def start_session(tx: Transaction, policy: SessionPolicy, user: UserRow) -> SessionTokens:
    """Begin a session for a user whose password was checked."""
    session_id = new_id()
    tokens, refresh_hash = _issue(policy, user.id, session_id)
    await tx.all(
        _START,
        id=session_id,
        user_id=user.id,
        refresh_hash=refresh_hash,
        expires_at=datetime.now(UTC) + policy.refresh_lifetime,
    )
    await tx.all(_LOGGED_IN, user=user.id)
    scope = Scope(ActorKind.USER, user.id, user.client_id)
    tx.emit(scope, "session.started", client_id=user.client_id, subject=("User", user.id), sessionId=session_id)
    return tokens


async def refresh_session(tx: Transaction, policy: SessionPolicy, refresh_token: str) -> SessionTokens | None:
    """New tokens for a refresh token that was not used before.

    Returns None after revoking the family, when it was used before: the caller must then commit and refuse.
    Raises Unauthenticated for a token that is unknown, over or revoked.
    """
    session_id = session_of(refresh_token)
    family = session_id and await tx.one(_FAMILY, session=session_id)
    if not session_id or not family or not family.alive:
        raise Unauthenticated("This session is over: sign in again.", code="SESSION_OVER")
    scope = Scope(ActorKind.USER, family.user_id, family.client_id)
    if family.refresh_hash != hash_token(refresh_token):
        await tx.all(_REVOKE, session=session_id)
        _emit_revoked(tx, scope, family.user_id, [session_id], "refresh token used twice")
        return None
    tokens, refresh_hash = _issue(policy, family.user_id, session_id)
    until = datetime.now(UTC) + policy.refresh_lifetime
    await tx.all(_ROTATE, session=session_id, hash=refresh_hash, until=until)
    return tokens


async def end_session(tx: Transaction, scope: Scope, session_id: str) -> None:
    """Sign out: the session's access and refresh tokens stop working at once."""
    row = await tx.one(_REVOKE, session=session_id)
    if row is None:
        raise NotFound("There is no such session.")
    _emit_revoked(tx, scope, row.user_id, [session_id], "signed out")


async def revoke_sessions(
    tx: Transaction, scope: Scope, user_id: str, *, reason: str, but: str | None = None
) -> None:
    """End every session of a user, but for one if it is named."""
    rows = await tx.all(_REVOKE_ALL, user=user_id, but=but)
    _emit_revoked(tx, scope, user_id, [row.id for row in rows], reason)


def _emit_revoked(tx: Transaction, scope: Scope, user_id: str, session_ids: list[str], reason: str) -> None:
    for session_id in session_ids:
        tx.emit(
            scope,
            "session.revoked",
            client_id=scope.client_id,
            subject=("User", user_id),
            sessionId=session_id,
            reason=reason,
        )


def _issue(policy: SessionPolicy, user_id: str, session_id: str) -> tuple[SessionTokens, str]:
    expires_at = datetime.now(UTC) + policy.access_lifetime
    claims = {"sub": user_id, "sid": session_id, "exp": expires_at, "jti": new_id()}
    access = jwt.encode(claims, policy.secret_key, algorithm=ALGORITHM)
    refresh = new_token(f"{REFRESH_TOKEN}{session_id}_")
    return SessionTokens(access, refresh.secret, expires_at, user_id), refresh.hash


def session_of(refresh_token: str) -> str | None:
    """The session a refresh token says it belongs to, or None when it is not shaped like one."""
    session_id = refresh_token.removeprefix(REFRESH_TOKEN)[:36]
    return session_id if refresh_token.startswith(REFRESH_TOKEN) and is_id(session_id) else None


async def delete_ended_sessions(db: Database, *, older_than: timedelta) -> None:
    """Forget sessions that ended so long ago that nobody asks why."""
    await db.all(_FORGET, before=datetime.now(UTC) - older_than)


_FORGET = Statement(
    sessions.delete().where(sessions.c.expires_at < bindparam("before", type_=sessions.c.expires_at.type))
)
