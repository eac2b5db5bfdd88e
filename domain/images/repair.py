"""Images whose blobs were lost: what can be made again of the original is made again."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.images.models import ImageStatus, image_variants, images
from domain.images.uploads import PROCESS_IMAGE
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction


class DamagedRow(Row):
    """An image that lost something but its original, and what that must be: `size_bytes`, `sha256` in hex."""

    id: str
    original_key: str
    size_bytes: int
    sha256: str


_lost = bindparam("lost", type_=ARRAY(TEXT))
_MADE_OF_THE_ORIGINAL = (images.c.clean_key, images.c.display_key, images.c.thumbnail_key)
_is_damaged = (
    images.c.status == ImageStatus.READY.value,
    or_(*(key == func.any(_lost) for key in _MADE_OF_THE_ORIGINAL)),
    visible(images.c.client_id),
)
_COLUMNS = [images.c[name] for name in DamagedRow.__annotations__]
_DAMAGED = Statement(select(*_COLUMNS).where(*_is_damaged), DamagedRow)
_AGAIN = Statement(
    update(images)
    .where(images.c.id == func.any(bindparam("damaged", type_=ARRAY(Id))), *_is_damaged)
    .values(status=ImageStatus.RECEIVED.value, attempts=0, lease_until=func.now() + text("interval '60 seconds'"))
    .returning(images.c.id, *_MADE_OF_THE_ORIGINAL)
)
_FORGET_VARIANTS = Statement(
    delete(image_variants).where(image_variants.c.blob_key == func.any(_lost)).returning(image_variants.c.blob_key)
)


async def damaged(db: Runner, scope: Scope, lost: Sequence[str]) -> list[DamagedRow]:
    """READY images that name one of these keys as something that is made of the original."""
    return await db.all(_DAMAGED, lost=list(lost), scope=scope.client_id)


async def make_again(
    tx: Transaction, scope: Scope, found: Sequence[DamagedRow], lost: Sequence[str]
) -> tuple[int, set[str]]:
    """Process the images again, which must have whole originals: those that have none end as REJECTED. Returns how
    many there are, and which of the lost keys they name.
    """
    rows = await tx.all(_AGAIN, damaged=[image.id for image in found], lost=list(lost), scope=scope.client_id)
    for row in rows:
        tx.enqueue(PROCESS_IMAGE, image_id=row.id)
    named = {row[key.name] for row in rows for key in _MADE_OF_THE_ORIGINAL}
    return len(rows), named & set(lost)


async def forget_variants(tx: Transaction, scope: Scope, lost: Sequence[str]) -> set[str]:
    """Forget sizes that were made when somebody asked, to be made when somebody asks again; returns their keys."""
    return {row.blob_key for row in await tx.all(_FORGET_VARIANTS, lost=list(lost))}
