"""Tokens and signatures: how they are made, told apart and compared.

Tokens are random, carry a prefix that says what they open, and are stored as SHA-256 only. Passwords are
another matter (`domain/users/passwords.py`).
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass

CLIENT_TOKEN = "qmc_"
DEVICE_TOKEN = "qmd_"
REFRESH_TOKEN = "qmr_"

_SHOWN = 10  # characters of a token that may be shown later: the prefix and a little to tell two apart


@dataclass(frozen=True, slots=True)
class NewToken:
    """`secret` is shown once to its owner; `hash` (hex SHA-256) and `prefix` are what is kept."""

    secret: str
    hash: str
    prefix: str


def new_token(prefix: str) -> NewToken:
    """A token with 256 random bits."""
    secret = prefix + secrets.token_urlsafe(32)
    return NewToken(secret, hash_token(secret), secret[:_SHOWN])


def hash_token(secret: str) -> str:
    """Hex SHA-256. Enough for random secrets: there is nothing to guess that a slow hash would protect."""
    return hashlib.sha256(secret.encode()).hexdigest()


def sign(key: bytes, *parts: str) -> str:
    """A URL-safe HMAC-SHA-256 over the parts, 128 bits of it."""
    message = "\n".join(parts).encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:32]


def is_signed(key: bytes, signature: str, *parts: str) -> bool:
    return hmac.compare_digest(sign(key, *parts).encode(), signature.encode())
