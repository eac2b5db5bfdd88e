"""Every setting, documented once. `quartermaster settings` prints this list; a wrong one stops the start.

Each is an environment variable with the prefix `QM_`. Nothing else in the code reads the environment.
"""

import secrets
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from domain.kit.blobs.places import FolderPlace, Place, S3Place, read_place
from domain.schedule.times import checked_cron

PREFIX = "QM_"
_MIN_SECRET = 32


class SettingsError(Exception):
    """A setting is wrong. The message names it and says what would be right."""


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="ignore", frozen=True, validate_default=True)

    data_dir: Path = Field(
        Path("var"),
        description="Folder of the embedded services, of blobs (unless QM_STORAGE_URL says otherwise) and of the "
        "generated secret key.",
    )
    database_url: str | None = Field(
        None, description="`postgresql://user:password@host:port/name`. Absent: an embedded PostgreSQL."
    )
    redis_url: str | None = Field(
        None, description="`redis://…`, `rediss://…` or `unix://…`. Absent: an embedded Redis."
    )
    redis_namespace: str = Field(
        "quartermaster",
        description="Begins every key and channel in Redis, so that several servers may share it.",
    )
    storage_url: str | None = Field(
        None,
        description="`folder:///absolute/path` or `s3://bucket/prefix?endpoint=https://host&region=name`; options "
        "`style=path|virtual` and `public_endpoint`. Absent: the folder `storage` in QM_DATA_DIR.",
    )
    s3_access_key: str | None = Field(
        None, description="Of s3:// storage. Absent: where AWS's own tools look for keys.", repr=False
    )
    s3_secret_key: str | None = Field(None, description="The other half of QM_S3_ACCESS_KEY.", repr=False)
    media_links: Literal["here", "direct"] = Field(
        "here", description="Where links to images lead: to this server, or directly to the S3 server."
    )
    storage_sweep_hours: int = Field(
        24, ge=0, description="So often blobs that no row names are taken away; 0: only when asked for."
    )
    storage_grace_hours: int = Field(
        24, ge=1, description="Blobs are that old before it counts that no row names them."
    )
    host: str = Field("127.0.0.1", description="Address to listen on. `0.0.0.0` for every network interface.")
    port: int = Field(8000, ge=1, le=65535, description="Port to listen on.")
    public_url: str | None = Field(
        None, description="How the outside reaches this server, for links. Absent: `http://host:port`."
    )
    allowed_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Other origins whose pages may use the API (CORS, WebSockets), separated by commas."
    )
    trusted_proxies: str = Field(
        "127.0.0.1", description="Addresses of reverse proxies whose X-Forwarded-For is believed, or `*`."
    )
    secret_key: str | None = Field(
        None,
        description="At least 32 random characters; signs sessions and links. Generated into QM_DATA_DIR for the "
        "embedded database, required beside QM_DATABASE_URL.",
        repr=False,
    )
    admin_email: str = Field("admin@example.com", description="The first admin, made when there is none.")
    admin_password: str | None = Field(
        None, description="The first admin's password. Absent: generated and printed once.", repr=False
    )
    access_token_minutes: int = Field(15, ge=1, le=1440, description="Life of an access token.")
    refresh_token_days: int = Field(30, ge=1, le=365, description="Life of an unused refresh token.")
    wrong_passwords_per_minute: int = Field(5, ge=1, description="For one account, and from one address.")
    presence_awake_seconds: int = Field(60, ge=1, description="How long a device that reported counts as ONLINE.")
    presence_grace_seconds: int = Field(
        60, ge=0, description="How much later than announced a device may wake; at least a tenth of its sleep."
    )
    presence_lost_after_wakes: int = Field(3, ge=1, description="Missed wakes after which a device is LOST.")
    device_inactivity_days: int = Field(7, ge=1, description="Days unseen after which a device is INACTIVE.")
    mark_inactive_after_days: int = Field(
        14, ge=1, description="Days unseen after which that is marked, with an event."
    )
    image_retention_days: int = Field(
        30, ge=1, le=36_500, description="Images go so many days after they arrived, but for those that are cited."
    )
    deleted_image_retention_days: int = Field(
        7, ge=1, le=36_500, description="Deleted images may be restored for so many days; then they go."
    )
    telemetry_kept_days: int = Field(
        400, ge=31, le=36_500, description="Telemetry older than this goes, month by month."
    )
    events_kept_days: int = Field(
        400,
        ge=31,
        le=36_500,
        description="Events, thus the audit log, too, older than this go, month by month.",
    )
    kept_for_ever: Annotated[
        list[Literal["images", "deleted_images", "telemetry", "events", "scenes"]], NoDecode
    ] = Field(
        [],
        description="What stays where no policy of a client says otherwise, separated by commas: `images`, "
        "`deleted_images`, `telemetry`, `events`, `scenes`.",
    )
    cleanup_max_share: float = Field(
        0.5, gt=0, le=1, description="A cleanup that would take more than this share of what is there stops."
    )
    time_zone: str = Field("UTC", description="Of the times of day at which jobs run, such as `Europe/Berlin`.")
    image_cleanup_cron: str = Field(
        "0 2 * * *", description="When images go whose time is over: five fields as cron has them, or `off`."
    )
    telemetry_cleanup_cron: str = Field("0 3 * * 0", description="When old telemetry goes, likewise.")
    event_cleanup_cron: str = Field("30 3 * * 0", description="When old events go, likewise.")
    backup_cron: str = Field("0 1 * * *", description="When a backup is made, likewise.")
    backup_dir: Path | None = Field(None, description="Where backups are kept. Absent: `backups` in QM_DATA_DIR.")
    backups_kept: int = Field(30, ge=1, description="Older backups go when a newer one is whole.")
    backup_blobs: bool = Field(
        False, description="Whether nightly backups hold the blobs, not just a list of them."
    )
    backup_max_hours: float = Field(
        12, gt=0, description="A nightly backup that is not done by then is stopped, and has failed."
    )
    postgres_bin: Path | None = Field(
        None, description="Folder of pg_dump and pg_restore. Absent: the embedded ones, or those on the PATH."
    )
    device_reports_per_minute: int = Field(60, ge=1, description="Uploads and heartbeats of one device.")
    image_uploads_per_minute: int = Field(120, ge=1, description="Images that one user or client token posts.")
    upload_max_bytes: int = Field(20_000_000, ge=1_000, description="Largest image that is accepted.")
    upload_max_pixels: int = Field(50_000_000, ge=1, description="Largest image that is decoded.")
    uploads_at_once: int = Field(64, ge=1, description="Per API process; more are asked to come back.")
    firmware_max_bytes: int = Field(16_777_216, ge=1_000, description="Largest firmware that is accepted.")
    generation_provider: Literal["local", "gemini", "openai"] = Field(
        "local", description="Who draws pictures. `local` draws itself, for trying things out, and needs no key."
    )
    generation_api_key: str | None = Field(
        None, description="The provider's key; required for `gemini` and `openai`.", repr=False
    )
    generation_base_url: str | None = Field(
        None, description="How the provider is reached. Absent: its own address."
    )
    generation_model: str | None = Field(
        None,
        description="The provider's model. Absent: `gemini-2.5-flash-image`, `gpt-image-1`. `local` has only one.",
    )
    generation_timeout: float = Field(120.0, ge=1, le=300, description="Seconds that one picture may take.")
    generation_cost_usd: float | None = Field(
        None, ge=0, description="What one picture costs, as the provider's price list says: for the records."
    )
    generations_at_once: int = Field(4, ge=1, le=64, description="Pictures that a worker waits for at once.")
    generations_per_minute: int = Field(10, ge=1, description="Pictures that one caller may ask for.")
    scenes_per_minute: int = Field(5, ge=1, description="Scenes that one caller may have made; hits do not count.")
    scene_days: int = Field(7, ge=1, le=3650, description="Days after which a scene is made anew.")
    prompt_max_length: int = Field(2_000, ge=1, le=4_000, description="Characters of a prompt.")
    prompt_denied: Annotated[list[str], NoDecode] = Field(
        [], description="Words and phrases that no prompt may hold, separated by commas."
    )
    import_max_bytes: int = Field(
        32_000_000, ge=1_000, le=200_000_000, description="Largest dump of a browser's storage that is taken over."
    )
    imports_per_minute: int = Field(6, ge=1, description="Dumps that one user or client token posts.")
    introspection: bool | None = Field(
        None,
        description="Whether GraphiQL and introspection are on. Absent: only with the embedded database.",
    )
    database_pool_size: int = Field(10, ge=1, le=500, description="Connections of each API process.")
    database_pool_timeout: float = Field(2.0, gt=0, description="Seconds to wait for one before answering 503.")
    statement_timeout: float = Field(5.0, gt=0, description="Seconds that one SQL statement may take.")
    operation_timeout: float = Field(10.0, gt=0, description="Seconds that one query or mutation may take.")
    operation_cost: int = Field(1_000, ge=1, description="What one operation may cost; page sizes count.")
    cost_per_minute: int = Field(60_000, ge=1, description="What the operations of one caller may cost a minute.")
    documents_kept: int = Field(300, ge=1, description="GraphQL documents that an API process keeps compiled.")
    trusted_documents: Path | None = Field(
        None,
        description="Folder of GraphQL documents that may be asked for by id: `<id>.graphql` files, and JSON "
        "manifests as Apollo's and Relay's tools write them.",
    )
    trusted_documents_only: bool = Field(
        False, description="Whether nothing but the documents of QM_TRUSTED_DOCUMENTS is executed."
    )
    worker_threads: int = Field(2, ge=1, le=64, description="Images that a worker decodes at once: its cores.")
    metrics_dir: Path | None = Field(
        None, description="Where processes share their metrics. Absent: `metrics` in QM_DATA_DIR."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="What is logged.")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="`auto`: console on a terminal, JSON otherwise."
    )
    otel_endpoint: str | None = Field(
        None, description="OTLP/HTTP base URL for traces. Needs the extra `otel`. Absent: nothing is traced."
    )
    sentry_dsn: str | None = Field(
        None, description="Where errors are reported. Needs the extra `sentry`. Absent: nowhere.", repr=False
    )

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("postgresql", "postgres"):
            raise ValueError("it begins with postgresql://")
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("redis", "rediss", "unix"):
            raise ValueError("it begins with redis://, rediss:// or unix://")
        return value

    @field_validator("storage_url")
    @classmethod
    def _storage(cls, value: str | None) -> str | None:
        if value is not None:
            read_place(value)
        return value

    @field_validator("public_url", "otel_endpoint", "generation_base_url")
    @classmethod
    def _http(cls, value: str | None) -> str | None:
        if value is not None and urlsplit(value).scheme not in ("http", "https"):
            raise ValueError("it begins with http:// or https://")
        return value

    @field_validator("image_cleanup_cron", "telemetry_cleanup_cron", "event_cleanup_cron", "backup_cron")
    @classmethod
    def _cron(cls, value: str) -> str:
        return checked_cron(value)

    @field_validator("time_zone")
    @classmethod
    def _zone(cls, value: str) -> str:
        try:
            ZoneInfo(value)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("it is a name such as `Europe/Berlin` or `UTC`") from None
        return value

    @field_validator("otel_endpoint")
    @classmethod
    def _has_otel(cls, value: str | None) -> str | None:
        if value is not None and not _is_installed("opentelemetry.exporter.otlp.proto.http"):
            raise ValueError("it needs an extra that is not here: pip install quartermaster[otel]")
        return value

    @field_validator("sentry_dsn")
    @classmethod
    def _has_sentry(cls, value: str | None) -> str | None:
        if value is not None and not _is_installed("sentry_sdk"):
            raise ValueError("it needs an extra that is not here: pip install quartermaster[sentry]")
        if value is not None and not (urlsplit(value).scheme in ("http", "https") and urlsplit(value).username):
            raise ValueError("it looks like https://key@host/project")
        return value

    @field_validator("secret_key")
    @classmethod
    def _long_enough(cls, value: str | None) -> str | None:
        if value is not None and len(value) < _MIN_SECRET:
            raise ValueError(f"it has at least {_MIN_SECRET} characters")
        return value

    @field_validator("redis_namespace")
    @classmethod
    def _plain(cls, value: str) -> str:
        if not value.isascii() or not value.replace("-", "").replace("_", "").isalnum():
            raise ValueError("it has letters, digits, hyphens and underscores only")
        return value

    @field_validator("generation_api_key")
    @classmethod
    def _fits_a_header(cls, value: str | None) -> str | None:
        if value is not None and not (value.isascii() and value.isprintable() and " " not in value and value):
            raise ValueError("it is one word of printable characters")
        return value

    @field_validator("allowed_origins", "prompt_denied", "kept_for_ever", mode="before")
    @classmethod
    def _separated(cls, value: Any) -> Any:
        return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _has_secret(self) -> "Settings":
        if self.database_url is not None and self.secret_key is None:
            raise ValueError(f"{PREFIX}SECRET_KEY is required beside {PREFIX}DATABASE_URL: at least 32 characters")
        if self.generation_provider != "local" and self.generation_api_key is None:
            provider = self.generation_provider
            raise ValueError(
                f"{PREFIX}GENERATION_API_KEY is required beside {PREFIX}GENERATION_PROVIDER={provider}"
            )
        if (self.s3_access_key is None) != (self.s3_secret_key is None):
            raise ValueError(f"{PREFIX}S3_ACCESS_KEY and {PREFIX}S3_SECRET_KEY are given together or not at all")
        if self.media_links == "direct" and not isinstance(self.storage, S3Place):
            raise ValueError(f"{PREFIX}MEDIA_LINKS=direct needs an s3:// address in {PREFIX}STORAGE_URL")
        if self.trusted_documents_only and self.trusted_documents is None:
            raise ValueError(f"{PREFIX}TRUSTED_DOCUMENTS is required beside {PREFIX}TRUSTED_DOCUMENTS_ONLY")
        return self

    @property
    def embedded(self) -> bool:
        return self.database_url is None

    @property
    def explorable(self) -> bool:
        return self.embedded if self.introspection is None else self.introspection

    @property
    def url(self) -> str:
        return self.public_url or f"http://{self.host}:{self.port}"

    @property
    def storage(self) -> Place:
        return read_place(self.storage_url) if self.storage_url else FolderPlace(self.data_dir / "storage")

    @property
    def metrics_folder(self) -> Path:
        return self.metrics_dir or self.data_dir / "metrics"

    @property
    def backup_folder(self) -> Path:
        return self.backup_dir or self.data_dir / "backups"

    @property
    def access_lifetime(self) -> timedelta:
        return timedelta(minutes=self.access_token_minutes)

    @property
    def refresh_lifetime(self) -> timedelta:
        return timedelta(days=self.refresh_token_days)

    def environment(self) -> dict[str, str]:
        """These settings as environment variables, for child processes."""
        values: dict[str, str] = {}
        for name, value in self:
            if value is None:
                continue
            text = ",".join(value) if isinstance(value, list) else str(value)
            values[f"{PREFIX}{name.upper()}"] = text
        return values


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None  # imports what is around it, not the module
    except ModuleNotFoundError:
        return False


def load_settings(**overrides: Any) -> Settings:
    """The settings of this process. Raises SettingsError; `overrides` that are None count as absent."""
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise SettingsError("\n".join(_complaint(problem) for problem in error.errors())) from None


def _complaint(problem: Any) -> str:
    message = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:
        return str(message)
    name = f"{PREFIX}{problem['loc'][0]}".upper()
    if name.endswith(("KEY", "PASSWORD", "DSN", "URL")):  # their values may hold secrets
        return f"{name} is wrong: {message}."
    return f"{name}={problem['input']!r} is wrong: {message}."


def with_secret_key(settings: Settings) -> Settings:
    """The settings with a secret key; for the embedded database it is made once and kept in the data folder."""
    if settings.secret_key is not None:
        return settings
    path = settings.data_dir / "secret-key"
    if not path.exists():
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(48))
    return settings.model_copy(update={"secret_key": path.read_text().strip()})
