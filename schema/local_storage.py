"""What an old front end kept in the browser, and what became of it here."""

from domain.local_storage.commands import ImportOutcome
from domain.local_storage.dump import PictureKind
from schema.describe import enum, object_type
from schema.images import Image
from schema.scenes import Scene

enum(ImportOutcome)
enum(PictureKind)


@object_type
class LocalStorageResult:
    """What became of a key of the dump, or of one of the pictures in it."""

    key: str
    path: str
    """Where in the value it stands, such as `$.image`; `$` when it is the value itself."""
    kind: PictureKind
    outcome: ImportOutcome
    code: str | None
    """Why there is no picture: `NO_PICTURE`, `BAD_DATA_URL`, `BAD_BASE64`, `NOT_AN_IMAGE`, `TRUNCATED`,
    `TOO_LARGE`,
    `TOO_DEEP`, `BLOB_URL` or `REMOTE_URL`."""
    message: str | None
    """The same for people."""
    prompt: str | None
    """What it shows, as far as key or value tell."""
    image: Image | None
    """Null in a dry run, unless it was there before."""
    scene: Scene | None
    """The entry of the scene cache that shows it, where it is a scene and there is a prompt."""


@object_type
class LocalStorageImport:
    """What became of a dump. Every key of it has a result."""

    dry_run: bool
    keys: int
    """In the dump."""
    imported: int
    duplicates: int
    skipped: int
    failed: int
    results: list[LocalStorageResult]
    """In the dump's order; a key with several pictures has as many."""
