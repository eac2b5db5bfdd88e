"""A client of the API as a caller would write one: GraphQL over HTTP, and the things tests make with it."""

import uuid
from dataclasses import dataclass, replace
from typing import Any

import httpx

DEVICE_FIELDS = "id key name enabled status wakeIntervalSeconds lastSeenAt batteryV batteryPct rssi firmware"


class GraphQLErrors(AssertionError):
    """An operation that a test expected to succeed did not."""

    def __init__(self, errors: list[dict[str, Any]]) -> None:
        super().__init__(str(errors))
        self.errors = errors


@dataclass(frozen=True)
class Api:
    """`token` goes into the Authorization header."""

    http: httpx.AsyncClient
    token: str | None = None

    def with_token(self, token: str | None) -> "Api":
        return replace(self, token=token)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    async def post(self, query: str, *, headers: dict[str, str] | None = None, **variables: Any) -> httpx.Response:
        """The raw response to an operation."""
        body = {"query": query, "variables": variables}
        return await self.http.post("/graphql", json=body, headers={**self.headers, **(headers or {})})

    async def run(self, query: str, *, headers: dict[str, str] | None = None, **variables: Any) -> Any:
        """The data of an operation that must succeed."""
        answer = (await self.post(query, headers=headers, **variables)).json()
        if answer.get("errors"):
            raise GraphQLErrors(answer["errors"])
        return answer["data"]

    async def refused(
        self, query: str, *, headers: dict[str, str] | None = None, **variables: Any
    ) -> dict[str, Any]:
        """The first error of an operation that must fail: its message, path and extensions."""
        answer = (await self.post(query, headers=headers, **variables)).json()
        assert answer.get("errors"), f"expected a refusal, got {answer}"
        error: dict[str, Any] = answer["errors"][0]
        assert error["extensions"]["correlationId"]
        return error

    async def code(self, query: str, **variables: Any) -> str:
        """The code of the first error of an operation that must fail."""
        return str((await self.refused(query, **variables))["extensions"]["code"])

    async def login(self, email: str, password: str) -> "Api":
        """Signed in as somebody."""
        data = await self.run(
            "mutation ($email: String!, $password: String!) "
            "{ login(email: $email, password: $password) { accessToken } }",
            email=email,
            password=password,
        )
        return self.with_token(data["login"]["accessToken"])


@dataclass(frozen=True)
class TestDevice:
    """A registered device and the token that it reports with."""

    __test__ = False
    http: httpx.AsyncClient
    id: str
    key: str
    token: str

    async def upload(
        self, image: bytes, *, content_type: str = "image/jpeg", headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Post a photo as the device does."""
        given = {"Authorization": f"Bearer {self.token}", "Content-Type": content_type, **(headers or {})}
        return await self.http.post(f"/v1/devices/{self.key}/images", content=image, headers=given)

    async def heartbeat(self, *, headers: dict[str, str] | None = None, json: Any = None) -> httpx.Response:
        given = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return await self.http.post(f"/v1/devices/{self.key}/heartbeat", headers=given, json=json)


@dataclass(frozen=True)
class Organisation:
    """A client of the platform, with an operator and a viewer who are signed in."""

    id: str
    name: str
    admin: Api
    operator: Api
    viewer: Api

    @classmethod
    async def made(cls, admin: Api) -> "Organisation":
        name = f"Org {uuid.uuid4().hex[:12]}"
        data = await admin.run("mutation ($name: String!) { createClient(name: $name) { id } }", name=name)
        client_id = data["createClient"]["id"]
        operator = await cls._user(admin, client_id, "OPERATOR")
        viewer = await cls._user(admin, client_id, "VIEWER")
        return cls(client_id, name, admin, operator, viewer)

    @staticmethod
    async def _user(admin: Api, client_id: str, role: str) -> Api:
        email, password = f"{uuid.uuid4().hex[:12]}@example.com", f"password of {role.lower()}"
        await admin.run(
            "mutation ($email: String!, $password: String!, $role: Role!, $client: ID!) "
            "{ createUser(email: $email, password: $password, role: $role, clientId: $client) { id } }",
            email=email,
            password=password,
            role=role,
            client=client_id,
        )
        return await admin.with_token(None).login(email, password)

    def through(self, http: httpx.AsyncClient) -> "Organisation":
        """The same people, through another HTTP client."""
        people = {role: replace(getattr(self, role), http=http) for role in ("admin", "operator", "viewer")}
        return replace(self, **people)

    async def device(self, key: str | None = None, **fields: Any) -> TestDevice:
        """Register a device."""
        key = key or f"cam-{uuid.uuid4().hex[:10]}"
        data = await self.operator.run(
            "mutation ($device: NewDevice!) { registerDevice(device: $device) { token device { id } } }",
            device={"key": key, **fields},
        )
        made = data["registerDevice"]
        return TestDevice(self.operator.http, made["device"]["id"], key, made["token"])
