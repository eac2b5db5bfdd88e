"""SQL beside the server: what an operator does with psql, and what tests do to see how the server takes it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg


async def execute(url: str, statement: str) -> None:
    """One statement on a connection of its own."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def without_table(url: str, name: str) -> AsyncIterator[None]:
    """A table is gone, and back at the end: what uses it meets an error that nobody expected."""
    await execute(url, f"ALTER TABLE {name} RENAME TO {name}_gone")
    try:
        yield
    finally:
        await execute(url, f"ALTER TABLE {name}_gone RENAME TO {name}")
