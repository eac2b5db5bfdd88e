"""One group of subscribers who asked the same: each event is executed once, and all share its bytes.

Events that the group wants wait in its inbox. A task, which is there only while there is something to do,
takes what waits, has it executed together and writes it to the members that are *live*. A member is *behind*
while it resumes after a cursor, when its outlet was full, or when the inbox overflowed. It then reads on
from the log, a page at a time and together with whoever is as far, until only the inbox is before it.

So a burst costs nobody the subscription and memory is bounded: by the inbox for the group, by its outlet for
each member. Only who reads nothing for ten seconds is dropped, and may resume after the last cursor it has.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any, Protocol, TypeVar

import orjson
from graphql import GraphQLError

from domain.events.feed import Feed
from domain.events.models import EventRow
from domain.events.queries import events_onward
from domain.kit.errors import Refusal
from domain.kit.sql import Database
from server import metrics
from server.errors import graphql_error
from server.graphql.executor import Watch

SLOW_SUBSCRIBER = "SLOW_SUBSCRIBER"
"""The reason that is given to who is dropped."""

_INBOX = 1_000  # events
_TOGETHER = 100  # events that are executed in one go
_PAGE = 500  # events that are read from the log in one go
_WRITE = 64 * 1024  # bytes, or one event, that are written to an outlet in one go
_TURN = 100  # outlets that are written to before others have their turn
_STALLED = 10.0  # seconds without reading anything, after which a member is dropped
_AGAIN = 0.5  # seconds between attempts while the database is away
_GIVE_UP = 30.0

T = TypeVar("T")


def failure(error: Exception) -> bytes:
    """The payload of a result that is only an error."""
    presented = graphql_error(GraphQLError(str(error), original_error=error))
    return orjson.dumps({"data": None, "errors": [presented.formatted]})


class Batch:
    """Consecutive events, rendered. What outlets make of the payloads, they may share by `form`."""

    __slots__ = ("_forms", "_positions", "last", "payloads")

    def __init__(self, positions: Sequence[int], payloads: Sequence[bytes]) -> None:
        self._positions = positions
        self.payloads = payloads
        self.last = positions[-1]
        self._forms: dict[Any, Any] = {}

    def after(self, position: int) -> "Batch":
        """That of it which follows a position before `last`."""
        if position < self._positions[0]:
            return self
        known = sum(each <= position for each in self._positions)
        return Batch(self._positions[known:], self.payloads[known:])

    def form(self, key: Any, make: Callable[[Sequence[bytes]], T]) -> T:
        """What `make` makes of the payloads, made once for each key."""
        if key not in self._forms:
            self._forms[key] = make(self.payloads)
        made: T = self._forms[key]
        return made


class Outlet(Protocol):
    """The way to one subscriber. Only `has_room` waits."""

    def is_full(self) -> bool:
        """Whether so much waits for the subscriber to read that nothing more is to be written."""

    async def has_room(self) -> None:
        """Wait until it is full no longer."""

    def unsent(self) -> int:
        """Bytes that wait for the subscriber to read."""

    def write(self, batch: Batch) -> None:
        """Send the payloads."""

    def end(self, payload: bytes) -> None:
        """End the subscription with a last result, which says why."""

    def drop(self) -> None:
        """End the connection of a subscriber that reads nothing."""


class Member:
    """A subscriber. It has been given everything up to `position` that it wants."""

    __slots__ = ("draining", "group", "left", "outlet", "position")

    def __init__(self, group: "Group", outlet: Outlet, position: int) -> None:
        self.group = group
        self.outlet = outlet
        self.position = position
        self.left = False
        self.draining: asyncio.Task[None] | None = None

    def leave(self) -> None:
        """End the subscription; nothing is written after this."""
        if not self.left:
            self.left = True
            if self.draining is not None:
                self.draining.cancel()
            self.group.remove(self)


class Group:
    """`turns` bounds how many groups work at once; `on_empty` is told that all members have left."""

    def __init__(
        self,
        watch: Watch,
        feed: Feed,
        database: Database,
        turns: asyncio.Semaphore,
        on_empty: Callable[["Group"], None],
    ) -> None:
        self.watch = watch
        self._feed = feed
        self._database = database
        self._turns = turns
        self._on_empty = on_empty
        self._members: set[Member] = set()
        self._live: dict[Member, None] = {}
        self._behind: dict[Member, None] = {}  # in the order in which they have their turn
        # Events that are wanted and not yet written to all live members.
        self._inbox: deque[EventRow] = deque()
        # Up to here writing has begun, or was left out: who has all of that may be live.
        self._position = feed.position
        self._task: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        return len(self._members)

    def add(self, outlet: Outlet, position: int) -> Member:
        """A member that has everything up to a position."""
        member = Member(self, outlet, position)
        self._members.add(member)
        metrics.subscriptions.inc()
        self._place(member)
        return member

    def remove(self, member: Member) -> None:
        self._members.discard(member)
        metrics.subscriptions.dec()
        self._live.pop(member, None)
        self._behind.pop(member, None)
        if not self._members:
            self._on_empty(self)

    def offer(self, event: EventRow) -> None:
        """What just happened, within the group's scope."""
        try:
            if not self.watch.wanted(event):
                return
        except Exception as error:  # noqa: BLE001 - its own members are told; the other groups go on
            self._fail(error)
            return
        self._inbox.append(event)
        if len(self._inbox) > _INBOX:
            self._fall_behind()
        if not self._live:  # whoever is behind reads it from the log
            self._inbox.clear()
            self._position = event.position
        self._wake()

    def stop(self) -> None:
        for task in (self._task, *(member.draining for member in self._members)):
            if task is not None:
                task.cancel()

    def _place(self, member: Member) -> None:
        if member.position >= self._position:
            self._live[member] = None
        else:
            self._behind[member] = None
            self._wake()

    def _fall_behind(self) -> None:
        for member in self._live:
            self._forget_unwanted(member)
        self._behind |= self._live
        self._live.clear()

    def _forget_unwanted(self, member: Member) -> None:
        # A live member's position is of the last event that was wanted. Many that were not may have followed.
        if self._inbox:
            member.position = max(member.position, self._inbox[0].position - 1)

    def _wake(self) -> None:
        if self._task is None and (self._inbox or self._behind):
            self._task = asyncio.create_task(self._work(), name="subscriptions")

    async def _work(self) -> None:
        failing_since = None
        while self._inbox or self._behind:
            try:
                async with self._turns:
                    await asyncio.sleep(0)  # what follows may not wait for anything, and others are to have a turn
                    if self._inbox:
                        await self._deliver()
                    if self._behind:
                        await self._catch_up()
                failing_since = None
            except Refusal as error:
                failing_since = failing_since or time.monotonic()
                if time.monotonic() - failing_since > _GIVE_UP:
                    self._fail(error)
                else:
                    await asyncio.sleep(_AGAIN)
            except Exception as error:  # noqa: BLE001 - it is logged where it gets its look
                self._fail(error)
        self._task = None

    def _fail(self, error: Exception) -> None:
        self._inbox.clear()
        payload = failure(error)
        for member in tuple(self._members):
            member.outlet.end(payload)
            member.leave()

    async def _deliver(self) -> None:
        """Write what waits in the inbox to the live members."""
        for batch in await self._rendered(tuple(islice(self._inbox, _TOGETHER))):
            self._position = max(self._position, batch.last)
            await self._write(batch, tuple(self._live))
            while self._inbox and self._inbox[0].position <= batch.last:
                self._inbox.popleft()

    async def _catch_up(self) -> None:
        """Write one page of the log to the member whose turn it is, and to those that are at least as far."""
        start = next(iter(self._behind)).position
        members = tuple(member for member in self._behind if member.position >= start)
        reached = self._feed.position
        rows = await events_onward(self._database, self.watch.scope, start, _PAGE)
        wanted = [row for row in rows if self.watch.wanted(row)]
        for begin in range(0, len(wanted), _TOGETHER):
            for batch in await self._rendered(wanted[begin : begin + _TOGETHER]):
                members = await self._write(batch, members)
            if not members:
                return
        if len(rows) == _PAGE:
            reached = 0  # there may be more
        reached = max([reached, *(row.position for row in rows[-1:])])
        for member in members:
            if not member.left:
                member.position = max(member.position, reached)
                del self._behind[member]  # and to the end of the queue, if it is not live now
                self._place(member)

    async def _rendered(self, events: Sequence[EventRow]) -> list[Batch]:
        payloads = await self.watch.render(events)
        batches, begin, size = [], 0, 0
        positions = [event.position for event in events]
        for end, payload in enumerate(payloads, 1):
            size += len(payload)
            if size >= _WRITE or end == len(payloads):
                batches.append(Batch(positions[begin:end], payloads[begin:end]))
                begin, size = end, 0
        return batches

    async def _write(self, batch: Batch, members: Sequence[Member]) -> tuple[Member, ...]:
        """Returns those of the members that have all of the batch now."""
        kept_up = []
        for number, member in enumerate(members):
            if number % _TURN == 0:
                await asyncio.sleep(0)
            if member.left:
                continue
            if member.position < batch.last:
                if member.outlet.is_full():
                    self._suspend(member)
                    continue
                member.outlet.write(batch.after(member.position))
                member.position = batch.last
            kept_up.append(member)
        return tuple(kept_up)

    def _suspend(self, member: Member) -> None:
        if member in self._live:
            self._forget_unwanted(member)
        self._live.pop(member, None)
        self._behind.pop(member, None)
        member.draining = asyncio.create_task(self._drain(member), name="slow subscriber")

    async def _drain(self, member: Member) -> None:
        """Wait until the member's outlet has room again, as long as it reads at all."""
        while True:
            unsent = member.outlet.unsent()
            try:
                async with asyncio.timeout(_STALLED):
                    await member.outlet.has_room()
            except TimeoutError:
                if member.outlet.unsent() >= unsent:
                    member.outlet.drop()
                    member.leave()
                    return
            else:
                member.draining = None
                self._place(member)
                return
