"""Whose data a call may touch, and in whose name it acts.

Every query and command of the domain takes a `Scope` and puts it into its SQL; none can be called
without one. Platform admins and the system itself have a scope without a client, which means all.
"""

from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import ColumnElement, bindparam, or_

from domain.kit.errors import Invalid, NotFound
from domain.kit.tables import Id


class ActorKind(StrEnum):
    """Who did something, as the events log remembers it."""

    USER = "USER"
    CLIENT = "CLIENT"
    DEVICE = "DEVICE"
    SYSTEM = "SYSTEM"


@dataclass(frozen=True, slots=True)
class Scope:
    """`client_id` None means every client. `actor_id` None is the system."""

    actor_kind: ActorKind
    actor_id: str | None
    client_id: str | None

    def owner(self, client_id: str | None) -> str:
        """The client that a new thing will belong to: the one asked for, else the caller's own.

        Raises Invalid when a platform-wide caller named none, NotFound when it is another's.
        """
        if client_id is None and self.client_id is None:
            raise Invalid("Name the client that this belongs to.", argument="clientId")
        if client_id is not None and self.client_id not in (None, client_id):
            raise NotFound("There is no such client.", clientId=client_id)
        return client_id or self.client_id  # type: ignore[return-value]


SYSTEM_ID = "00000000-0000-0000-0000-000000000000"
"""The subject's id in events that are about the platform itself; their subject's kind is `System`."""

SYSTEM = Scope(ActorKind.SYSTEM, None, None)

_SCOPE = bindparam("scope", type_=Id)


def visible(owner: ColumnElement[str]) -> ColumnElement[bool]:
    """The scope as a condition on the owning column; the statement then takes a parameter `scope`.

    For statements that find rows by a unique key. Lists have a form for each case instead (`paging.py`),
    because a condition that may be void would keep the planner from the client's index.
    """
    return or_(_SCOPE.is_(None), owner == _SCOPE)
