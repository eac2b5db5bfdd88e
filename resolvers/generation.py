"""Pictures that a model makes: root operations."""

from collections.abc import Sequence
from typing import Any

import strawberry
from limits import RateLimitItem

from domain.generation import commands, queries
from domain.generation.models import GenerationRow, ImageShape
from domain.images.models import ImageRow
from domain.images.queries import images_by_ids
from domain.images.tags import checked_tags
from domain.kit.budgets import Throttled
from domain.kit.errors import NotFound, TooMany
from domain.kit.paging import Page, page_size
from domain.scenes.models import SceneRow
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.generation import ImageGeneration, ImageGenerationFilter
from schema.pages import Connection
from schema.relation import answers
from schema.scenes import Scene


@strawberry.type
class GenerationQuery:
    @operation(Permission.IMAGES_READ, ImageGeneration | None)
    async def image_generation(self, info: Info, id: strawberry.ID) -> GenerationRow | None:
        """One generation; null when there is none that the caller may see."""
        return (await queries.generations_by_ids(info.context.db, info.context.scope, [id]))[0]

    @operation(Permission.IMAGES_READ, Connection[ImageGeneration])
    async def image_generations(
        self, info: Info, filter: ImageGenerationFilter | None = None, first: int = 20, after: str | None = None
    ) -> Page[GenerationRow]:
        """The generations that the caller may see, the newest first. `first` is at most 100."""
        ctx = info.context
        return await queries.list_generations(
            ctx.db, ctx.scope, first=page_size(first), after=after, wanted=wanted_of(info), **_filters(filter)
        )


@strawberry.type
class GenerationMutation:
    @operation(Permission.IMAGES_GENERATE, ImageGeneration)
    async def generate_image(
        self,
        info: Info,
        prompt: str,
        shape: ImageShape = ImageShape.SQUARE,
        tags: list[str] | None = None,
        client_id: strawberry.ID | None = None,
    ) -> GenerationRow:
        """Have a picture made. The answer comes at once; follow it by `imageGenerationUpdates`, or ask again.

        At most 10 a minute (`THROTTLED`). `PROMPT_DENIED`: the prompt holds what the operator does not want drawn.
        """
        ctx, policy = info.context, info.context.services.generation
        # What is refused anyway is not counted.
        ctx.scope.owner(client_id)
        policy.checked_prompt(prompt)
        checked_tags(tags or [])
        await throttle(ctx, policy.images_limit)
        async with ctx.transaction() as tx:
            generation_id = await commands.request_image(
                tx, ctx.scope, policy, prompt=prompt, shape=shape, tags=tags or [], client_id=client_id
            )
        row = (await queries.generations_by_ids(ctx.db, ctx.scope, [generation_id]))[0]
        if row is None:
            raise NotFound("There is no such generation any more.", generationId=generation_id)
        return row


async def throttle(ctx: Context, limit: RateLimitItem) -> None:
    """Count one request of the caller. Raises Throttled when it has had enough for now."""
    try:
        await ctx.services.limiter.spend(limit, ctx.principal.kind.value, str(ctx.principal.id))
    except TooMany as refusal:
        raise Throttled(refusal.message, retry_after=refusal.retry_after) from None


@answers(ImageGeneration, "image", reads=["image_id"])
@answers(Scene, "image", reads=["image_id"])
async def image_of(ctx: Context, made: Sequence[GenerationRow | SceneRow]) -> list[ImageRow | None]:
    ids = [one.image_id for one in made]
    wanted = list(dict.fromkeys(image_id for image_id in ids if image_id is not None))
    found = dict(zip(wanted, await images_by_ids(ctx.db, ctx.scope, wanted), strict=True)) if wanted else {}
    return [found.get(image_id) if image_id else None for image_id in ids]


@answers(Scene, "generation", reads=["generation_id"])
async def generation_of(ctx: Context, scenes: Sequence[SceneRow]) -> list[GenerationRow | None]:
    ids = [scene.generation_id for scene in scenes]
    wanted = list(dict.fromkeys(one for one in ids if one is not None))
    rows = await queries.generations_by_ids(ctx.db, ctx.scope, wanted) if wanted else []
    found = dict(zip(wanted, rows, strict=True))
    return [found.get(one) if one else None for one in ids]


def _filters(filter: ImageGenerationFilter | None) -> dict[str, Any]:
    filters = dict(vars(filter)) if filter else {}
    for name in ("statuses", "kinds", "failure_codes"):
        if filters.get(name) is not None:
            filters[name] = [value.value for value in filters[name]]
    return filters
