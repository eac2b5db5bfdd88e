"""The length of lists, for every connection at once."""

from collections.abc import Sequence
from typing import Any

from domain.kit.paging import Page
from resolvers.context import Context
from schema.pages import Connection
from schema.relation import answers


@answers(Connection, "total_count", reads=["count"])
async def total_counts(ctx: Context, pages: Sequence[Page[Any]]) -> list[int]:
    """Each list's length. Pages of one list under several parents are counted by one statement."""
    parents: dict[Any, dict[str | None, None]] = {}
    asks = {}
    for page in pages:
        parents.setdefault(page.count.key, {})[page.count.parent] = None
        asks[page.count.key] = page.count.ask
    counted = {key: await ask(list(parents[key])) for key, ask in asks.items()}
    return [counted[page.count.key].get(page.count.parent, 0) for page in pages]
