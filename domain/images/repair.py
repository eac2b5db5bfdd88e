"""Images whose blobs were lost: what can be made again of the original is made again."""

from collections.abc import Sequence

from sqlalchemy import bindparam, delete, func, or_, text, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.images.models import ImageStatus, image_variants, images
from domain.images.uploads import PROCESS_IMAGE
from domain.kit.scope import Scope, visible
from domain.kit.sql import Statement
from domain.kit.transactions import Transaction

_lost = bindparam("lost", type_=ARRAY(TEXT))
_MADE_OF_THE_ORIGINAL = (images.c.clean_key, images.c.display_key, images.c.thumbnail_key)
_AGAIN = Statement(
    update(images)
    .where(
        images.c.status == ImageStatus.READY.value,
        or_(*(key == func.any(_lost) for key in _MADE_OF_THE_ORIGINAL)),
        images.c.original_key != func.all(_lost),
        visible(images.c.client_id),
    )
    .values(status=ImageStatus.RECEIVED.value, attempts=0, lease_until=func.now() + text("interval '60 seconds'"))
    .returning(images.c.id)
)
_FORGET_VARIANTS = Statement(
    delete(image_variants).where(image_variants.c.blob_key == func.any(_lost)).returning(image_variants.c.image_id)
)


async def make_again(tx: Transaction, scope: Scope, lost: Sequence[str]) -> int:
    """Process the images again that have lost something but their original; returns how many.

    Sizes that were made when somebody asked are forgotten, and made when somebody asks again.
    """
    rows = await tx.all(_AGAIN, lost=list(lost), scope=scope.client_id)
    for row in rows:
        tx.enqueue(PROCESS_IMAGE, image_id=row.id)
    await tx.all(_FORGET_VARIANTS, lost=list(lost))
    return len(rows)
