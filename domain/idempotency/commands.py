"""Claiming a key, marking it in the transaction that it protects, and keeping the answer.

The mark is written by the same transaction as the change, so a process that dies at any point leaves
either nothing (the key may be used again) or the change with its mark (it is never made twice). Answers
may hold a secret that is shown once, so they are kept encrypted, under a key of the server.
"""

import os
from datetime import timedelta

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import Interval, LargeBinary, and_, bindparam, delete, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.idempotency.models import HeldKey, idempotency_keys
from domain.kit.errors import Conflict, Invalid
from domain.kit.sql import Runner, Statement
from domain.kit.transactions import Transaction

KEPT = timedelta(hours=24)
_CLAIM = timedelta(seconds=60)
_t = idempotency_keys.c
_mine = and_(_t.principal_id == bindparam("principal"), _t.key == bindparam("idempotency_key"))
_NONCE = 12

_INSERT = insert(idempotency_keys).values(
    principal_id=bindparam("principal", type_=_t.principal_id.type),
    key=bindparam("idempotency_key"),
    fingerprint=bindparam("fingerprint"),
    claimed_until=func.now() + bindparam("claim", type_=Interval),
)
# A key whose claim ran out without a mark was never applied: whoever comes next may have it.
_ACQUIRE = Statement(
    _INSERT.on_conflict_do_update(
        index_elements=["principal_id", "key"],
        set_={"claimed_until": _INSERT.excluded.claimed_until},
        where=and_(
            ~_t.applied,
            _t.response.is_(None),
            _t.claimed_until < func.now(),
            _t.fingerprint == _INSERT.excluded.fingerprint,
        ),
    ).returning(literal_column("1"))
)
_HELD = Statement(
    select(
        _t.fingerprint,
        _t.applied,
        _t.response,
        _t.claimed_until,
        (_t.claimed_until > func.now()).label("in_progress"),
    ).where(_mine),
    HeldKey,
)
_MARK = Statement(update(idempotency_keys).where(_mine).values(applied=True))
_KEEP = Statement(update(idempotency_keys).where(_mine).values(response=bindparam("answer", type_=LargeBinary)))
_RELEASE = Statement(delete(idempotency_keys).where(_mine, ~_t.applied))
_EXPIRE = Statement(delete(idempotency_keys).where(_t.created_at < func.now() - bindparam("kept", type_=Interval)))


class Keeper:
    """Answers are sealed with AES-GCM under a 256-bit key."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    async def claim(self, db: Runner, principal: str, key: str, fingerprint: str) -> bytes | None:
        """None when the caller may go ahead, or the answer that was given before.

        Raises Invalid for an unusable key, Conflict when it was used for another request, is in progress,
        or was applied by a process that died before it could answer.
        """
        if not 1 <= len(key) <= 255 or not key.isprintable():
            raise Invalid("An Idempotency-Key has 1 to 255 printable characters.", code="BAD_IDEMPOTENCY_KEY")
        mine = {"principal": principal, "idempotency_key": key}
        if await db.one(_ACQUIRE, **mine, fingerprint=fingerprint, claim=_CLAIM):
            return None
        held = await db.one(_HELD, **mine)
        if held is None:
            raise Conflict("The first request with this key was just undone: try again.", code="IN_PROGRESS")
        if held.fingerprint != fingerprint:
            raise Conflict("This Idempotency-Key was used for another request.", code="IDEMPOTENCY_KEY_REUSED")
        if held.response is not None:
            return self._open(principal, key, held.response)
        if held.in_progress:
            raise Conflict("The first request with this key is still in progress.", code="IN_PROGRESS")
        raise Conflict("This was done before, but the answer was lost.", code="ALREADY_APPLIED")

    async def mark(self, tx: Transaction, principal: str, key: str) -> None:
        """Say, in the transaction of the change, that the key was used."""
        await tx.all(_MARK, principal=principal, idempotency_key=key)

    async def keep(self, db: Runner, principal: str, key: str, answer: bytes) -> None:
        """Keep the answer for whoever asks again."""
        nonce = os.urandom(_NONCE)
        sealed = nonce + self._cipher.encrypt(nonce, answer, f"{principal}\n{key}".encode())
        await db.all(_KEEP, principal=principal, idempotency_key=key, answer=sealed)

    async def release(self, db: Runner, principal: str, key: str) -> None:
        """Nothing was changed: the key may be used again."""
        await db.all(_RELEASE, principal=principal, idempotency_key=key)

    def _open(self, principal: str, key: str, sealed: bytes) -> bytes:
        try:
            return self._cipher.decrypt(sealed[:_NONCE], sealed[_NONCE:], f"{principal}\n{key}".encode())
        except InvalidTag:
            raise Conflict(
                "This was done before, but the server's secret changed.", code="ALREADY_APPLIED"
            ) from None


async def expire_keys(db: Runner) -> None:
    """Forget keys after 24 hours."""
    await db.all(_EXPIRE, kept=KEPT)
