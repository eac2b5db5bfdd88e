"""Subscriptions of one process: who asked the same is one group, and each event goes to the groups it concerns.

The feed reads the log once and hands every event to `Fanout`, which finds the groups by the event's client
and subject. What a group does with it is in `group.py`; how bytes reach a subscriber is the outlet's matter
(`websocket.py`, `sse.py`). A subscription that is live costs an entry here and there, and no task.
"""

import asyncio
from collections.abc import Hashable, Iterator

from domain.events.feed import Feed
from domain.events.models import EventRow
from domain.kit.sql import Database
from server import metrics
from server.graphql.executor import Watch
from server.graphql.group import Group, Member, Outlet

_AT_ONCE = 4  # groups that work: requests need time and connections to the database, too

# The client whose events a group may see, or None for all; the subject it is about, or None for any.
_Route = tuple[str | None, str | None]


class Fanout:
    """Started by making it, ended by `stop`."""

    def __init__(self, feed: Feed, database: Database) -> None:
        self._feed = feed
        self._database = database
        self._groups: dict[Hashable, Group] = {}
        self._routes: dict[_Route, dict[Group, None]] = {}
        self._turns = asyncio.Semaphore(_AT_ONCE)
        feed.listen(self._on_event)

    async def join(self, watch: Watch, outlet: Outlet) -> Member:
        """Begin a subscription, from now or after its cursor. Raises Invalid for a cursor that does not do."""
        if watch.after is None:
            position = self._feed.position
        else:
            position = await self._feed.resumable(watch.scope, watch.after)
        # No await from here on, in which the last member could leave the group that is found.
        group = self._groups.get(watch.key) or self._opened(watch)
        return group.add(outlet, position)

    @property
    def subscribers(self) -> int:
        return sum(group.size for group in self._groups.values())

    @property
    def groups(self) -> int:
        return len(self._groups)

    def stop(self) -> None:
        for group in self._groups.values():
            group.stop()

    def _opened(self, watch: Watch) -> Group:
        group = Group(watch, self._feed, self._database, self._turns, self._on_empty)
        self._groups[watch.key] = group
        metrics.subscription_groups.inc()
        for route in _routes_of(watch):
            self._routes.setdefault(route, {})[group] = None
        return group

    def _on_empty(self, group: Group) -> None:
        if self._groups.get(group.watch.key) is group:
            del self._groups[group.watch.key]
            metrics.subscription_groups.dec()
            for route in _routes_of(group.watch):
                del self._routes[route][group]
                if not self._routes[route]:
                    del self._routes[route]

    def _on_event(self, event: EventRow) -> None:
        for client in {event.client_id, None}:
            for subject in (event.subject_id, None):
                for group in tuple(self._routes.get((client, subject), ())):
                    group.offer(event)


def _routes_of(watch: Watch) -> Iterator[_Route]:
    client = watch.scope.client_id
    if watch.subjects is None:
        yield client, None
    else:
        for subject in watch.subjects:
            yield client, subject
