"""Live connections of one API process: what stays open after a request was authorised.

A WebSocket or an event stream outlives the moment at which its credential was checked. Here each ends
when the credential expires, and is checked again when something happened that may have revoked it.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from domain.events.models import EventRow
from domain.kit.errors import Refusal, Unauthenticated
from domain.users.authentication import Authenticator, revokes
from domain.users.principals import Principal
from server import metrics

_log = structlog.get_logger(__name__)

FORBIDDEN = 4403  # graphql-transport-ws' close code; clients reconnect, with a fresh token if they have one
_CHECK_AGAIN = 1.0  # seconds


@dataclass(eq=False, slots=True)
class Connection:
    """`close(code, reason)` ends it, whatever it is; `authorization` is the header it came with."""

    transport: str
    principal: Principal
    authorization: str | None
    close: Callable[[int, str], None]
    expiry: asyncio.TimerHandle | None = None


class Connections:
    """Those of one process."""

    def __init__(self, authenticator: Authenticator) -> None:
        self._authenticator = authenticator
        self._open: set[Connection] = set()
        self._checks: set[asyncio.Task[None]] = set()

    def hold(self, connection: Connection) -> None:
        """Watch over a connection until it is released."""
        self._open.add(connection)
        metrics.connections.labels(connection.transport).inc()
        expires_at = connection.principal.expires_at
        if expires_at is not None:
            seconds = (expires_at - datetime.now(UTC)).total_seconds()
            loop = asyncio.get_running_loop()
            connection.expiry = loop.call_later(seconds, connection.close, FORBIDDEN, "TOKEN_EXPIRED")

    def release(self, connection: Connection) -> None:
        """It has ended."""
        if connection.expiry is not None:
            connection.expiry.cancel()
        metrics.connections.labels(connection.transport).dec()
        self._open.discard(connection)

    def on_event(self, event: EventRow) -> None:
        """A listener of the feed: forget what was known of credentials, check those that are in use."""
        if not revokes(event.type):
            return
        self._authenticator.forget()
        for connection in self._open:
            if connection.authorization is not None:
                check = asyncio.create_task(self._check(connection))
                self._checks.add(check)
                check.add_done_callback(self._checks.discard)

    async def _check(self, connection: Connection) -> None:
        while connection in self._open:
            try:
                principal = await self._authenticator.principal(connection.authorization)
                same = principal.permissions == connection.principal.permissions
                if same and principal.client_id == connection.principal.client_id:
                    return
                refusal = Unauthenticated("What you may do has changed.", code="PERMISSIONS_CHANGED")
            except Unauthenticated as error:
                refusal = error
            except Refusal as error:
                # The database is away. The event that led here comes once, so the question stays open.
                _log.warning("a live connection is checked again later", error=str(error))
                await asyncio.sleep(_CHECK_AGAIN)
                continue
            connection.close(FORBIDDEN, refusal.code)
            return
