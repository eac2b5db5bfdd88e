"""What a resolver is given beside its arguments: who asks, and the parts of the server it may use."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import strawberry
from strawberry.dataloader import DataLoader

from domain.devices.presence import PresencePolicy
from domain.events.feed import Feed
from domain.generation.prompts import GenerationPolicy
from domain.idempotency.commands import Keeper
from domain.kit.blobs import BlobStore, LinkSigner
from domain.kit.limits import Limiter
from domain.kit.scope import Scope
from domain.kit.sql import Database
from domain.kit.transactions import Transaction, transaction
from domain.retention.models import RetentionDefaults
from domain.schedule.times import Timetable
from domain.storage.models import StoreKind
from domain.storage.sweeps import SweepPolicy
from domain.users.authentication import Authenticator, revokes
from domain.users.principals import Principal
from domain.users.sessions import SessionPolicy
from schema.platform import CacheStats, DatabaseStats, Diagnostics, Workers


class Platform(Protocol):
    """What can be told of the whole system. Raises Unavailable when the part that knows is away."""

    async def diagnostics(self, scope: Scope) -> Diagnostics: ...
    async def database_stats(self, scope: Scope) -> DatabaseStats: ...
    async def workers(self) -> Workers: ...
    async def cache_stats(self) -> list[CacheStats]: ...


@dataclass(frozen=True, slots=True)
class Services:
    """The parts of the server that resolvers use. One of each in a process.

    `upload_max_bytes` is of the largest image that is taken.
    """

    database: Database
    blobs: BlobStore
    links: LinkSigner
    feed: Feed
    limiter: Limiter
    sessions: SessionPolicy
    keeper: Keeper
    presence: PresencePolicy
    authenticator: Authenticator
    platform: Platform
    generation: GenerationPolicy
    upload_max_bytes: int
    sweeping: SweepPolicy
    store_kind: StoreKind
    retention: RetentionDefaults
    timetable: Timetable


@dataclass(slots=True)
class Context:
    """One request, or one socket. `address` is the caller's, for limits."""

    services: Services
    principal: Principal
    address: str
    authorization: str | None = None
    idempotency_key: str | None = None
    applied: bool = False
    loaders: dict[Any, DataLoader[Any, Any]] = field(default_factory=dict)

    @property
    def db(self) -> Database:
        return self.services.database

    @property
    def scope(self) -> Scope:
        return self.principal.scope

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """One transaction, for one mutation field. Under an idempotency key it is marked as applied."""
        async with transaction(self.db) as tx:
            yield tx
            if self.idempotency_key is not None and self.principal.id is not None:
                await self.services.keeper.mark(tx, self.principal.id, self.idempotency_key)
        self.applied = True
        if any(map(revokes, tx.emitted)):
            self.services.authenticator.forget()


Info = strawberry.Info[Context, None]
