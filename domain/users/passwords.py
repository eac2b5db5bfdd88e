"""Passwords: the rule for new ones, and Argon2id hashing in a thread, for it takes tens of milliseconds."""

import asyncio
from functools import cache

from pwdlib import PasswordHash
from pwdlib.hashers.argon2 import Argon2Hasher

from domain.kit.errors import Invalid

MIN_LENGTH = 12
MAX_LENGTH = 200

# OWASP's first recommendation for Argon2id: 19 MiB, two passes, one lane.
_hasher = PasswordHash([Argon2Hasher(time_cost=2, memory_cost=19_456, parallelism=1)])


@cache
def _nobody() -> str:
    """A hash to compare with when there is no such user, so that an answer's time does not tell who exists."""
    return _hasher.hash("nobody has this password")


async def hash_password(password: str, *, argument: str = "password") -> str:
    """The hash to store. Raises Invalid for a password shorter than 12 or longer than 200 characters."""
    if not MIN_LENGTH <= len(password) <= MAX_LENGTH:
        raise Invalid(f"A password has {MIN_LENGTH} to {MAX_LENGTH} characters.", argument=argument)
    return await asyncio.to_thread(_hasher.hash, password)


async def matches(password: str, stored: str | None) -> bool:
    """Whether the password is the one. `stored` None (no such user) takes as long and is never true."""
    if len(password) > MAX_LENGTH:
        return False
    right = await asyncio.to_thread(lambda: _hasher.verify(password, stored or _nobody()))
    return right and stored is not None
