"""People who sign in: users with a known password, their sessions, and the addresses they come from."""

import random
import uuid
from dataclasses import dataclass
from typing import Any

from tests.support.api import Api

LOGIN = (
    "mutation ($email: String!, $password: String!) { login(email: $email, password: $password) "
    "{ accessToken refreshToken expiresAt user { id email role client { id } } } }"
)
CREATE_USER = (
    "mutation ($email: String!, $password: String!, $role: Role!, $client: ID) "
    "{ createUser(email: $email, password: $password, role: $role, clientId: $client) "
    "{ id email role createdAt lastLoginAt client { id } } }"
)
DELETE_USER = "mutation ($id: ID!) { deleteUser(id: $id) { id } }"
VIEWER = "{ viewer { kind role permissions user { id email } client { id name } device { id key } } }"


def from_address(address: str | None = None) -> dict[str, str]:
    """Headers of a request that a proxy passed on for an address: by default one nobody else uses."""
    return {"X-Forwarded-For": address or ".".join(["10", *(str(random.randint(1, 250)) for _ in range(3))])}


def new_email() -> str:
    return f"{uuid.uuid4().hex[:16]}@example.com"


@dataclass(frozen=True)
class SignedIn:
    """One session of a person."""

    api: Api
    refresh_token: str
    answer: dict[str, Any]


@dataclass(frozen=True)
class Person:
    """A user and its password."""

    id: str
    email: str
    password: str

    @classmethod
    async def made(cls, admin: Api, role: str, client_id: str | None = None) -> "Person":
        email, password = new_email(), f"a {role.lower()}'s own password"
        data = await admin.run(CREATE_USER, email=email, password=password, role=role, client=client_id)
        return cls(data["createUser"]["id"], email, password)

    async def signed_in(self, api: Api) -> SignedIn:
        """A new session, begun through this client whoever it was signed in as."""
        nobody = api.with_token(None)
        answer = (await nobody.run(LOGIN, email=self.email, password=self.password))["login"]
        return SignedIn(nobody.with_token(answer["accessToken"]), answer["refreshToken"], answer)
