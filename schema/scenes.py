"""The scene cache: pictures that are made once for everybody who asks for the same."""

from datetime import datetime

import strawberry

from domain.generation.models import ImageShape
from domain.scenes.models import SceneCache, SceneRow
from schema.describe import enum, object_type
from schema.generation import ImageGeneration
from schema.images import Image
from schema.nodes import Node
from schema.relation import relation

enum(SceneCache)


@object_type
class Scene(Node):
    """An entry of the scene cache."""

    prompt: str
    """As it was asked for first. Case and spaces make no difference."""
    shape: ImageShape
    hits: int
    """How often it answered a request without a new picture."""
    misses: int
    """How often a picture was made for it; 0 of one that was imported."""
    created_at: datetime
    last_hit_at: datetime | None
    expires_at: datetime
    """The next request after this has a new picture made."""
    generation_id: strawberry.Private[str | None]
    image_id: strawberry.Private[str | None]

    @relation
    async def generation(self) -> ImageGeneration | None:
        """How its picture is made, or was; null of one that was imported."""

    @relation
    async def image(self) -> Image | None:
        """The picture; null until there is one."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, SceneRow)


@object_type
class GeneratedScene:
    """What a request for a scene is answered."""

    cache: SceneCache
    scene: Scene


@object_type
class SceneCacheStats:
    """What the scene cache holds. Counts of hits and misses are of the scenes that are in it."""

    scenes: int
    ready: int
    """With a picture, and not expired."""
    pending: int
    """Whose picture is being made."""
    expired: int
    """Over, and not swept yet."""
    hits: float
    misses: float
    hit_rate: float | None
    """Hits among all requests; null without any."""
    image_bytes: float
    """Of the pictures as they came."""
    oldest_at: datetime | None
    next_expiry_at: datetime | None


@object_type
class ClearedSceneCache:
    """What was taken out of the scene cache."""

    scenes: int


@object_type
class SceneCacheCleanup:
    """What a cleanup of the scene cache took out of it, or would."""

    dry_run: bool
    expired: int
    """Scenes that were over."""
    removed: int
    """Those that are gone now; 0 in a dry run."""
