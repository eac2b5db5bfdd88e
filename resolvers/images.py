"""Images: root operations, links to their bytes, and the lists of them under devices."""

from collections.abc import Sequence
from typing import Any

import strawberry

from domain.devices.models import DeviceRow
from domain.images import queries
from domain.images.models import ImageRow
from domain.kit.paging import Page, page_size
from domain.kit.written import EVERYTHING, Wanted
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.devices import Device
from schema.images import Image, ImageFilter, ImageOrder, ImageVariant
from schema.pages import Connection
from schema.relation import answers

_LINK_LIFETIME = 3600.0  # seconds
_KEYS = {
    ImageVariant.ORIGINAL: "clean_key",
    ImageVariant.DISPLAY: "display_key",
    ImageVariant.THUMBNAIL: "thumbnail_key",
}


@strawberry.type
class ImageQuery:
    @operation(Permission.IMAGES_READ, Connection[Image])
    async def images(
        self,
        info: Info,
        filter: ImageFilter | None = None,
        order: ImageOrder = ImageOrder.RECEIVED_AT_DESC,
        first: int = 20,
        after: str | None = None,
    ) -> Page[ImageRow]:
        """The images that the caller may see. `first` is at most 100."""
        ctx = info.context
        return await queries.list_images(
            ctx.db,
            ctx.scope,
            order=order.name,
            first=page_size(first),
            after=after,
            wanted=wanted_of(info),
            **_filters(filter),
        )

    @operation(Permission.IMAGES_READ, Image | None)
    async def image(self, info: Info, id: strawberry.ID) -> ImageRow | None:
        """One image; null when there is none that the caller may see."""
        return await queries.image_by_id(info.context.db, info.context.scope, id, wanted_of(info))


@answers(Device, "images", reads=["id"])
async def images_of(
    ctx: Context,
    devices: Sequence[DeviceRow],
    *,
    filter: ImageFilter | None,
    order: ImageOrder,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
) -> list[Page[ImageRow]]:
    return await queries.images_of_devices(
        ctx.db,
        ctx.scope,
        [device["id"] for device in devices],
        order=order.name,
        first=page_size(first),
        after=after,
        wanted=wanted,
        **_filters(filter),
    )


@answers(Image, "url", reads=list(_KEYS.values()))
async def url_of(ctx: Context, images: Sequence[ImageRow], *, variant: ImageVariant) -> list[str | None]:
    blobs = ctx.services.blobs
    keys = [getattr(image, _KEYS[variant]) for image in images]
    return [key and blobs.signed_url(key, expires_in=_LINK_LIFETIME) for key in keys]


def _filters(filter: ImageFilter | None) -> dict[str, Any]:
    filters = dict(vars(filter)) if filter else {}
    if statuses := filters.get("statuses"):
        filters["statuses"] = [status.value for status in statuses]
    return filters
