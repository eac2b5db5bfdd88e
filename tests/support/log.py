"""The events log in tests: waiting for what must reach it, and writing to it as fast as the application can."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from tests.support.api import Api

EVENTS = """query ($filter: EventFilter, $first: Int! = 100, $after: String) {
  events(filter: $filter, first: $first, after: $after) {
    nodes { id cursor type occurredAt clientId subjectKind subjectId actorKind actorId data correlationId }
    pageInfo { hasNextPage endCursor }
  }
}"""


async def eventually(
    condition: Callable[[], Awaitable[Any]], *, within: float = 20, what: str = "the condition"
) -> Any:
    """The first true value of an asynchronous condition. Raises AssertionError when there is none in time."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        if value := await condition():
            return value
        await asyncio.sleep(0.02)  # between two looks at the condition that is waited for
    raise AssertionError(f"{what} did not come true within {within} s")


async def whole_log(api: Api, **filter: Any) -> list[dict[str, Any]]:
    """Every event that the caller may see, the oldest first."""
    found: list[dict[str, Any]] = []
    after = None
    while True:
        page = (await api.run(EVENTS, filter=filter, after=after))["events"]
        found += page["nodes"]
        if not page["pageInfo"]["hasNextPage"]:
            return found[::-1]
        after = page["pageInfo"]["endCursor"]


async def logged(api: Api, count: int = 1, *, within: float = 20, **filter: Any) -> list[dict[str, Any]]:
    """The events of a filter, the oldest first, once the log has so many of them."""

    async def enough() -> list[dict[str, Any]]:
        found = await whole_log(api, **filter)
        return found if len(found) >= count else []

    what = f"{count} events of {filter}"
    events: list[dict[str, Any]] = await eventually(enough, within=within, what=what)
    return events


async def write_events(
    database: Database, client_id: str, device_id: str, count: int, *, at_once: int = 500, **data: Any
) -> None:
    """Let the device check in so often, in transactions of `at_once`; event number n has `data.n` n."""
    for begin in range(0, count, at_once):
        async with transaction(database) as tx:
            for number in range(begin, min(begin + at_once, count)):
                subject = ("Device", device_id)
                tx.emit(SYSTEM, "device.checked_in", client_id=client_id, subject=subject, n=number, **data)
