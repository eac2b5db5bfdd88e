"""Backups and those that take blobs away keep out of each other's way, by one advisory lock."""

from sqlalchemy import BigInteger, bindparam, func, select

from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.transactions import Transaction

BACKUP_LOCK = 5_704_911_303
"""A backup that holds blobs, too, has it alone. Who takes blobs away shares it with the others that do."""
_SHARE = Statement(select(func.pg_try_advisory_xact_lock_shared(bindparam("lock", type_=BigInteger))))


async def may_take_blobs(tx: Transaction, scope: Scope) -> bool:
    """Whether no backup is at the blobs, nor begins before this transaction ends."""
    free: bool = await tx.value(_SHARE, lock=BACKUP_LOCK)
    return free
