"""Scenes: asked for, put there by an import, thrown away, and swept when their time is over."""

from collections import Counter
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Interval, and_, bindparam, delete, func, select, update
from sqlalchemy.dialects.postgresql import TEXT, insert

from domain.clients.queries import owning_client
from domain.generation.commands import request_image
from domain.generation.models import GenerationKind, ImageShape
from domain.generation.prompts import GenerationPolicy
from domain.kit.ids import new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction
from domain.scenes.models import SceneCache, scenes
from domain.scenes.queries import joined, of_client, usable

SWEPT_AT_ONCE = 1_000
_LONGEST_SUBJECT = 200  # characters of a prompt in events


@dataclass(frozen=True, slots=True)
class SceneAnswer:
    scene_id: str
    cache: SceneCache


class _Held(Row):
    id: str


# Whoever comes second waits here for whoever came first, and finds the row.
_new = insert(scenes).values(
    id=bindparam("id", type_=Id),
    client_id=bindparam("owner", type_=Id),
    cache_key=bindparam("cache_key", type_=TEXT),
    prompt=bindparam("prompt", type_=TEXT),
    shape=bindparam("shape", type_=TEXT),
    imported_image_id=bindparam("imported", type_=Id),
    expires_at=func.now() + bindparam("lifetime", type_=Interval),
)
_HOLD = Statement(
    _new.on_conflict_do_update(
        index_elements=["client_id", "cache_key"], set_={"cache_key": _new.excluded.cache_key}
    ).returning(scenes.c.id),
    _Held,
)
_IS_USABLE = Statement(
    select(scenes.c.id).select_from(joined).where(scenes.c.id == bindparam("scene", type_=Id), usable)
)
_of_scene = and_(scenes.c.id == bindparam("scene", type_=Id), visible(scenes.c.client_id))
_HIT = Statement(update(scenes).where(_of_scene).values(hits=scenes.c.hits + 1, last_hit_at=func.now()))
_FILL = Statement(
    update(scenes)
    .where(_of_scene)
    .values(
        generation_id=bindparam("generation", type_=Id),
        imported_image_id=bindparam("imported", type_=Id),
        misses=scenes.c.misses + bindparam("missed", type_=BigInteger),
        expires_at=func.now() + bindparam("lifetime", type_=Interval),
    )
)


class _GoneRow(Row):
    id: str
    client_id: str


_CLEAR = Statement(
    delete(scenes)
    .where(scenes.c.client_id == bindparam("owner", type_=Id), visible(scenes.c.client_id))
    .returning(scenes.c.id, scenes.c.client_id),
    _GoneRow,
)
_over = and_(scenes.c.expires_at <= func.now(), visible(scenes.c.client_id), of_client)
_EXPIRED = Statement(
    select(scenes.c.client_id, func.count().label("count")).where(_over).group_by(scenes.c.client_id)
)
_SWEEP = Statement(
    delete(scenes)
    .where(
        scenes.c.id
        == func.any(
            func.array(
                select(scenes.c.id)
                .where(_over)
                .order_by(scenes.c.expires_at)
                .limit(SWEPT_AT_ONCE)
                .with_for_update(skip_locked=True)
                .scalar_subquery()
            )
        )
    )
    .returning(scenes.c.id, scenes.c.client_id),
    _GoneRow,
)


