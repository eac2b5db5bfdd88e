"""The scene cache: root operations."""

from dataclasses import replace

import strawberry

from domain.generation.models import ImageShape
from domain.kit.errors import NotFound
from domain.retention.queries import scene_lifetime
from domain.scenes import commands, queries
from domain.scenes.models import SceneRow
from domain.users.principals import Permission
from resolvers.context import Info
from resolvers.generation import throttle
from resolvers.operation import operation
from schema.scenes import ClearedSceneCache, GeneratedScene, Scene, SceneCacheCleanup, SceneCacheStats


@strawberry.type
class SceneQuery:
    @operation(Permission.IMAGES_READ, Scene | None)
    async def scene(self, info: Info, id: strawberry.ID) -> SceneRow | None:
        """One scene; null when there is none that the caller may see."""
        return (await queries.scenes_by_ids(info.context.db, info.context.scope, [id]))[0]

    @operation(Permission.IMAGES_READ, SceneCacheStats)
    async def scene_cache_stats(self, info: Info, client_id: strawberry.ID | None = None) -> SceneCacheStats:
        """What the scene cache of a client holds; of all clients that the caller may see, when none is named."""
        ctx = info.context
        row = await queries.scene_stats(ctx.db, ctx.scope, client_id=client_id)
        asked = row.hits + row.misses
        return SceneCacheStats(hit_rate=row.hits / asked if asked else None, **dict(row.items()))


@strawberry.type
class SceneMutation:
    @operation(Permission.IMAGES_GENERATE, GeneratedScene)
    async def generate_scene(
        self,
        info: Info,
        prompt: str,
        shape: ImageShape = ImageShape.SQUARE,
        client_id: strawberry.ID | None = None,
    ) -> GeneratedScene:
        """A scene from the cache (HIT), or a new one whose picture is being made (MISS).

        It is kept as long as the client's policy says: 7 days, unless changed. Of requests for the same at the same
        time one is a MISS. At most 5 misses a minute (`THROTTLED`); prompts as for `generateImage`.
        """
        ctx, policy = info.context, info.context.services.generation
        owner, checked = ctx.scope.owner(client_id), policy.checked_prompt(prompt)
        if not await queries.is_cached(ctx.db, ctx.scope, owner, policy.scene_key(checked, shape)):
            await throttle(ctx, policy.scenes_limit)
        async with ctx.transaction() as tx:
            kept = replace(
                policy, scene_lifetime=await scene_lifetime(tx, ctx.scope, owner, info.context.services.retention)
            )
            answer = await commands.request_scene(tx, ctx.scope, kept, prompt=prompt, shape=shape, client_id=owner)
        row = (await queries.scenes_by_ids(ctx.db, ctx.scope, [answer.scene_id]))[0]
        if row is None:
            raise NotFound("There is no such scene any more.", sceneId=answer.scene_id)
        return GeneratedScene(cache=answer.cache, scene=row)  # type: ignore[arg-type] # rows are what is resolved

    @operation(Permission.IMAGES_WRITE, ClearedSceneCache)
    async def clear_scene_cache(self, info: Info, client_id: strawberry.ID | None = None) -> ClearedSceneCache:
        """Forget all scenes of a client. Their images stay, and go when the policy for images says so.

        Whoever sees all clients names the one that is meant.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            cleared = await commands.clear_scenes(tx, ctx.scope, client_id=client_id)
        return ClearedSceneCache(scenes=cleared)

    @operation(Permission.IMAGES_WRITE, SceneCacheCleanup)
    async def cleanup_scene_cache(
        self, info: Info, dry_run: bool = False, client_id: strawberry.ID | None = None
    ) -> SceneCacheCleanup:
        """Forget the scenes that are over, of a client or of all that the caller may see; also done every hour.

        At most 1,000 go at once: call it again while `removed` is less than `expired`.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            expired = await commands.expired_scenes(tx, ctx.scope, client_id=client_id)
            removed = 0 if dry_run else await commands.sweep_scenes(tx, ctx.scope, client_id=client_id)
        return SceneCacheCleanup(dry_run=dry_run, expired=expired, removed=removed)
