"""From a bearer credential to a principal: access JWTs of users, tokens of clients and devices.

What the database said of a credential is kept for a few seconds. Whoever commits a change that could
matter empties this memory before answering, and the events feed empties that of every other process a few
milliseconds later, so the seconds only count when the feed is down.
"""

import hashlib
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any

import jwt
from sqlalchemy import bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.clients.models import clients
from domain.devices.models import devices
from domain.kit.batches import Batches
from domain.kit.errors import Unauthenticated, Unavailable
from domain.kit.secrets import CLIENT_TOKEN, DEVICE_TOKEN, hash_token
from domain.kit.sql import Database, Statement, padded
from domain.users.models import Role, sessions, users
from domain.users.principals import ANONYMOUS, Principal, client_principal, device_principal, user_principal
from domain.users.sessions import ALGORITHM

_REVOKING = ("session.revoked", "user.", "client.deleted", "client.token", "device.token", "device.deregistered")
_REMEMBERED = 10.0  # seconds
_CAPACITY = 20_000

_BY_SESSION = Statement(
    select(users.c.id, users.c.client_id, users.c.role)
    .join(sessions, sessions.c.user_id == users.c.id)
    .outerjoin(clients, clients.c.id == users.c.client_id)
    .where(
        sessions.c.id == bindparam("session"),
        sessions.c.revoked_at.is_(None),
        users.c.deleted_at.is_(None),
        clients.c.deleted_at.is_(None),
    )
)
_BY_CLIENT_TOKEN = Statement(
    select(clients.c.id).where(clients.c.token_hash == bindparam("hash"), clients.c.deleted_at.is_(None))
)
_CLIENT_TOKEN_USED = Statement(
    update(clients)
    .where(
        clients.c.id == bindparam("client"),
        or_(
            clients.c.token_last_used_at.is_(None),
            clients.c.token_last_used_at < func.now() - func.make_interval(0, 0, 0, 0, 0, 1),
        ),
    )
    .values(token_last_used_at=func.now())
)
_BY_DEVICE_TOKENS = Statement(
    select(devices.c.id, devices.c.client_id, devices.c.key, devices.c.token_hash)
    .join(clients, clients.c.id == devices.c.client_id)
    .where(
        devices.c.token_hash == func.any(bindparam("hashes", type_=ARRAY(TEXT))),
        devices.c.deregistered_at.is_(None),
        clients.c.deleted_at.is_(None),
    )
)


def revokes(event_type: str) -> bool:
    """Whether something happened after which a credential may open less than before, or nothing."""
    return event_type.startswith(_REVOKING)


class Authenticator:
    """Checks credentials for one process."""

    def __init__(self, database: Database, secret_key: bytes) -> None:
        self._database = database
        self._secret_key = secret_key
        self._known: OrderedDict[bytes, tuple[float, Principal]] = OrderedDict()
        self._generation = 0
        self._devices: Batches[str, Principal] = Batches(self._by_device_tokens, key=lambda one: one)

    capacity = _CAPACITY

    @property
    def known(self) -> int:
        """How many callers are remembered."""
        return len(self._known)

    def forget(self) -> None:
        """Something changed that any credential may depend on: ask the database again from now on."""
        self._generation += 1
        self._known.clear()

    async def principal(self, authorization: str | None) -> Principal:
        """The caller behind an `Authorization` header (or None: nobody).

        Raises Unauthenticated for a credential that is malformed, unknown, over or revoked.
        """
        if not authorization:
            return ANONYMOUS
        scheme, _, credential = authorization.partition(" ")
        if scheme.lower() != "bearer" or not credential:
            raise Unauthenticated("Send the credential as `Authorization: Bearer …`.")
        return await self._remembered(credential.strip())

    async def _remembered(self, credential: str) -> Principal:
        digest = hashlib.sha256(credential.encode()).digest()
        found = self._known.get(digest)
        if found and found[0] > time.monotonic():
            return found[1]
        generation = self._generation
        principal = await self._look_up(credential)
        if generation == self._generation:
            self._known[digest] = (time.monotonic() + _lasts(principal), principal)
            if len(self._known) > _CAPACITY:
                self._known.popitem(last=False)
        return principal

    async def _look_up(self, credential: str) -> Principal:
        if credential.startswith(DEVICE_TOKEN):
            return await self._device(credential)
        if credential.startswith(CLIENT_TOKEN):
            return await self._client(credential)
        return await self._user(credential)

    async def _device(self, token: str) -> Principal:
        # Thousands of devices that wake by the hour, each seen again when it is long forgotten here: they share
        # their questions to the database.
        return await self._devices.do(hash_token(token))

    async def _by_device_tokens(self, hashes: list[str]) -> list[Principal | Exception]:
        try:
            found = await self._database.all(_BY_DEVICE_TOKENS, hashes=padded(hashes))
        except Unavailable as error:
            return [error] * len(hashes)  # it would not be there for each of them either
        rows = {row.token_hash: row for row in found}
        return [
            _unknown("device token") if row is None else device_principal(row.id, row.client_id, row.key)
            for row in map(rows.get, hashes)
        ]

    async def _client(self, token: str) -> Principal:
        row = await self._database.one(_BY_CLIENT_TOKEN, hash=hash_token(token))
        if row is None:
            raise _unknown("client token")
        await self._database.all(_CLIENT_TOKEN_USED, client=row.id)
        return client_principal(row.id)

    async def _user(self, token: str) -> Principal:
        claims = self._claims(token)
        row = await self._database.one(_BY_SESSION, session=claims["sid"])
        if row is None:
            raise Unauthenticated("This session is over: sign in again.", code="SESSION_OVER")
        expires_at = datetime.fromtimestamp(claims["exp"], UTC)
        return user_principal(row.id, row.client_id, Role(row.role), claims["sid"], expires_at)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token, self._secret_key, algorithms=[ALGORITHM], options={"require": ["sub", "sid", "exp"]}
            )
        except jwt.ExpiredSignatureError:
            raise Unauthenticated("The access token is over: refresh the session.", code="TOKEN_EXPIRED") from None
        except jwt.InvalidTokenError:
            raise _unknown("access token") from None


def _lasts(principal: Principal) -> float:
    """Seconds for which it may be remembered: not beyond the credential's end."""
    if principal.expires_at is None:
        return _REMEMBERED
    return min(_REMEMBERED, (principal.expires_at - datetime.now(UTC)).total_seconds())


def _unknown(kind: str) -> Unauthenticated:
    return Unauthenticated(f"This {kind} is not valid.", code="INVALID_TOKEN")
