"""Who draws: the protocol that every provider keeps, and the ways in which one may fail.

Providers run in workers only. Each has a module; `wire.py` is what those that are reached by HTTP have in common.
"""

from dataclasses import dataclass
from typing import Protocol

from domain.generation.models import FailureCode, ImageShape

DEFAULT_MODELS = {"local": "hills-1", "gemini": "gemini-2.5-flash-image", "openai": "gpt-image-1"}
"""The model of each provider, where the operator names none."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be drawn. The prompt was checked already."""

    prompt: str
    shape: ImageShape


@dataclass(frozen=True, slots=True)
class Made:
    """The bytes of a whole JPEG, PNG or WebP file."""

    data: bytes
    content_type: str


class Failed(Exception):
    """There is no picture. `message` may be read by whoever asked for it: it holds no key and no address.

    `retry` says that asking again may help and costs nothing twice; `retry_after` is in how many seconds, where the
    provider said so.
    """

    def __init__(
        self, code: FailureCode, message: str, *, retry: bool = False, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.retry = retry
        self.retry_after = retry_after


class Provider(Protocol):
    """`name` is one of `local`, `gemini` and `openai`; `cost_usd` is of one picture, None where nobody said it."""

    @property
    def name(self) -> str: ...

    @property
    def model(self) -> str: ...

    @property
    def cost_usd(self) -> float | None: ...

    async def generate(self, wanted: Wanted) -> Made:
        """Draw one picture. Raises Failed, and nothing else that is not a defect."""
