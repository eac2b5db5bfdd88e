"""What the tests of events share: a connection to the database, to write events as fast as the application can."""

from collections.abc import AsyncIterator

import pytest

from domain.kit.sql import Database


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """The server's own database."""
    database = await Database.connect(database_url, pool_size=8, application="tests")
    yield database
    await database.close()
