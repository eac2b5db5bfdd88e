"""The relay: takes what waits in the outbox to where it belongs. Jobs go to Dramatiq, events to the log.

Several may run; one leads, by an advisory lock that the database frees when its connection ends. NOTIFY
wakes it, polling backs that up. What cannot be delivered now stays in the outbox.
"""

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import asyncpg
import dramatiq
import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy import BigInteger, bindparam, func, select

from domain.events.feed import channel
from domain.events.log import BATCH, JobRow, forget_jobs, record_events, unsent_jobs
from domain.kit.errors import Refusal
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database, Statement
from domain.kit.transactions import CHANNEL, transaction
from workers.schedule import Schedule
from workers.waking import WakingBroker

_LEADER = 5_704_911_302  # the advisory lock's key
_POLL = 1.0  # seconds
_RETRY = 1.0
# What comes sooner after a look than this is taken together. Whoever comes alone never waits for it; under
# load it saves round trips and flushes that uploads need themselves.
_GATHER = 0.02

_log = structlog.get_logger(__name__)
_LEAD = Statement(select(func.pg_try_advisory_lock(bindparam("lock", type_=BigInteger))))


class Relay:
    """`schedule` makes what runs by the clock while this leads; `recorded(n)` is told of events in the log."""

    def __init__(
        self,
        database: Database,
        redis: "Redis",
        broker: WakingBroker,
        namespace: str,
        schedule: Callable[[], Schedule],
        *,
        recorded: Callable[[int], None] = lambda _: None,
    ) -> None:
        self._database = database
        self._redis = redis
        self._broker = broker
        self._channel = channel(namespace)
        self._schedule = schedule
        self._recorded = recorded
        self._woken = asyncio.Event()
        self.leads = False

    async def run(self) -> None:
        """Lead or wait to lead, until cancelled."""
        while True:
            try:
                async with self._database.connection() as connection:
                    if await connection.fetchval(_LEAD.text, _LEADER):
                        try:
                            await self._lead(connection)
                        finally:
                            with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError):
                                await connection.execute("SELECT pg_advisory_unlock_all()")
            except (Refusal, asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
                _log.warning("the relay lost the database and tries again", error=str(error))
            await asyncio.sleep(_RETRY)

    async def _lead(self, connection: "asyncpg.pool.PoolConnectionProxy[asyncpg.Record]") -> None:
        _log.info("relay leads")
        self.leads = True
        await connection.add_listener(CHANNEL, self._wake)
        try:
            async with self._schedule():
                while not connection.is_closed():
                    self._woken.clear()
                    await asyncio.gather(self._drain(), asyncio.sleep(_GATHER))
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._woken.wait(), _POLL)
        finally:
            self.leads = False
            if not connection.is_closed():
                await connection.remove_listener(CHANNEL, self._wake)

    def _wake(self, *_: object) -> None:
        self._woken.set()

    async def _drain(self) -> None:
        # Jobs first: a photo waits for its worker longer than a screen for its event.
        while await self._send_jobs() == BATCH:
            pass
        while await self._record_events() == BATCH:
            pass

    async def _record_events(self) -> int:
        async with transaction(self._database) as tx:
            rows = await record_events(tx, SYSTEM)
        if rows:
            self._recorded(len(rows))
            try:
                await self._redis.publish(self._channel, str(rows[-1].position))
            except (RedisError, OSError) as error:
                _log.warning("live events are late: Redis is away", error=str(error))
        return len(rows)

    async def _send_jobs(self) -> int:
        jobs = await unsent_jobs(self._database, SYSTEM, list(self._broker.actors))
        if not jobs:
            return 0
        try:
            await asyncio.to_thread(self._enqueue, jobs)
        except (dramatiq.errors.ConnectionError, RedisError, OSError) as error:
            _log.warning("jobs wait: Redis is away", error=str(error), jobs=len(jobs))
            return 0
        await forget_jobs(self._database, SYSTEM, [job.id for job in jobs])
        return len(jobs)

    def _enqueue(self, jobs: Iterable[JobRow]) -> None:
        for job in jobs:
            actor = self._broker.get_actor(job.name)
            message = actor.message_with_options(kwargs=dict(job.payload), correlation_id=job.correlation_id)
            self._broker.enqueue(message)
        self._broker.wake()
