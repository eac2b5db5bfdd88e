"""What a refused argument leaves behind on a pooled connection: nothing."""

import pytest
from sqlalchemy import Float, bindparam, func, select

from domain.kit.errors import Invalid
from domain.kit.sql import Database, Statement
from domain.kit.tables import Id

_SLEEP = Statement(select(func.pg_sleep(bindparam("seconds", type_=Float))))
_ID = Statement(select(bindparam("id", type_=Id)))


async def test_the_time_limit_of_a_refused_statement_does_not_end_a_later_one(database_url: str) -> None:
    database = await Database.connect(database_url, pool_size=1, statement_timeout=0.6)
    other = await Database.connect(database_url, pool_size=1)
    try:
        with pytest.raises(Invalid):
            await database.all(_ID, id="no id")
        await other.all(_SLEEP, seconds=0.5)  # elsewhere, so that the connection in question stays idle
        assert len(await database.all(_SLEEP, seconds=0.3)) == 1
    finally:
        await database.close()
        await other.close()
