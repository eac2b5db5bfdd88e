"""Reading the scene cache: scenes by id, whether one would be found, and what the cache is worth."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import BigInteger, and_, bindparam, cast, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.generation.models import GenerationStatus, generations
from domain.images.models import ImageStatus, images
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.scenes.models import SceneRow, scenes

image_id = func.coalesce(generations.c.image_id, scenes.c.imported_image_id)
joined = scenes.outerjoin(generations, generations.c.id == scenes.c.generation_id).outerjoin(
    images, images.c.id == image_id
)
_is_there = and_(images.c.status != ImageStatus.REJECTED.value, images.c.deleted_at.is_(None))
_is_made = and_(
    generations.c.status != GenerationStatus.FAILED.value,
    or_(generations.c.image_id.is_not(None), generations.c.status != GenerationStatus.READY.value),
)
usable = and_(
    scenes.c.expires_at > func.now(),
    or_(and_(image_id.is_(None), _is_made), _is_there),
    or_(scenes.c.generation_id.is_(None), _is_made),
)
"""Whether a scene answers a request, as a condition on `joined`: it has not expired, and its picture is there or on
its way. One whose image was deleted, or whose generation failed, is made again.
"""

_columns = [
    image_id.label("image_id") if name == "image_id" else scenes.c[name] for name in SceneRow.__annotations__
]
_BY_IDS = Statement(
    select(*_columns)
    .select_from(joined)
    .where(scenes.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(scenes.c.client_id)),
    SceneRow,
)
_IS_CACHED = Statement(
    select(scenes.c.id)
    .select_from(joined)
    .where(
        scenes.c.client_id == bindparam("owner", type_=Id),
        scenes.c.cache_key == bindparam("cache_key", type_=TEXT),
        usable,
    )
)
of_client = or_(bindparam("client_id", type_=Id).is_(None), scenes.c.client_id == bindparam("client_id", type_=Id))


class SceneStatsRow(Row):
    """Of the scenes in the cache. Sizes are bytes."""

    scenes: int
    ready: int
    pending: int
    expired: int
    hits: int
    misses: int
    image_bytes: int
    oldest_at: datetime | None
    next_expiry_at: datetime | None


_is_over = scenes.c.expires_at <= func.now()
_is_ready = and_(usable, images.c.status == ImageStatus.READY.value)
_STATS = Statement(
    select(
        func.count().label("scenes"),
        func.count().filter(_is_ready).label("ready"),
        func.count().filter(and_(usable, ~func.coalesce(_is_ready, False))).label("pending"),
        func.count().filter(_is_over).label("expired"),
        cast(func.coalesce(func.sum(scenes.c.hits), 0), BigInteger).label("hits"),
        cast(func.coalesce(func.sum(scenes.c.misses), 0), BigInteger).label("misses"),
        cast(func.coalesce(func.sum(images.c.size_bytes), 0), BigInteger).label("image_bytes"),
        func.min(scenes.c.created_at).label("oldest_at"),
        func.min(scenes.c.expires_at).filter(~_is_over).label("next_expiry_at"),
    )
    .select_from(joined)
    .where(visible(scenes.c.client_id), of_client),
    SceneStatsRow,
)


async def scenes_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[SceneRow | None]:
    """The scenes with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def is_cached(db: Runner, scope: Scope, owner: str, cache_key: str) -> bool:
    """Whether a request with this key would be a HIT. `owner` was found by the scope."""
    return await db.one(_IS_CACHED, owner=owner, cache_key=cache_key) is not None


async def scene_stats(db: Runner, scope: Scope, *, client_id: str | None) -> SceneStatsRow:
    """What the cache of a client holds; of all clients in the scope when none is named."""
    row = await db.one(_STATS, client_id=client_id, scope=scope.client_id)
    assert row is not None  # an aggregate without GROUP BY has one row
    return row
