"""Clients: the organisations that own everything else."""

from datetime import datetime

import strawberry

from domain.clients.models import ClientRow
from schema.describe import computed, object_type
from schema.nodes import Node


@object_type
class ClientToken:
    """A client's token, as far as it may be shown again."""

    prefix: str
    """How the token begins, to tell it from others."""
    created_at: datetime
    last_used_at: datetime | None
    """When it was last used, to the minute."""


@object_type
class Client(Node):
    """An organisation. Devices, images and users belong to one; nobody sees another's."""

    name: str
    created_at: datetime
    token_prefix: strawberry.Private[str | None]
    token_created_at: strawberry.Private[datetime | None]
    token_last_used_at: strawberry.Private[datetime | None]

    @computed("token_prefix", "token_created_at", "token_last_used_at")
    def token(self) -> ClientToken | None:
        """The client's token, if it has one. The secret itself is shown only when it is made."""
        if self.token_prefix is None or self.token_created_at is None:
            return None
        return ClientToken(
            prefix=self.token_prefix, created_at=self.token_created_at, last_used_at=self.token_last_used_at
        )

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, ClientRow)


@object_type
class NewClientToken:
    """A token that was just made."""

    token: str
    """The secret. It is shown this once: keep it, or make a new one."""
    client: Client