async def request_scene(
    tx: Transaction,
    scope: Scope,
    policy: GenerationPolicy,
    *,
    prompt: str,
    shape: ImageShape,
    client_id: str | None = None,
) -> SceneAnswer:
    """The scene that shows this: the one in the cache, or one whose picture is queued now.

    Of requests at the same time one is a MISS. Raises Invalid as `request_image`.
    """
    owner, prompt = await owning_client(tx, scope, client_id), policy.checked_prompt(prompt)
    wanted = {"owner": owner, "prompt": prompt, "shape": shape.value, "lifetime": policy.scene_lifetime}
    cache_key, mine = policy.scene_key(prompt, shape), new_id()
    held = await tx.one(_HOLD, id=mine, cache_key=cache_key, imported=None, **wanted)
    assert held is not None  # inserted or updated
    if held.id != mine and await tx.one(_IS_USABLE, scene=held.id):
        await tx.all(_HIT, scene=held.id, scope=scope.client_id)
        return SceneAnswer(held.id, SceneCache.HIT)
    generation_id = await request_image(
        tx, scope, policy, prompt=prompt, shape=shape, tags=["scene"], client_id=owner, kind=GenerationKind.SCENE
    )
    await _fill(tx, scope, held.id, generation_id, None, policy.scene_lifetime)
    _tell(tx, scope, "missed", held.id, owner, prompt, generationId=generation_id)
    return SceneAnswer(held.id, SceneCache.MISS)


async def put_scene(
    tx: Transaction, scope: Scope, policy: GenerationPolicy, *, prompt: str, image_id: str, client_id: str
) -> str:
    """Let an imported image answer requests for this prompt (square), unless a scene does that already; returns the
    scene's id. `client_id` is the image's.
    """
    shape, mine = ImageShape.SQUARE, new_id()
    held = await tx.one(
        _HOLD,
        id=mine,
        owner=client_id,
        cache_key=policy.scene_key(prompt, shape),
        prompt=prompt,
        shape=shape.value,
        imported=image_id,
        lifetime=policy.scene_lifetime,
    )
    assert held is not None  # inserted or updated
    if held.id != mine:
        if await tx.one(_IS_USABLE, scene=held.id):
            return held.id
        await _fill(tx, scope, held.id, None, image_id, policy.scene_lifetime)
    _tell(tx, scope, "imported", held.id, client_id, prompt, imageId=image_id)
    return held.id


async def clear_scenes(tx: Transaction, scope: Scope, *, client_id: str | None = None) -> int:
    """Forget all scenes of a client, expired or not; returns how many. Their images stay."""
    owner = await owning_client(tx, scope, client_id)
    gone = await tx.all(_CLEAR, owner=owner, scope=scope.client_id)
    if gone:
        tx.emit(scope, "scene_cache.cleared", client_id=owner, subject=("Client", owner), scenes=len(gone))
    return len(gone)


async def expired_scenes(tx: Transaction, scope: Scope, *, client_id: str | None = None) -> int:
    """How many scenes `sweep_scenes` would take, now."""
    rows = await tx.all(_EXPIRED, client_id=client_id, scope=scope.client_id)
    return sum(row["count"] for row in rows)


async def sweep_scenes(tx: Transaction, scope: Scope, *, client_id: str | None = None) -> int:
    """Forget expired scenes of a client, or of all in the scope; returns how many, at most 1,000 at once.

    Nothing but the entries goes: images are not theirs, and are kept or not by their own policy.
    """
    gone = await tx.all(_SWEEP, client_id=client_id, scope=scope.client_id)
    for owner, count in sorted(Counter(row.client_id for row in gone).items()):
        tx.emit(scope, "scene_cache.swept", client_id=owner, subject=("Client", owner), scenes=count)
    return len(gone)


async def _fill(
    tx: Transaction,
    scope: Scope,
    scene_id: str,
    generation_id: str | None,
    imported: str | None,
    lifetime: timedelta,
) -> None:
    await tx.all(
        _FILL,
        scene=scene_id,
        scope=scope.client_id,
        generation=generation_id,
        imported=imported,
        missed=int(generation_id is not None),
        lifetime=lifetime,
    )


def _tell(
    tx: Transaction, scope: Scope, happened: str, scene_id: str, client_id: str, prompt: str, **data: Any
) -> None:
    subject = ("Scene", scene_id)
    told = prompt[:_LONGEST_SUBJECT]
    tx.emit(scope, f"scene.{happened}", client_id=client_id, subject=subject, prompt=told, **data)
