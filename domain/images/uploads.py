"""Accepting an image that a device sent: at most once, and durable before anybody is told so.

By the time these are called the bytes are already safe in the blob store; here the row that names them is
written together with the event and the job that will look at the image.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Interval, and_, bindparam, exists, false, func, literal, or_, select, true
from sqlalchemy.dialects.postgresql import TEXT, insert

from domain.devices.wakes import ReportingDevice
from domain.images.formats import CONTENT_TYPES
from domain.images.models import ImageSource, ImageStatus, images
from domain.kit.errors import Conflict
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id, Moment
from domain.kit.transactions import Transaction

PROCESS_IMAGE = "process_image"
DUPLICATE_WINDOW = timedelta(hours=24)
LEASE = timedelta(seconds=60)
_CLOCK_AHEAD = timedelta(minutes=5)
_CLOCK_BEHIND = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Upload:
    """What arrived. `sha256` is hex; `device_captured_at` is what the device's clock said, if anything."""

    image_id: str
    content_type: str
    size: int
    sha256: str
    blob_key: str
    received_at: datetime
    device_captured_at: datetime | None
    idempotency_key: str | None


@dataclass(frozen=True, slots=True)
class Accepted:
    """`image_id` is the first one's when this is a duplicate of it."""

    image_id: str
    duplicate: bool


class _Outcome(Row):
    duplicate_id: str | None
    duplicate_sha256: str | None


_INSERTED: dict[str, Any] = {
    "id": Id,
    "client_id": Id,
    "device_id": Id,
    "source": TEXT,
    "status": TEXT,
    "content_type": TEXT,
    "size_bytes": images.c.size_bytes.type,
    "sha256": TEXT,
    "original_key": TEXT,
    "captured_at": Moment,
    "device_captured_at": Moment,
    "idempotency_key": TEXT,
}
_same_bytes = and_(
    images.c.sha256 == bindparam("sha256", type_=TEXT),
    images.c.received_at > func.now() - bindparam("window", type_=Interval),
    # A second photo under its own key is wanted, even when not a pixel changed.
    or_(bindparam("idempotency_key", type_=TEXT).is_(None), images.c.idempotency_key.is_(None)),
)
_duplicate = (
    select(images.c.id, images.c.sha256)
    .where(
        images.c.device_id == bindparam("device_id", type_=Id),
        or_(images.c.idempotency_key == bindparam("idempotency_key", type_=TEXT), _same_bytes),
    )
    # What was sent under this key counts before what only has the same bytes: another image's is a conflict.
    .order_by(
        func.coalesce(images.c.idempotency_key == bindparam("idempotency_key", type_=TEXT), false()).desc(),
        images.c.id,
    )
    .limit(1)
    .cte("duplicate")
)
_new = (
    insert(images)
    .from_select(
        [*_INSERTED, "lease_until"],
        select(
            *(bindparam(name, type_=kind) for name, kind in _INSERTED.items()),
            func.now() + bindparam("lease", type_=Interval),
        ).where(~exists(select(_duplicate.c.id))),
    )
    .returning(images.c.id)
    .cte("new")
)
_ACCEPT = Statement(
    select(_duplicate.c.id.label("duplicate_id"), _duplicate.c.sha256.label("duplicate_sha256"))
    .select_from(select(literal(True)).subquery().outerjoin(_duplicate, true()))
    .add_cte(_new),
    _Outcome,
)


def blob_key(image_id: str, content_type: str, sha256: str, received_at: datetime) -> str:
    """Where an original is kept: by day, named by time and content, told apart by the row that owns it."""
    stem = f"{received_at:%Y/%m/%d/%H%M%S}-{sha256[:32]}-{image_id[-12:]}"
    return f"originals/{stem}.{CONTENT_TYPES[content_type]}"


async def accept_upload(tx: Transaction, scope: Scope, device: ReportingDevice, upload: Upload) -> Accepted:
    """Write the image of a device that is held, unless it is there already.

    It is a duplicate when the device sent the same bytes within 24 hours, or the same idempotency key ever.
    Raises Conflict when the key was used for other bytes.
    """
    outcome = await tx.one(
        _ACCEPT,
        id=upload.image_id,
        client_id=device.client_id,
        device_id=device.id,
        source=ImageSource.DEVICE.value,
        status=ImageStatus.RECEIVED.value,
        content_type=upload.content_type,
        size_bytes=upload.size,
        sha256=upload.sha256,
        original_key=upload.blob_key,
        captured_at=believable(upload.device_captured_at, upload.received_at),
        device_captured_at=upload.device_captured_at,
        idempotency_key=upload.idempotency_key,
        window=DUPLICATE_WINDOW,
        lease=LEASE,
    )
    duplicate = outcome and outcome.duplicate_id
    if outcome and duplicate:
        if outcome.duplicate_sha256 != upload.sha256:
            raise Conflict("This Idempotency-Key was used for another image.", code="IDEMPOTENCY_KEY_REUSED")
        return Accepted(duplicate, True)
    tell_received(tx, scope, upload.image_id, device.client_id, device.id, ImageSource.DEVICE, upload.size)
    return Accepted(upload.image_id, False)


def tell_received(
    tx: Transaction,
    scope: Scope,
    image_id: str,
    client_id: str,
    device_id: str | None,
    source: ImageSource,
    size: int,
) -> None:
    """The event and the job of an image whose row was just written."""
    tx.enqueue(PROCESS_IMAGE, image_id=image_id)
    tx.emit(
        scope,
        "image.received",
        client_id=client_id,
        subject=("Image", image_id),
        deviceId=device_id,
        source=source.value,
        sizeBytes=size,
    )


def new_upload(
    *,
    content_type: str,
    size: int,
    sha256: str,
    device_captured_at: datetime | None,
    idempotency_key: str | None,
) -> Upload:
    """An upload with its id, time and blob key decided."""
    image_id, received_at = new_id(), datetime.now(UTC)
    key = blob_key(image_id, content_type, sha256, received_at)
    return Upload(image_id, content_type, size, sha256, key, received_at, device_captured_at, idempotency_key)


def believable(claimed: datetime | None, received_at: datetime) -> datetime:
    """The device's time when it can be true, else the server's: clocks of devices lie."""
    if claimed is None or not received_at - _CLOCK_BEHIND <= claimed <= received_at + _CLOCK_AHEAD:
        return received_at
    return claimed
