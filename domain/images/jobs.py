"""The life of an image's processing, as rows: claimed by a worker, finished or given up, sent again.

The row holds the attempts and the lease, so a job message that comes twice, late or never changes
nothing: whoever claims the row works on it, and a lease that ran out is sent again by the relay.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import BigInteger, Interval, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.images.models import ImageJobRow, ImageStatus, image_settings, images
from domain.images.scenes import correct_following, hold_scenes, since_before
from domain.images.settings import DEFAULTS
from domain.images.uploads import LEASE, PROCESS_IMAGE, believable
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.tables import Json, Moment
from domain.kit.transactions import Transaction

MAX_ATTEMPTS = 5
_RESENT_AT_ONCE = 500

# As in the index that makes it cheap (`ix_images_lease`).
_waiting = text("status IN ('RECEIVED', 'PROCESSING')")
_SET = {name: getattr(DEFAULTS, name) for name in ("thumbnail_side", "unchanged_distance")}
_JOB_COLUMNS = [
    *(images.c[name] for name in ImageJobRow.__annotations__ if name not in _SET),
    *(
        func.coalesce(
            select(image_settings.c[name])
            .where(image_settings.c.client_id == images.c.client_id)
            .correlate(images)
            .scalar_subquery(),
            default,
        ).label(name)
        for name, default in _SET.items()
    ),
]

_CLAIM = Statement(
    update(images)
    .where(
        images.c.id == bindparam("image"),
        or_(
            images.c.status == ImageStatus.RECEIVED.value,
            (images.c.status == ImageStatus.PROCESSING.value) & (images.c.lease_until < func.now()),
        ),
    )
    .values(
        status=ImageStatus.PROCESSING.value,
        attempts=images.c.attempts + 1,
        lease_until=func.now() + bindparam("lease", type_=Interval),
    )
    .returning(*_JOB_COLUMNS),
    ImageJobRow,
)
_mine = (
    images.c.id == bindparam("image"),
    images.c.status == ImageStatus.PROCESSING.value,
    images.c.attempts == bindparam("attempt"),
)
_READY = Statement(
    update(images)
    .where(*_mine)
    .values(
        status=ImageStatus.READY.value,
        processed_at=func.now(),
        lease_until=None,
        private=bindparam("new_private", type_=Json),
        unchanged_since=since_before(bindparam("new_phash", type_=BigInteger)),
        captured_at=func.coalesce(bindparam("new_captured_at", type_=Moment), images.c.captured_at),
        device_captured_at=func.coalesce(images.c.device_captured_at, bindparam("exif_time", type_=Moment)),
        **{
            name: bindparam(f"new_{name}", type_=images.c[name].type)
            for name in ("clean_key", "display_key", "thumbnail_key", "width", "height", "phash")
        },
    )
    .returning(images.c.unchanged_since)
)
_REJECTED = Statement(
    update(images)
    .where(*_mine)
    .values(
        status=ImageStatus.REJECTED.value,
        processed_at=func.now(),
        lease_until=None,
        rejection_code=bindparam("code", type_=TEXT),
        rejection_message=bindparam("message", type_=TEXT),
    )
    .returning(images.c.client_id, images.c.device_id)
)
_OVERDUE = (
    select(images.c.id)
    .where(_waiting, images.c.lease_until < func.now())
    .order_by(images.c.lease_until)
    .limit(_RESENT_AT_ONCE)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
_RESEND = Statement(
    update(images)
    .where(images.c.id.in_(_OVERDUE))
    .values(status=ImageStatus.RECEIVED.value, lease_until=func.now() + bindparam("lease", type_=Interval))
    .returning(images.c.id)
)


async def claim_image(tx: Transaction, scope: Scope, image_id: str) -> ImageJobRow | None:
    """Take an image that waits. None when it is finished, gone, or with another worker."""
    return await tx.one(_CLAIM, image=image_id, lease=LEASE)


async def finish_image(
    tx: Transaction,
    scope: Scope,
    job: ImageJobRow,
    *,
    clean_key: str,
    display_key: str,
    thumbnail_key: str,
    width: int,
    height: int,
    perceptual_hash: int,
    exif_time: datetime | None,
    private: dict[str, Any],
) -> None:
    """READY, unless the lease ran out and somebody else has the image now.

    `clean_key` is that of the original when nothing had to be taken out of it, `width` and `height` are pixels of
    the display variant, `perceptual_hash` is unsigned.
    """
    believed = None
    if exif_time is not None and job.device_captured_at is None:
        believed = believable(exif_time, job.received_at, sent_by_device=job.device_id is not None)
    if job.device_id is not None:
        await hold_scenes(tx, scope, job.device_id)
    row = await tx.one(
        _READY,
        image=job.id,
        attempt=job.attempts,
        new_clean_key=clean_key,
        new_display_key=display_key,
        new_thumbnail_key=thumbnail_key,
        new_width=width,
        new_height=height,
        new_phash=perceptual_hash - (1 << 64) if perceptual_hash >> 63 else perceptual_hash,
        new_captured_at=believed,
        exif_time=exif_time,
        new_private=private,
        unchanged_distance=job.unchanged_distance,
    )
    if row is None:
        return
    if job.device_id is not None:
        await correct_following(tx, scope, job.id, job.unchanged_distance)
    _emit(tx, scope, "image.ready", job, width=width, height=height, unchangedSince=row.unchanged_since)


async def reject_image(tx: Transaction, scope: Scope, job: ImageJobRow, *, code: str, message: str) -> None:
    """REJECTED for good, with a reason for a person (`message`) and for a program (`code`)."""
    row = await tx.one(_REJECTED, image=job.id, attempt=job.attempts, code=code, message=message)
    if row:
        _emit(tx, scope, "image.rejected", job, code=code, message=message)


async def resend_overdue_images(tx: Transaction, scope: Scope) -> int:
    """Send the jobs of images again whose worker did not come back. Returns how many; at most 500 at once."""
    rows = await tx.all(_RESEND, lease=LEASE)
    for row in rows:
        tx.enqueue(PROCESS_IMAGE, image_id=row.id)
    return len(rows)


def _emit(tx: Transaction, scope: Scope, type: str, job: ImageJobRow, **data: Any) -> None:
    tx.emit(scope, type, client_id=job.client_id, subject=("Image", job.id), deviceId=job.device_id, **data)
