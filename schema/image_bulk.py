"""Changing many images at once, and what a client has set for all of its images."""

import strawberry

from schema.describe import input_type, object_type
from schema.device_bulk import BulkError


@object_type
class BulkImageResult:
    """What became of one of many images."""

    id: strawberry.ID
    ok: bool
    changed: bool
    """Whether it is otherwise than before."""
    error: BulkError | None
    """Why not, if it is not ok: such as `NOT_FOUND`, `IMAGE_DELETED`."""


@object_type
class BulkImageResults:
    """What became of many images."""

    changed: int
    failed: int
    results: list[BulkImageResult]
    """One for each id, in their order."""


@object_type
class ImageSettings:
    """What a client has set for its images, or the defaults."""

    client_id: strawberry.ID
    thumbnail_side: int
    """Pixels of a THUMBNAIL's sides, of images that arrive from then on. By default 200."""
    preview_side: int
    """Pixels of a PREVIEW's longer side. By default 1440."""
    unchanged_distance: int
    """How many of the 64 bits of the perceptual hashes of two photos may differ for them to show the same scene.
    By default 3."""


@input_type
class ImageSettingsChanges:
    """What to set. What is absent stays, what is null is the default again."""

    thumbnail_side: int | None = strawberry.UNSET
    """32 to 512 pixels."""
    preview_side: int | None = strawberry.UNSET
    """256 to 4096 pixels."""
    unchanged_distance: int | None = strawberry.UNSET
    """0 to 16 bits."""
