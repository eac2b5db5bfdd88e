"""People, sessions, and whoever is calling."""

from datetime import datetime

import strawberry

from domain.users.models import Role, UserRow
from domain.users.principals import PrincipalKind
from schema.clients import Client
from schema.describe import computed, enum, object_type
from schema.devices import Device
from schema.nodes import Node
from schema.relation import relation

enum(Role)
enum(PrincipalKind)


@object_type
class User(Node):
    """A person who may sign in."""

    email: str
    role: Role
    created_at: datetime
    last_login_at: datetime | None

    @relation
    async def client(self) -> Client | None:
        """The client that the user belongs to; null for an admin of the platform."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, UserRow)


@object_type
class Viewer:
    """Whoever sent this request, as its credential says."""

    kind: PrincipalKind
    role: Role | None
    """A user's role; null for tokens."""
    expires_at: datetime | None
    """When the credential ends by itself; null for tokens, which last until they are replaced."""
    granted: strawberry.Private[list[str]]

    @computed("granted")
    def permissions(self) -> list[str]:
        """What this credential may do, such as `devices:read`."""
        return self.granted

    @relation
    async def user(self) -> User | None:
        """The user, if it is one."""

    @relation
    async def client(self) -> Client | None:
        """The client that everything this caller sees belongs to; null for an admin, who sees all."""

    @relation
    async def device(self) -> Device | None:
        """The device, if it is one."""


@object_type
class Session:
    """A signed-in person's tokens."""

    access_token: str
    """Send it as `Authorization: Bearer …`, or as `authorization` in `connection_init` of a WebSocket."""
    refresh_token: str
    """Good for one `refreshSession`. Using it twice ends the session."""
    expires_at: datetime
    """When the access token ends."""

    @relation
    async def user(self) -> User:
        """Who signed in."""


@object_type
class Deleted:
    """Something that is gone."""

    id: strawberry.ID
