"""Images that no device sent: posted by people, made, imported. The row, its event and its job in one place.

The bytes are already safe in the blob store. What a device sends comes through `uploads.py`, which shares the last
step.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Interval, bindparam, func
from sqlalchemy.dialects.postgresql import insert

from domain.images.models import ImageRow, ImageSource, ImageStatus, images
from domain.images.tags import checked_prompt, checked_tags
from domain.images.uploads import LEASE, believable, tell_received
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.transactions import Transaction

_GIVEN = (
    "id",
    "client_id",
    "device_id",
    "source",
    "status",
    "content_type",
    "size_bytes",
    "sha256",
    "original_key",
    "captured_at",
    "device_captured_at",
    "idempotency_key",
    "prompt",
    "tags",
    "uploaded_by",
)
_values: dict[str, ColumnElement[Any]] = {name: bindparam(name, type_=images.c[name].type) for name in _GIVEN}
_INSERT = Statement(
    insert(images)
    .values(_values | {"lease_until": func.now() + bindparam("lease", type_=Interval)})
    .returning(*(images.c[name] for name in ImageRow.__annotations__)),
    ImageRow,
)


async def record_image(
    tx: Transaction,
    scope: Scope,
    *,
    source: ImageSource,
    content_type: str,
    size_bytes: int,
    sha256: str,
    original_key: str,
    prompt: str | None = None,
    tags: Sequence[str] = (),
    captured_at: datetime | None = None,
    device_id: str | None = None,
    uploaded_by: str | None = None,
    client_id: str | None = None,
    image_id: str | None = None,
    idempotency_key: str | None = None,
) -> ImageRow:
    """Write a RECEIVED image, its event and its job; nothing is looked up or refused as a duplicate.

    `sha256` is hex; `original_key` is of a blob that is there (`blob_key` in uploads.py makes one of `image_id`);
    `client_id` is the owner, None the scope's own. Raises Invalid for a prompt or tags that are none.
    """
    owner, now = scope.owner(client_id), datetime.now(UTC)
    row = await tx.one(
        _INSERT,
        id=image_id or new_id(),
        client_id=owner,
        device_id=device_id,
        source=source.value,
        status=ImageStatus.RECEIVED.value,
        content_type=content_type,
        size_bytes=size_bytes,
        sha256=sha256,
        original_key=original_key,
        captured_at=_taken(captured_at, now),
        device_captured_at=captured_at,
        idempotency_key=idempotency_key,
        prompt=checked_prompt(prompt),
        tags=checked_tags(tags),
        uploaded_by=uploaded_by,
        lease=LEASE,
    )
    assert row is not None
    tell_received(tx, scope, row.id, owner, device_id, source, size_bytes)
    return row


def _taken(claimed: datetime | None, now: datetime) -> datetime:
    """People know when a photo was taken, years later too; only the future is not believed."""
    return claimed if claimed is not None and claimed <= now else believable(claimed, now)
