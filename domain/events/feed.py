"""The live end of the events log in one process: what subscriptions and caches hang on.

The relay says on Redis that the log grew; the feed then reads what is new, once for all its subscribers,
and hands each event to those that want it. Redis carries no event, so a message it loses costs at most
the seconds until the feed looks by itself. Every subscriber has a bounded queue; one that does not keep
up is cut off and may resume after the last event that it was given.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from domain.events.models import EventRow
from domain.events.queries import events_onward, log_head, oldest_position, position_of, within
from domain.kit.errors import Invalid, Refusal, Unavailable
from domain.kit.scope import SYSTEM, Scope
from domain.kit.sql import Database

_log = structlog.get_logger(__name__)

_QUEUE = 1_000  # events that a subscriber may be behind
_BATCH = 500
_LOOK_AGAIN = 5.0  # seconds of silence after which the feed looks by itself
_LOOK_WITHOUT_REDIS = 0.5

Wanted = Callable[[EventRow], bool]


class SlowSubscriber(Unavailable):
    """Too far behind; resuming after the last event that was given loses nothing."""

    code = "SLOW_SUBSCRIBER"


def channel(namespace: str) -> str:
    """The Redis channel on which the relay says that the log grew."""
    return f"{namespace}:log"


class _Subscriber:
    """A queue with an end: what does not fit ends the subscription instead of growing memory."""

    def __init__(self, wanted: Wanted, on_overflow: Callable[[], None]) -> None:
        self.wanted = wanted
        self._on_overflow = on_overflow
        self._events: deque[EventRow] = deque()
        self._arrived = asyncio.Event()
        self._overflowed = False
        self._error: Exception | None = None

    def offer(self, event: EventRow) -> None:
        if self._overflowed or self._error or not self._wants(event):
            return
        if len(self._events) >= _QUEUE:
            self._overflowed = True
            self._events.clear()
            self._on_overflow()
        else:
            self._events.append(event)
        self._arrived.set()

    def _wants(self, event: EventRow) -> bool:
        try:
            return self.wanted(event)
        except Exception as error:  # noqa: BLE001 - its own subscriber is told; the others go on
            self._error = error
            self._arrived.set()
            return False

    async def take(self) -> EventRow:
        while not self._events:
            if self._error:
                raise self._error
            if self._overflowed:
                raise SlowSubscriber("You fell too far behind. Subscribe again with `after`: nothing is lost.")
            self._arrived.clear()
            await self._arrived.wait()
        return self._events.popleft()


class Feed:
    """Follows the log for one process."""

    def __init__(self, database: Database, redis: "Redis", namespace: str) -> None:
        self._database = database
        self._redis = redis
        self._channel = channel(namespace)
        self._subscribers: set[_Subscriber] = set()
        self._listeners: list[Callable[[EventRow], None]] = []
        self._task: asyncio.Task[None] | None = None
        self.position = 0

    @property
    def subscribers(self) -> int:
        return len(self._subscribers)

    def listen(self, listener: Callable[[EventRow], None]) -> None:
        """Call this with every event of every client, for as long as the process lives."""
        self._listeners.append(listener)

    async def start(self) -> None:
        self.position = await log_head(self._database, SYSTEM)
        self._task = asyncio.create_task(self._run(), name="events feed")

    async def stop(self) -> None:
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def follow(
        self,
        scope: Scope,
        wanted: Wanted,
        after: str | None,
        *,
        on_overflow: Callable[[], None] = lambda: None,
    ) -> AsyncIterator[EventRow]:
        """The events of the scope that are wanted, in order, each once: from now, or from after a cursor.

        Raises Invalid for a cursor that is none or whose events are no longer kept, SlowSubscriber when the
        consumer falls more than 1,000 events behind.
        """
        position = self.position if after is None else await self._resumable(after)
        while position < (reached := self.position):
            rows = await events_onward(self._database, scope, position, _BATCH)
            for event in rows:
                if wanted(event):
                    yield event
            position = rows[-1].position if len(rows) == _BATCH else max([reached, *(row.position for row in rows)])
        # No await between the last look at `self.position` and here, so nothing falls between.
        subscriber = _Subscriber(lambda event: within(scope, event) and wanted(event), on_overflow)
        self._subscribers.add(subscriber)
        try:
            while True:
                event = await subscriber.take()
                if event.position > position:
                    yield event
        finally:
            self._subscribers.discard(subscriber)

    async def _resumable(self, cursor: str) -> int:
        position = position_of(cursor)
        head = await log_head(self._database, SYSTEM)
        if position > head:
            raise Invalid("This cursor is ahead of the events log.", argument="after")
        oldest = await oldest_position(self._database, SYSTEM)
        if position < (head if oldest is None else oldest - 1):
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
                    self._hand_out(event)
        except Refusal as error:
            _log.warning("live events wait: the log cannot be read", error=str(error))
        except Exception:  # noqa: BLE001 - without the feed nothing is live, and nothing revoked at once
            _log.exception("live events could not be handed out")

    def _hand_out(self, event: EventRow) -> None:
        for listener in self._listeners:
            listener(event)
        for subscriber in tuple(self._subscribers):
            subscriber.offer(event)
