"""What people do with images: root operations."""

from collections.abc import Sequence
from dataclasses import asdict

import strawberry

from domain.images import commands, queries, settings
from domain.images.commands import ImageResult, only
from domain.images.models import ImageRow
from domain.kit.errors import NotFound
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation
from schema.device_bulk import BulkError
from schema.image_bulk import BulkImageResult, BulkImageResults, ImageSettings, ImageSettingsChanges
from schema.images import Image


@strawberry.type
class ImageSettingsQuery:
    @operation(Permission.IMAGES_READ, ImageSettings)
    async def image_settings(self, info: Info, client_id: strawberry.ID | None = None) -> ImageSettings:
        """What a client has set for its images; `clientId` is for admins of the platform."""
        ctx = info.context
        owner = ctx.scope.owner(client_id)
        return _settings(owner, (await settings.settings_of(ctx.db, ctx.scope, [owner]))[0])


@strawberry.type
class ImageMutation:
    @operation(Permission.IMAGES_WRITE, Image)
    async def feature_image(self, info: Info, id: strawberry.ID, featured: bool = True) -> ImageRow:
        """Put an image forward, or no longer. Retention keeps those that are."""
        ctx = info.context
        async with ctx.transaction() as tx:
            image_id = only(await commands.feature_images(tx, ctx.scope, [id], featured))
        return await _image(ctx, image_id)

    @operation(Permission.IMAGES_WRITE, Image)
    async def delete_image(self, info: Info, id: strawberry.ID) -> ImageRow:
        """Delete an image. It can be restored until retention takes it; links that were given end by themselves."""
        ctx = info.context
        async with ctx.transaction() as tx:
            image_id = only(await commands.delete_images(tx, ctx.scope, [id]))
        return await _image(ctx, image_id)

    @operation(Permission.IMAGES_WRITE, Image)
    async def restore_image(self, info: Info, id: strawberry.ID) -> ImageRow:
        """Undo a deletion. Posting the same bytes again does it, too."""
        ctx = info.context
        async with ctx.transaction() as tx:
            image_id = only(await commands.restore_images(tx, ctx.scope, [id]))
        return await _image(ctx, image_id)

    @operation(Permission.IMAGES_WRITE, Image)
    async def record_image_use(self, info: Info, id: strawberry.ID) -> ImageRow:
        """Count that an image was used: shown, printed, whatever `uses` is to mean."""
        ctx = info.context
        async with ctx.transaction() as tx:
            await commands.record_image_use(tx, ctx.scope, id)
        return await _image(ctx, id)

    @operation(Permission.IMAGES_WRITE, BulkImageResults)
    async def tag_images(
        self,
        info: Info,
        ids: list[strawberry.ID],
        add: list[str] | None = None,
        remove: list[str] | None = None,
    ) -> BulkImageResults:
        """Add tags to images and take others away: of at most 1,000 (`TOO_MANY_IMAGES`), 32 tags of 64 characters.

        What is wrong with one of them is told in its result and leaves the others alone.
        """
        ctx = info.context
        async with ctx.transaction() as tx:
            return _told(await commands.tag_images(tx, ctx.scope, ids, add=add or (), remove=remove or ()))

    @operation(Permission.IMAGES_WRITE, BulkImageResults)
    async def feature_images(self, info: Info, ids: list[strawberry.ID], featured: bool = True) -> BulkImageResults:
        """As `featureImage`, with at most 1,000 images."""
        ctx = info.context
        async with ctx.transaction() as tx:
            return _told(await commands.feature_images(tx, ctx.scope, ids, featured))

    @operation(Permission.IMAGES_WRITE, BulkImageResults)
    async def delete_images(self, info: Info, ids: list[strawberry.ID]) -> BulkImageResults:
        """As `deleteImage`, with at most 1,000 images."""
        ctx = info.context
        async with ctx.transaction() as tx:
            return _told(await commands.delete_images(tx, ctx.scope, ids))

    @operation(Permission.IMAGES_WRITE, BulkImageResults)
    async def restore_images(self, info: Info, ids: list[strawberry.ID]) -> BulkImageResults:
        """As `restoreImage`, with at most 1,000 images."""
        ctx = info.context
        async with ctx.transaction() as tx:
            return _told(await commands.restore_images(tx, ctx.scope, ids))

    @operation(Permission.IMAGES_WRITE, ImageSettings)
    async def update_image_settings(
        self, info: Info, changes: ImageSettingsChanges, client_id: strawberry.ID | None = None
    ) -> ImageSettings:
        """Set the sizes of a client's images, and how alike photos of an unchanged scene are."""
        ctx = info.context
        given = {name: value for name, value in vars(changes).items() if value is not strawberry.UNSET}
        async with ctx.transaction() as tx:
            owner = await settings.update_image_settings(tx, ctx.scope, client_id, **given)
        return _settings(owner, (await settings.settings_of(ctx.db, ctx.scope, [owner]))[0])


async def _image(ctx: Context, image_id: str) -> ImageRow:
    row = (await queries.images_by_ids(ctx.db, ctx.scope, [image_id]))[0]
    if row is None:
        raise NotFound("There is no such image any more.", imageId=image_id)
    return row


def _settings(client_id: str, found: settings.ImageSettings) -> ImageSettings:
    return ImageSettings(client_id=strawberry.ID(client_id), **asdict(found))


def _told(results: Sequence[ImageResult]) -> BulkImageResults:
    return BulkImageResults(
        changed=sum(result.changed for result in results),
        failed=sum(result.refusal is not None for result in results),
        results=[_result(result) for result in results],
    )


def _result(result: ImageResult) -> BulkImageResult:
    refusal = result.refusal
    return BulkImageResult(
        id=strawberry.ID(result.image_id),
        ok=refusal is None,
        changed=result.changed,
        error=None if refusal is None else BulkError(code=refusal.code, message=refusal.message),
    )
