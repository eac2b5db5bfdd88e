"""What the demonstration knows of the server: its public doors, and how to stay signed in at them.

GraphQL over HTTP for what an operator does, server-sent events for what becomes of the photos.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import httpx

_SESSION = "{ accessToken refreshToken expiresAt }"
_LOGIN = f"""mutation Login($email: String!, $password: String!) {{
  login(email: $email, password: $password) {_SESSION}
}}"""
_REFRESH = f"mutation Refresh($token: String!) {{ refreshSession(refreshToken: $token) {_SESSION} }}"
_NEWEST = "query NewestEvent { events(first: 1) { nodes { cursor } } }"
_UPDATES = """subscription DemoPhotos($after: String) {
  imageUpdates(after: $after) { cursor image { id status device { key } } }
}"""
_SILENCE = 60.0  # seconds after which a stream is given up and resumed
_RETRY = 0.5


class DemoError(Exception):
    """Why the demonstration cannot go on, in one sentence."""


class GraphQLError(Exception):
    """What the server said instead of an answer; `code` is for programs."""

    def __init__(self, error: dict[str, Any]) -> None:
        super().__init__(str(error.get("message", "The server refused.")))
        self.code = str(error.get("extensions", {}).get("code", ""))


@dataclass(frozen=True)
class Session:
    """The tokens of somebody who signed in."""

    access_token: str
    refresh_token: str
    expires_at: datetime

    @classmethod
    def of(cls, answer: dict[str, Any]) -> "Session":
        return cls(answer["accessToken"], answer["refreshToken"], datetime.fromisoformat(answer["expiresAt"]))


class Server:
    """The server, as somebody who signs in at it. Use `signed_in`."""

    def __init__(self, http: httpx.AsyncClient) -> None:
        self.http = http
        self.session: Session | None = None

    @classmethod
    @asynccontextmanager
    async def signed_in(cls, url: str, email: str, password: str) -> AsyncIterator["Server"]:
        """Signed in for as long as the block lasts. Raises DemoError when that cannot be."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=50)
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=limits) as http:
            server = cls(http)
            try:
                answer = await server.run(_LOGIN, email=email, password=password)
                server.session = Session.of(answer["login"])
            except (httpx.TransportError, httpx.InvalidURL) as error:
                raise DemoError(f"No server answers at {url} ({str(error) or type(error).__name__}).") from None
            except GraphQLError as error:
                raise DemoError(f"Signing in as {email} failed: {error}") from None
            staying = asyncio.create_task(server._stay_signed_in())
            try:
                yield server
            finally:
                staying.cancel()

    async def run(self, query: str, **variables: Any) -> Any:
        """The data of an operation. Raises GraphQLError, DemoError when this is no such server."""
        body = {"query": query, "variables": variables}
        response = await self.http.post("/graphql", json=body, headers=self._headers())
        try:
            answer = response.json()
            if answer.get("errors"):
                raise GraphQLError(answer["errors"][0])
            return answer["data"]
        except (ValueError, AttributeError, KeyError):
            raise DemoError(f"What answers at {self.http.base_url} is no Quartermaster.") from None

    async def refresh(self) -> None:
        """Exchange the tokens for new ones."""
        assert self.session is not None
        answer = await self.run(_REFRESH, token=self.session.refresh_token)
        self.session = Session.of(answer["refreshSession"])

    async def photo_updates(self) -> AsyncIterator[dict[str, Any]]:
        """What becomes of photos from now on, each change once, however often the connection breaks."""
        newest = (await self.run(_NEWEST))["events"]["nodes"]
        after = newest[0]["cursor"] if newest else None
        return self._followed(after)

    async def _followed(self, after: str | None) -> AsyncIterator[dict[str, Any]]:
        while True:
            try:
                async for update in self._stream(after):
                    after = update["cursor"]
                    yield update
            except (httpx.TransportError, GraphQLError, ValueError):
                pass  # the server restarts, or the token ended: `after` says where to go on
            await asyncio.sleep(_RETRY)

    async def _stream(self, after: str | None) -> AsyncIterator[dict[str, Any]]:
        body = {"query": _UPDATES, "variables": {"after": after}}
        headers = {**self._headers(), "Accept": "text/event-stream"}
        timeout = httpx.Timeout(30, read=_SILENCE)
        async with self.http.stream("POST", "/graphql", json=body, headers=headers, timeout=timeout) as response:
            async for line in response.aiter_lines():
                text = line.removeprefix("data:").strip() if line.startswith("data:") else ""
                if text:
                    payload = json.loads(text)
                    if payload.get("errors"):
                        raise GraphQLError(payload["errors"][0])
                    yield payload["data"]["imageUpdates"]

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.session.access_token}"} if self.session else {}

    async def _stay_signed_in(self) -> None:
        while self.session:
            await asyncio.sleep(refresh_in(self.session.expires_at, datetime.now(UTC)))
            try:
                await self.refresh()
            except (httpx.TransportError, GraphQLError, DemoError):
                await asyncio.sleep(_RETRY)


def refresh_in(expires_at: datetime, now: datetime) -> float:
    """Seconds to wait before new tokens are asked for: a third of what is left is kept as a reserve."""
    return max(0.0, (expires_at - now).total_seconds() * 2 / 3)
