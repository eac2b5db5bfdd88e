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
    """ORIGINAL is the file as it came, without its metadata. DISPLAY is full-size, upright, without metadata.
    PREVIEW is the same, with no side above what the client has set (1440 pixels). THUMBNAIL is a square of what the
    client has set (200 pixels), cut from the middle."""

    ORIGINAL = "ORIGINAL"
    DISPLAY = "DISPLAY"
    PREVIEW = "PREVIEW"
    THUMBNAIL = "THUMBNAIL"


@enum
class ImageFormat(StrEnum):
    """What a variant is encoded as; an ORIGINAL stays what it is."""

    WEBP = "WEBP"
    AVIF = "AVIF"


@enum
class DeletedImages(StrEnum):
    """Whether deleted images are listed."""

    EXCLUDED = "EXCLUDED"
    INCLUDED = "INCLUDED"
    ONLY = "ONLY"


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
    uploaded_by: str | None
    """Who posted it: `USER:` or `CLIENT:` and the id. Null for a device's photo."""
    prompt: str | None
    """What it shows, in words: as it was posted with, or generated from."""
    tags: list[str]
    """In lower case and in alphabetical order."""
    featured: bool
    """Put forward by somebody. Retention keeps it."""
    uses: int
    """How often `recordImageUse` was called."""
    last_used_at: datetime | None
    """When it was called last."""
    deleted_at: datetime | None
    """When it was deleted: it can be restored until retention takes it. Null while it is there."""
    unchanged_since: datetime | None
    """If it shows the same scene as the device's photo before it: when the first photo of that scene was taken."""
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
    async def url(
        self, variant: ImageVariant = ImageVariant.DISPLAY, format: ImageFormat = ImageFormat.WEBP
    ) -> str | None:
        """A signed link to the bytes, which works for an hour or two and stays the same meanwhile.

        Null until READY, when REJECTED, and when deleted. A PREVIEW, and anything in AVIF, is made when its link is
        first followed, which then takes a moment.
        """

    @relation
    async def device(self) -> Annotated["Device", strawberry.lazy("schema.devices")] | None:
        """The device that took it, even if that was deregistered since."""

    @classmethod
    def is_type_of(cls, row: object, info: object) -> bool:
        return isinstance(row, ImageRow)


@input_type
class SimilarTo:
    """Images of the same client that look like this one, by perceptual hash: the 1,000 nearest, but not itself."""

    image_id: strawberry.ID
    distance: int = 8
    """How many of the 64 bits may differ, 0 to 16."""


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
    sources: list[ImageSource] | None = None
    """From any of these."""
    search: str | None = None
    """By words of prompt and tags: all of them, `"a phrase"`, `this or that`, `-without`."""
    tags: list[str] | None = None
    """With all of these."""
    featured: bool | None = None
    unchanged: bool | None = None
    """Whether it shows the same scene as the device's photo before it."""
    similar_to: SimilarTo | None = None
    deleted: DeletedImages | None = None
    """Deleted images are left out unless asked for."""
