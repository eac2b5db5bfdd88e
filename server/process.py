"""What processes of the server are made of: keys, connections and stores, as the settings say.

What only the API needs is in `services.py`, so that workers and the relay do without GraphQL.
"""

import hashlib
import hmac
from datetime import timedelta
from zoneinfo import ZoneInfo

import asyncpg
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from domain.devices.presence import PresencePolicy
from domain.generation.prompts import GenerationPolicy
from domain.generation.providers import DEFAULT_MODELS
from domain.kit.blobs import BlobStore, LinkSigner
from domain.kit.blobs.folder import FolderStore
from domain.kit.blobs.places import Place, S3Place
from domain.kit.limits import per_minute
from domain.kit.sql import Database
from domain.retention.models import RetentionDefaults, RetentionKind, Rule
from domain.schedule.models import JobName
from domain.schedule.times import OFF, Timetable
from domain.storage.sweeps import SweepPolicy
from server.settings import PREFIX, Settings, SettingsError


def derived_key(settings: Settings, purpose: str) -> bytes:
    """A 256-bit key for one purpose, so that what one signs another does not accept."""
    assert settings.secret_key is not None
    return hmac.new(settings.secret_key.encode(), purpose.encode(), hashlib.sha256).digest()


def link_signer(settings: Settings) -> LinkSigner:
    return LinkSigner(derived_key(settings, "media links"), settings.url)


def blob_store(settings: Settings, place: Place | None = None, *, make: bool = True) -> BlobStore:
    """The store at a place; that of the settings when none is given. Without `make` a bucket that is not there is
    not made.
    """
    place = place or settings.storage
    if isinstance(place, S3Place):
        return _s3_store(settings, place, make)
    return FolderStore(place.folder, link_signer(settings))


def _s3_store(settings: Settings, place: S3Place, make: bool) -> BlobStore:
    from domain.kit.blobs.presigned import Credentials  # noqa: PLC0415
    from domain.kit.blobs.s3 import S3Store  # noqa: PLC0415 - boto3 is large, and folder storage does without it

    credentials = None
    if settings.s3_access_key and settings.s3_secret_key:
        credentials = Credentials(settings.s3_access_key, settings.s3_secret_key)
    direct = settings.media_links == "direct"
    return S3Store(place, link_signer(settings), credentials=credentials, direct=direct, make=make)


def presence_policy(settings: Settings) -> PresencePolicy:
    return PresencePolicy(
        awake=timedelta(seconds=settings.presence_awake_seconds),
        grace=timedelta(seconds=settings.presence_grace_seconds),
        lost_after=settings.presence_lost_after_wakes,
        inactive_after=timedelta(days=settings.device_inactivity_days),
        marked_inactive_after=timedelta(days=settings.mark_inactive_after_days),
    )


def generation_policy(settings: Settings) -> GenerationPolicy:
    return GenerationPolicy(
        provider=settings.generation_provider,
        model=settings.generation_model or DEFAULT_MODELS[settings.generation_provider],
        longest_prompt=settings.prompt_max_length,
        denied=tuple(settings.prompt_denied),
        images_limit=per_minute(settings.generations_per_minute, "generated images"),
        scenes_limit=per_minute(settings.scenes_per_minute, "generated scenes"),
        scene_lifetime=timedelta(days=settings.scene_days),
    )


def sweep_policy(settings: Settings) -> SweepPolicy:
    return SweepPolicy(
        every=timedelta(hours=settings.storage_sweep_hours), grace=timedelta(hours=settings.storage_grace_hours)
    )


def retention_defaults(settings: Settings) -> RetentionDefaults:
    days = {
        RetentionKind.IMAGES: settings.image_retention_days,
        RetentionKind.DELETED_IMAGES: settings.deleted_image_retention_days,
        RetentionKind.TELEMETRY: settings.telemetry_kept_days,
        RetentionKind.EVENTS: settings.events_kept_days,
        RetentionKind.SCENES: settings.scene_days,
    }
    rules: dict[str, Rule] = {
        kind: Rule(kind.lower() not in settings.kept_for_ever, kept) for kind, kept in days.items()
    }
    return RetentionDefaults(rules, settings.cleanup_max_share)


def timetable(settings: Settings) -> Timetable:
    crons = {
        JobName.IMAGE_CLEANUP: settings.image_cleanup_cron,
        JobName.TELEMETRY_CLEANUP: settings.telemetry_cleanup_cron,
        JobName.EVENT_CLEANUP: settings.event_cleanup_cron,
        JobName.BACKUP: settings.backup_cron,
    }
    return Timetable(
        {name.value: None if cron == OFF else cron for name, cron in crons.items()}, ZoneInfo(settings.time_zone)
    )


async def connect_database(settings: Settings, application: str, *, at_least: int = 1) -> Database:
    """The pool of one process, of `at_least` so many connections if it cannot do its work with fewer."""
    assert settings.database_url is not None
    return await Database.connect(
        settings.database_url,
        pool_size=max(at_least, settings.database_pool_size),
        statement_timeout=settings.statement_timeout,
        acquire_timeout=settings.database_pool_timeout,
        application=f"quartermaster {application}",
    )


def migrate_database(settings: Settings) -> None:
    """Bring the database to the newest revision. Raises SettingsError when it cannot be connected to."""
    from migrations import upgrade  # noqa: PLC0415 - Alembic is large, and the API does without it

    assert settings.database_url is not None
    try:
        upgrade(settings.database_url)
    except (OSError, asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{PREFIX}DATABASE_URL: this database cannot be used: {why}.") from None


def connect_redis(settings: Settings) -> Redis:
    assert settings.redis_url is not None
    # No retries here: whoever uses Redis has a way on without it, and takes it at once.
    return Redis.from_url(
        settings.redis_url, socket_connect_timeout=2, socket_timeout=10, retry=Retry(NoBackoff(), 0)
    )
