"""The parts that the API process works with, opened and closed in order."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from domain.events.feed import Feed
from domain.idempotency.commands import Keeper
from domain.kit.blobs.places import S3Place
from domain.kit.limits import Limiter, per_minute
from domain.storage.models import StoreKind
from domain.users.authentication import Authenticator
from domain.users.sessions import SessionPolicy
from resolvers.context import Services
from server.health import Health
from server.platform import PlatformReports
from server.process import (
    blob_store,
    connect_database,
    connect_redis,
    derived_key,
    generation_policy,
    link_signer,
    presence_policy,
    retention_defaults,
    sweep_policy,
    timetable,
)
from server.settings import Settings


def session_policy(settings: Settings) -> SessionPolicy:
    return SessionPolicy(
        secret_key=derived_key(settings, "access tokens"),
        access_lifetime=settings.access_lifetime,
        refresh_lifetime=settings.refresh_lifetime,
        wrong_passwords=per_minute(settings.wrong_passwords_per_minute, "passwords"),
    )


@asynccontextmanager
async def api_services(settings: Settings) -> AsyncIterator[Services]:
    """What the API process works with."""
    assert settings.redis_url is not None
    database = await connect_database(settings, "api")
    redis = connect_redis(settings)
    feed = Feed(database, redis, settings.redis_namespace)
    blobs = blob_store(settings)
    try:
        await feed.start()
        yield Services(
            database=database,
            blobs=blobs,
            links=link_signer(settings),
            feed=feed,
            limiter=Limiter(settings.redis_url, settings.redis_namespace),
            sessions=session_policy(settings),
            keeper=Keeper(derived_key(settings, "idempotent answers")),
            presence=presence_policy(settings),
            authenticator=Authenticator(database, derived_key(settings, "access tokens")),
            generation=generation_policy(settings),
            upload_max_bytes=settings.upload_max_bytes,
            platform=PlatformReports(settings, database, redis, Health(database, redis, blobs)),
            sweeping=sweep_policy(settings),
            store_kind=StoreKind.S3 if isinstance(settings.storage, S3Place) else StoreKind.FOLDER,
            retention=retention_defaults(settings),
            timetable=timetable(settings),
        )
    finally:
        await feed.stop()
        await redis.aclose()
        await blobs.close()
        await database.close()
