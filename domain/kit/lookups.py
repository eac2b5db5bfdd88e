"""Rows by id, found together: requests that each look for one row share a statement.

A row by its id is what frontends ask for most, and the round trip costs more than the row does. While one statement
is under way, those who come meanwhile gather for the next (`batches.py`); a lone question is asked at once. Only
those of one scope share, so that each statement has its own scope in its SQL as ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from domain.kit.batches import Batches
from domain.kit.errors import Unavailable
from domain.kit.ids import checked_id

if TYPE_CHECKING:
    from domain.kit.sql import Statement

Find = Callable[["Statement[Any]", "str | None", "list[str]"], Awaitable[dict[str, Any]]]


class Lookups:
    """Those of one database. `find` takes a statement, the scope's client and ids, and returns rows by id.

    `patience` are the seconds after which it is given up: more than it takes to get a connection and, by the
    server's own limit, a statement.
    """

    def __init__(self, find: Find, patience: float) -> None:
        self._find = find
        self._patience = patience
        self._gathering: dict[tuple[Statement[Any], str | None], Batches[str, Any]] = {}

    def one(self, statement: Statement[Any], client_id: str | None, id: str) -> asyncio.Future[Any]:
        """The row with this id, or None. Raises Invalid for what is no id, before anybody else could meet it."""
        id = checked_id(id)
        key = (statement, client_id)
        batches = self._gathering.get(key)
        if batches is None:
            # Statements and clients come and go: only those in use are known here.
            forget = partial(self._gathering.pop, key, None)
            batches = Batches(partial(self._found, statement, client_id), on_idle=forget)
            self._gathering[key] = batches
        return batches.begun(id)

    async def _found(self, statement: Statement[Any], client_id: str | None, ids: list[str]) -> list[Any]:
        try:
            async with asyncio.timeout(self._patience):
                rows = await self._find(statement, client_id, list(dict.fromkeys(ids)))
        except TimeoutError:
            # The server ends what takes long: it cannot be heard of any more, and the next are not to wait for it.
            return [Unavailable("The database took too long to answer.", code="TIMEOUT")] * len(ids)
        except Exception as error:  # noqa: BLE001 - handed to those who wait: no id is at fault, so all have it
            return [error] * len(ids)
        return [rows.get(id) for id in ids]
