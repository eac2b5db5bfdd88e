"""Images that no device sent: posted by people, made, imported. The row, its event and its job in one place.

The bytes are already safe in the blob store. What a device sends comes through `uploads.py`, which shares the last
step.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Column, ColumnElement, Interval, Text, and_, bindparam, false, func, or_, select, update
from sqlalchemy.dialects.postgresql import ARRAY, TEXT, insert

from domain.clients.queries import clients_by_ids
from domain.images.models import ImageRow, ImageSource, ImageStatus, images
from domain.images.tags import checked_prompt, checked_tags
from domain.images.uploads import LEASE, Accepted, Upload, believable, tell_received, told_again
from domain.kit.errors import Conflict, NotFound
from domain.kit.ids import new_id
from domain.kit.scope import Scope
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id
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

_keys = func.unnest(bindparam("keys", type_=ARRAY(TEXT))).table_valued(Column("key", Text)).render_derived(name="k")
_ONE_AT_A_TIME = Statement(select(func.pg_advisory_xact_lock(func.hashtextextended(_keys.c.key, 0))))
_this_key = func.coalesce(
    and_(
        images.c.uploaded_by == bindparam("uploaded_by", type_=TEXT),
        images.c.idempotency_key == bindparam("idempotency_key", type_=TEXT),
    ),
    false(),
)


class _Earlier(Row):
    id: str
    sha256: str
    deleted_at: datetime | None


_EARLIER = Statement(
    select(images.c.id, images.c.sha256, images.c.deleted_at)
    .where(
        images.c.client_id == bindparam("owner", type_=Id),
        images.c.device_id.is_(None),
        or_(
            _this_key,
            and_(
                images.c.source == ImageSource.UPLOAD.value,
                images.c.sha256 == bindparam("sha256", type_=TEXT),
                # What workers gave up on is for trying again: the fault may have been theirs.
                images.c.rejection_code.is_distinct_from("GAVE_UP"),
                # The same under its own key is wanted twice; what was deleted is not there to be had twice.
                or_(
                    bindparam("idempotency_key", type_=TEXT).is_(None),
                    images.c.idempotency_key.is_(None),
                    images.c.deleted_at.is_not(None),
                ),
            ),
        ),
    )
    # What was sent under this key before what has the same bytes; of these what is there before what was deleted.
    .order_by(_this_key.desc(), images.c.deleted_at.is_not(None), images.c.id)
    .limit(1),
    _Earlier,
)

_REKEY = Statement(
    update(images)
    .where(images.c.id == bindparam("image", type_=Id))
    .values({name: _values[name] for name in ("uploaded_by", "idempotency_key")})
)


async def accept_post(
    tx: Transaction,
    scope: Scope,
    upload: Upload,
    *,
    prompt: str | None = None,
    tags: Sequence[str] = (),
    client_id: str | None = None,
) -> Accepted:
    """Write the image that a person or a program posted, unless its client has it already; `client_id` as above.

    The same bytes are the same image for as long as it is there, and so is the same idempotency key of the same
    sender; one that was deleted since is there again, as it was. Raises Conflict for a key of other bytes.
    """
    owner, sender = scope.owner(client_id), f"{scope.actor_kind}:{scope.actor_id}"
    if (await clients_by_ids(tx, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    keys = [f"image {owner} {upload.sha256}"]
    if upload.idempotency_key is not None:
        keys.append(f"image {sender} {upload.idempotency_key}")
    await tx.all(_ONE_AT_A_TIME, keys=sorted(keys))
    earlier = await tx.one(
        _EARLIER,
        owner=owner,
        uploaded_by=sender,
        idempotency_key=upload.idempotency_key,
        sha256=upload.sha256,
    )
    if earlier is not None:
        if earlier.sha256 != upload.sha256:
            raise Conflict("This Idempotency-Key was used for another image.", code="IDEMPOTENCY_KEY_REUSED")
        told = await told_again(tx, scope, earlier.id, earlier.deleted_at)
        if told.restored and upload.idempotency_key is not None:  # who asks again under this key means this image
            await tx.all(_REKEY, image=earlier.id, uploaded_by=sender, idempotency_key=upload.idempotency_key)
        return told
    await record_image(
        tx,
        scope,
        source=ImageSource.UPLOAD,
        content_type=upload.content_type,
        size_bytes=upload.size,
        sha256=upload.sha256,
        original_key=upload.blob_key,
        prompt=prompt,
        tags=tags,
        captured_at=upload.device_captured_at,
        uploaded_by=sender,
        client_id=owner,
        image_id=upload.image_id,
        idempotency_key=upload.idempotency_key,
    )
    return Accepted(upload.image_id, False)


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
        captured_at=believable(captured_at, now, sent_by_device=device_id is not None),
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
