"""What people do with images: feature, tag, delete, restore, count a use. One or many in one statement.

Deletion is soft: row and bytes stay until retention takes them, and every list leaves the image out unless asked.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Column, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.images.models import ImageRow, images
from domain.images.tags import MOST_TAGS, checked_tags
from domain.kit.errors import Conflict, Invalid, NotFound, Refusal
from domain.kit.ids import is_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id, Json
from domain.kit.transactions import Transaction

MOST_IMAGES = 1_000


@dataclass(frozen=True, slots=True)
class ImageResult:
    """What became of one image: changed, as it was already, or refused."""

    image_id: str
    changed: bool = False
    refusal: Refusal | None = None


_ids = images.c.id == func.any(bindparam("ids", type_=ARRAY(Id)))
_HOLD = Statement(
    select(*(images.c[name] for name in ImageRow.__annotations__))
    .where(_ids, visible(images.c.client_id))
    .order_by(images.c.id)  # so that two transactions that hold some of the same never wait for each other
    .with_for_update(),
    ImageRow,
)
_FEATURE = Statement(update(images).where(_ids).values(featured=bindparam("new_featured", type_=Boolean)))
_DELETE = Statement(update(images).where(_ids).values(deleted_at=func.now()))
_RESTORE = Statement(update(images).where(_ids).values(deleted_at=None))
_tagged = (
    func.jsonb_to_recordset(bindparam("rows", type_=Json))
    .table_valued(Column("id", Id), Column("tags", ARRAY(TEXT)))
    .render_derived(name="tagged", with_types=True)
)
_TAG = Statement(update(images).where(images.c.id == _tagged.c.id).values(tags=_tagged.c.tags))


class _Used(Row):
    client_id: str
    uses: int


_USE = Statement(
    update(images)
    .where(images.c.id == bindparam("image"), images.c.deleted_at.is_(None), visible(images.c.client_id))
    .values(uses=images.c.uses + 1, last_used_at=func.now())
    .returning(images.c.client_id, images.c.uses),
    _Used,
)


async def feature_images(tx: Transaction, scope: Scope, ids: Sequence[str], featured: bool) -> list[ImageResult]:
    """Put images forward, or no longer; one result for each id, in their order. Retention keeps what is featured.

    Raises Invalid for more than 1,000 ids. An image that is deleted is refused in its result.
    """

    def planned(image: ImageRow) -> Mapping[str, Any]:
        _demand_there(image)
        return {} if image.featured == featured else {"featured": featured}

    found, plans, results = await _planned(tx, scope, ids, planned)
    if plans:
        await tx.all(_FEATURE, ids=list(plans), new_featured=featured)
    for image_id, after in plans.items():
        _tell(tx, scope, "image.featured" if featured else "image.unfeatured", found[image_id], after)
    return results


async def tag_images(
    tx: Transaction, scope: Scope, ids: Sequence[str], *, add: Sequence[str] = (), remove: Sequence[str] = ()
) -> list[ImageResult]:
    """Add tags to images and take others away; results and errors as above."""
    adding, removing = checked_tags(add, argument="add"), checked_tags(remove, argument="remove")
    if both := set(adding) & set(removing):
        raise Invalid("A tag is either added or removed.", argument="add", given=min(both))
    if not adding and not removing:
        raise Invalid("Say which tags to add or to remove.", argument="add")

    def planned(image: ImageRow) -> Mapping[str, Any]:
        _demand_there(image)
        tags = sorted((set(image.tags) | set(adding)) - set(removing))
        if len(tags) > max(MOST_TAGS, len(image.tags)):
            raise Invalid(f"It would have more than {MOST_TAGS} tags.", argument="add")
        return {} if tags == sorted(image.tags) else {"tags": tags}

    found, plans, results = await _planned(tx, scope, ids, planned)
    if plans:
        await tx.all(_TAG, rows=[{"id": image_id, **after} for image_id, after in plans.items()])
    for image_id, after in plans.items():
        _tell(tx, scope, "image.tagged", found[image_id], after)
    return results


async def delete_images(tx: Transaction, scope: Scope, ids: Sequence[str]) -> list[ImageResult]:
    """Delete images softly; results and errors as above. No new link to them is given from then on."""
    found, plans, results = await _planned(
        tx, scope, ids, lambda image: {"deleted": True} if _is_there(image) else {}
    )
    if plans:
        await tx.all(_DELETE, ids=list(plans))
    for image_id, after in plans.items():
        _tell(tx, scope, "image.deleted", found[image_id], after)
    return results


async def restore_images(tx: Transaction, scope: Scope, ids: Sequence[str]) -> list[ImageResult]:
    """Undo deletions, as long as retention has not taken the images; results and errors as above."""
    found, plans, results = await _planned(
        tx, scope, ids, lambda image: {} if _is_there(image) else {"deleted": False}
    )
    if plans:
        await tx.all(_RESTORE, ids=list(plans))
    for image_id, after in plans.items():
        _tell(tx, scope, "image.restored", found[image_id], after)
    return results


async def record_image_use(tx: Transaction, scope: Scope, image_id: str) -> None:
    """Count one use. Raises NotFound, and Conflict IMAGE_DELETED for one that is deleted."""
    used = await tx.one(_USE, image=image_id, scope=scope.client_id)
    if used is None:
        rows = await tx.all(_HOLD, ids=[image_id], scope=scope.client_id)
        raise _deleted(image_id) if rows else _unknown(image_id)
    tx.emit(scope, "image.used", client_id=used.client_id, subject=("Image", image_id), uses=used.uses)


def only(results: Sequence[ImageResult]) -> str:
    """The id of the one image that was asked for. Raises its refusal."""
    (result,) = results
    if result.refusal is not None:
        raise result.refusal
    return result.image_id


_Plan = Callable[[ImageRow], Mapping[str, Any]]


async def _planned(
    tx: Transaction, scope: Scope, ids: Sequence[str], plan: _Plan
) -> tuple[dict[str, ImageRow], dict[str, Mapping[str, Any]], list[ImageResult]]:
    """The images that there are, locked; what is to change of which; and the results."""
    wanted = list(dict.fromkeys(ids))
    if len(wanted) > MOST_IMAGES:
        message = f"{len(wanted):,} ids, and at most {MOST_IMAGES:,} images are changed at once."
        raise Invalid(message, code="TOO_MANY_IMAGES", argument="ids", most=MOST_IMAGES)
    held = await tx.all(_HOLD, ids=[one for one in wanted if is_id(one)], scope=scope.client_id)
    found = {row.id: row for row in held}
    plans: dict[str, Mapping[str, Any]] = {}
    results = []
    for image_id in wanted:
        try:
            if image_id not in found:
                raise _unknown(image_id)
            plans[image_id] = plan(found[image_id])
            results.append(ImageResult(image_id, changed=bool(plans[image_id])))
        except Refusal as refusal:
            results.append(ImageResult(image_id, refusal=refusal))
    return found, {image_id: after for image_id, after in plans.items() if after}, results


def _is_there(image: ImageRow) -> bool:
    return image.deleted_at is None


def _demand_there(image: ImageRow) -> None:
    if not _is_there(image):
        raise _deleted(image.id)


def _deleted(image_id: str) -> Conflict:
    return Conflict("This image is deleted: restore it first.", code="IMAGE_DELETED", imageId=image_id)


def _unknown(image_id: str) -> Refusal:
    if not is_id(image_id):
        return Invalid("This is not an id: ids are UUIDs.", given=image_id[:100])
    return NotFound("There is no such image.", imageId=image_id)


def _tell(tx: Transaction, scope: Scope, type: str, image: ImageRow, after: Mapping[str, Any]) -> None:
    before = {name: not _is_there(image) if name == "deleted" else getattr(image, name) for name in after}
    subject = ("Image", image.id)
    tx.emit(scope, type, client_id=image.client_id, subject=subject, before=before, after=dict(after))
