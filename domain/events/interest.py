"""What a subscription wants of the log."""

from collections.abc import Callable
from dataclasses import dataclass

from domain.events.models import EventRow

Wanted = Callable[[EventRow], bool]


@dataclass(frozen=True, slots=True)
class Interest:
    """`wanted` decides; events about none of the `subjects` are not worth asking it (None: about anything)."""

    wanted: Wanted
    subjects: frozenset[str] | None = None
