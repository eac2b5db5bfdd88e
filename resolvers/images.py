"""Images: root operations, links to their bytes, and the lists of them under devices."""

from collections.abc import Sequence
from typing import Any

import strawberry
from orjson import Fragment

from domain.devices.models import DeviceRow
from domain.images import queries
from domain.images.models import ImageRow
from domain.images.settings import ImageSettings, settings_of
from domain.images.variants import VariantName, variant_key
from domain.kit.paging import Page, page_size
from domain.kit.written import EVERYTHING, Wanted
from domain.users.principals import Permission
from resolvers.context import Context, Info
from resolvers.operation import operation, wanted_of
from schema.devices import Device
from schema.images import Image, ImageFilter, ImageFormat, ImageOrder, ImageVariant
from schema.pages import Connection
from schema.relation import answers

_LINK_LIFETIME = 3600.0  # seconds
_STORED = {
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
    async def image(self, info: Info, id: strawberry.ID) -> ImageRow | Fragment | None:
        """One image, also a deleted one; null when there is none that the caller may see."""
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


@answers(Image, "url", reads=["id", "client_id", "deleted_at", "width", "height", *_STORED.values()])
async def url_of(
    ctx: Context, images: Sequence[ImageRow], *, variant: ImageVariant, format: ImageFormat
) -> list[str | None]:
    blobs, links = ctx.services.blobs, ctx.services.links
    if variant in _STORED and (format is ImageFormat.WEBP or variant is ImageVariant.ORIGINAL):
        keys = [None if image.deleted_at else getattr(image, _STORED[variant]) for image in images]
        return [key and blobs.signed_url(key, expires_in=_LINK_LIFETIME) for key in keys]
    found = await settings_of(ctx.db, ctx.scope, [image.client_id for image in images])
    urls: list[str | None] = []
    for image, settings in zip(images, found, strict=True):
        if image.deleted_at is not None or image.display_key is None:
            urls.append(None)
        elif (name := _to_be_made(image, settings, variant, format)) is None:
            urls.append(blobs.signed_url(image.display_key, expires_in=_LINK_LIFETIME))
        else:
            # Always a link of ours, wherever blobs are: who follows it first is who waits for its making.
            urls.append(links.link(variant_key(image.id, name), _LINK_LIFETIME))
    return urls


def _to_be_made(
    image: ImageRow, settings: ImageSettings, variant: ImageVariant, format: ImageFormat
) -> VariantName | None:
    """What is not made with every image; None where that is no other than the display."""
    suffix = format.value.lower()
    if variant is ImageVariant.THUMBNAIL:
        return VariantName("thumbnail", settings.thumbnail_side, suffix)
    if variant is ImageVariant.DISPLAY:
        return VariantName("display", None, suffix)
    if format is ImageFormat.WEBP and max(image.width or 0, image.height or 0) <= settings.preview_side:
        return None
    return VariantName("preview", settings.preview_side, suffix)


def _filters(filter: ImageFilter | None) -> dict[str, Any]:
    """As `domain.images.filters.given` takes them."""
    filters = dict(vars(filter)) if filter else {}
    for name in ("statuses", "sources"):
        if filters.get(name) is not None:
            filters[name] = [one.value for one in filters[name]]
    if (deleted := filters.get("deleted")) is not None:
        filters["deleted"] = deleted.value
    if (similar := filters.pop("similar_to", None)) is not None:
        filters |= {"similar_to": similar.image_id, "distance": similar.distance}
    return filters
