"""Which columns name blobs. The one list: a blob that no column in here names is garbage.

A feature that keeps blobs adds its columns, with a first part of the keys (`kind`) of its own. Of kinds that are
not in here nothing is ever taken away, so forgetting to add one costs space, not data; a test finds it.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, ColumnElement, Select, Text, cast, literal, null, select, union_all

from domain.firmware.models import firmwares
from domain.images.models import image_variants, images


@dataclass(frozen=True, slots=True)
class BlobReference:
    """A column of keys. `size` (bytes) and `sha256` (hex) are those of the blob, where the row knows them. `where`
    leaves out what another reference names already; `joined` says how to come to the client from another table.
    """

    kind: str
    key: Column[Any]
    client: Column[Any]
    size: Column[Any] | None = None
    sha256: Column[Any] | None = None
    where: ColumnElement[bool] | None = None
    joined: Any = None

    def named(self) -> Select[Any]:
        """Rows `kind key size sha256 client_id`, one for each blob that is named."""
        columns = (
            literal(self.kind, Text).label("kind"),
            self.key.label("key"),
            (cast(null(), BigInteger) if self.size is None else self.size).label("size"),
            (cast(null(), Text) if self.sha256 is None else self.sha256).label("sha256"),
            self.client.label("client_id"),
        )
        query = select(*columns).where(self.key.is_not(None))
        if self.joined is not None:
            query = query.select_from(self.joined)
        return query if self.where is None else query.where(self.where)


BLOB_REFERENCES = (
    BlobReference(
        "originals", images.c.original_key, images.c.client_id, size=images.c.size_bytes, sha256=images.c.sha256
    ),
    BlobReference(
        "clean", images.c.clean_key, images.c.client_id, where=images.c.clean_key != images.c.original_key
    ),
    BlobReference("display", images.c.display_key, images.c.client_id),
    BlobReference("thumbnails", images.c.thumbnail_key, images.c.client_id),
    BlobReference(
        "variants",
        image_variants.c.blob_key,
        images.c.client_id,
        size=image_variants.c.size_bytes,
        joined=image_variants.join(images, images.c.id == image_variants.c.image_id),
    ),
    BlobReference(
        "firmware",
        firmwares.c.blob_key,
        firmwares.c.client_id,
        size=firmwares.c.size_bytes,
        sha256=firmwares.c.sha256,
        where=firmwares.c.deleted_at.is_(None),
    ),
)
KINDS = tuple(reference.kind for reference in BLOB_REFERENCES)

named = union_all(*(reference.named() for reference in BLOB_REFERENCES)).subquery("named")
"""Every blob that the database names: `kind key size sha256 client_id`."""
