"""The live end of the events log in one process: what subscriptions and caches hang on.

The relay says on Redis that the log grew; the feed then reads what is new, once for the whole process, and
hands each event to its listeners in order. Redis carries no event, so a message it loses costs at most the
seconds until the feed looks by itself.
"""

import asyncio
from collections.abc import Callable

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.events.models import EventRow
from domain.events.queries import events_onward, log_floor, log_head, oldest_position, position_of
from domain.kit.errors import Invalid, Refusal
from domain.kit.scope import SYSTEM, Scope
from domain.kit.sql import Database
from domain.kit.tasks import end

_log = structlog.get_logger(__name__)

_BATCH = 500
_LOOK_AGAIN = 5.0  # seconds of silence after which the feed looks by itself
_LOOK_WITHOUT_REDIS = 0.5


def channel(namespace: str) -> str:
    """The Redis channel on which the relay says that the log grew."""
    return f"{namespace}:log"


class Feed:
    """Follows the log for one process. Every event up to `position` was handed out."""

    def __init__(self, database: Database, redis: "Redis", namespace: str) -> None:
        self._database = database
        self._redis = redis
        self._channel = channel(namespace)
        self._listeners: list[Callable[[EventRow], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.position = 0

    def listen(self, listener: Callable[[EventRow], None]) -> None:
        """Call this with every event of every client, for as long as the process lives. It must not raise."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self.position = await log_head(self._database, SYSTEM)
        self._task = asyncio.create_task(self._run(), name="events feed")

    async def stop(self) -> None:
        if self._task:
            await end(self._task)

    async def resumable(self, scope: Scope, cursor: str) -> int:
        """The position behind a cursor. Raises Invalid for one that is none or whose events are no longer kept."""
        position = position_of(cursor)
        head = await log_head(self._database, SYSTEM)
        if position > head:
            raise Invalid("This cursor is ahead of the events log.", argument="after")
        oldest = await oldest_position(self._database, SYSTEM)
        if position < max(head if oldest is None else oldest - 1, await log_floor(self._database, scope)):
            raise Invalid("The events after this cursor are no longer kept.", code="CURSOR_EXPIRED")
        return position

    async def _run(self) -> None:
        while True:
            try:
                async with self._redis.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(self._channel)
                    while True:
                        await self._catch_up()
                        await pubsub.get_message(timeout=_LOOK_AGAIN)
            except (RedisError, OSError) as error:
                _log.warning("live events go on by polling: Redis is away", error=str(error))
                await self._catch_up()
                await asyncio.sleep(_LOOK_WITHOUT_REDIS)

    async def _catch_up(self) -> None:
        try:
            while rows := await events_onward(self._database, SYSTEM, self.position, _BATCH):
                for event in rows:
                    self.position = event.position  # first: whatever goes wrong, none is handed out twice
                    for listener in self._listeners:
                        listener(event)
        except Refusal as error:
            _log.warning("live events wait: the log cannot be read", error=str(error))
        except Exception:  # noqa: BLE001 - without the feed nothing is live, and nothing revoked at once
            _log.exception("live events could not be handed out")
