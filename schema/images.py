"""Images: what arrived, what became of it, and where to look at it."""

from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import strawberry

from domain.images.models import ImageRow, ImageSource, ImageStatus
from schema.describe import computed, enum, input_type, object_type
from schema.nodes import Node
from schema.relation import relation

if TYPE_CHECKING:
    from schema.devices import Device

enum(ImageStatus)
enum(ImageSource)


@enum
class ImageVariant(StrEnum):
    """ORIGINAL is the file as it came, without its metadata. DISPLAY is full-size WebP, upright, without
    metadata. THUMBNAIL is WebP of 200×200 pixels, cut from the middle."""

    ORIGINAL = "ORIGINAL"
    DISPLAY = "DISPLAY"
    THUMBNAIL = "THUMBNAIL"


@enum
class ImageOrder(StrEnum):
    """How images are sorted."""

    RECEIVED_AT_ASC = "RECEIVED_AT_ASC"
    RECEIVED_AT_DESC = "RECEIVED_AT_DESC"
    CAPTURED_AT_ASC = "CAPTURED_AT_ASC"
    CAPTURED_AT_DESC = "CAPTURED_AT_DESC"


@object_type
class Rejection:
    """Why an image could not be used."""

    code: str
    """For programs, such as `TRUNCATED`, `CORRUPT`, `TOO_MANY_PIXELS`, `GAVE_UP`."""
    message: str
    """For people."""


@object_type
class Image(Node):
    """A photo, from the moment its bytes are safe."""

    source: ImageSource
    status: ImageStatus
    content_type: str
    """Of the file that came, by its content: `image/jpeg`, `image/png` or `image/webp`."""
    size_bytes: int
    """Of the file that came; the ORIGINAL variant may have fewer, for want of metadata."""
    sha256: str
    """Of the file that came, in hex."""
    width: int | None
    """Pixels of the DISPLAY variant; null until READY."""
    height: int | None
    """Pixels of the DISPLAY variant; null until READY."""
    received_at: datetime
    """When the server had it."""
    captured_at: datetime
    """When it was taken, as the device said; when it was received, if the device said nothing credible."""
    device_captured_at: datetime | None
    """When the device, or the file's own metadata, claims it was taken, credible or not."""
    processed_at: datetime | None
    """When it became READY or REJECTED."""
    phash: strawberry.Private[int | None]
    rejection_code: strawberry.Private[str | None]
    rejection_message: strawberry.Private[str | None]

    @computed("phash")
    def perceptual_hash(self) -> str | None:
        """64 bits in hex that differ in few places between photos that look alike; null until READY."""
        return None if self.phash is None else f"{self.phash & 0xFFFF_FFFF_FFFF_FFFF:016x}"

    @computed("rejection_code", "rejection_message")
    def rejection(self) -> Rejection | None:
        """Why it is REJECTED; null otherwise."""
        if self.rejection_code is None or self.rejection_message is None:
            return None
        return Rejection(code=self.rejection_code, message=self.rejection_message)

    @relation
    async def url(self, variant: ImageVariant = ImageVariant.DISPLAY) -> str | None:
        """A signed link to the bytes, which works for an hour or two; null until READY, and when REJECTED."""

    @relation
    async def device(self) -> Annotated["Device", strawberry.lazy("schema.devices")] | None:
        """The device that took it, even if that was deregistered since."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, ImageRow)


@input_type
class ImageFilter:
    """Which images; all conditions must hold."""

    client_id: strawberry.ID | None = None
    device_id: strawberry.ID | None = None
    statuses: list[ImageStatus] | None = None
    """Any of these."""
    captured_since: datetime | None = None
    """Taken at this time or later."""
    captured_until: datetime | None = None
    """Taken before this time."""
