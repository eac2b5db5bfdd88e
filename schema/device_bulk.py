"""Changing many devices at once."""

import strawberry

from schema.describe import input_type, object_type


@input_type
class BulkDeviceChanges:
    """What to change of each device. What is absent or null stays as it is."""

    enabled: bool | None = None
    wake_interval_seconds: int | None = None
    """10 seconds to 30 days."""
    labels: list[str] | None = None
    """All of them: what is not among these is taken away."""
    add_labels: list[str] = strawberry.field(default_factory=list)
    """Beside those that it has; a device has at most 50."""
    remove_labels: list[str] = strawberry.field(default_factory=list)
    """Whether it has them or not."""


@object_type
class BulkError:
    """Why nothing was done with one of many."""

    code: str
    """Such as NOT_FOUND."""
    message: str


@object_type
class BulkDeviceResult:
    """What became of one of many devices."""

    id: strawberry.ID
    key: str | None
    """Null when there is no such device."""
    ok: bool
    changed: bool
    """Whether it is otherwise than before; in a dry run, whether it would be."""
    error: BulkError | None
    """Why not, if it is not ok."""


@object_type
class BulkDeviceResults:
    """What became of many devices."""

    dry_run: bool
    """If so, nothing was changed."""
    matched: int
    """How many there are a result for."""
    changed: int
    failed: int
    results: list[BulkDeviceResult]
    """One for each device, at most 1,000; of given ids in their order."""
