"""Sizes of an image that are made when somebody first asks: their names, and the rows that let each be made once.

A name says what it is (`preview-1440.webp`), so its link is known before it is made. The row holds attempts and
lease, as an image's own does (see `jobs.py`).
"""

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import BigInteger, Boolean, Integer, Interval, bindparam, func, or_, select, text, update
from sqlalchemy.dialects.postgresql import TEXT, insert

from domain.images.models import ImageStatus, VariantStatus, image_variants, images
from domain.images.uploads import LEASE
from domain.kit.ids import is_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

MAKE_VARIANT = "make_variant"
MAX_ATTEMPTS = 3
REST = timedelta(hours=1)
"""After so many attempts, which may have been the fault of a store that was away."""

_RESENT_AT_ONCE = 500
_NAME = re.compile(r"(display|preview|thumbnail)(?:-(\d{2,4}))?\.(webp|avif)")
_KEY = re.compile(r"variants/[0-9a-f]{2}/([0-9a-f-]{36})/([a-z0-9.-]+)")
# As in the index that makes it cheap (`ix_image_variants_lease`).
_waiting = text("status IN ('PENDING', 'MAKING')")


@dataclass(frozen=True, slots=True)
class VariantName:
    """`side` is pixels, None for as large as the display."""

    kind: str
    side: int | None
    format: str

    def __str__(self) -> str:
        return f"{self.kind}{'' if self.side is None else f'-{self.side}'}.{self.format}"


def variant_name(name: str) -> VariantName | None:
    """What a name says; None for one that was never given."""
    found = _NAME.fullmatch(name)
    return found and VariantName(found[1], int(found[2]) if found[2] else None, found[3])


def variant_key(image_id: str, name: VariantName) -> str:
    """Where a variant is kept. The end of an id is random, so folders fill evenly."""
    return f"variants/{image_id[-2:]}/{image_id}/{name}"


def variant_of_key(key: str) -> tuple[str, str] | None:
    """The image's id and the name of a variant by its key; None for other keys."""
    found = _KEY.fullmatch(key)
    return (found[1], found[2]) if found and is_id(found[1]) and variant_name(found[2]) else None


class VariantJobRow(Row):
    """What a worker needs to know of a variant that it claimed."""

    image_id: str
    name: str
    attempts: int
    original_key: str
    original_bytes: int


_mine = (image_variants.c.image_id == bindparam("image", type_=Id), image_variants.c.name == bindparam("name"))
_lease = func.now() + bindparam("lease", type_=Interval)
_ready_image = (
    images.c.id == bindparam("image", type_=Id),
    images.c.status == ImageStatus.READY.value,
    images.c.deleted_at.is_(None),
    visible(images.c.client_id),
)
_ASK = Statement(
    insert(image_variants)
    .from_select(
        ["image_id", "name", "lease_until"],
        select(images.c.id, bindparam("name", type_=TEXT), _lease).where(*_ready_image),
    )
    .on_conflict_do_update(
        index_elements=["image_id", "name"],
        set_={"status": VariantStatus.PENDING.value, "attempts": 0, "lease_until": _lease, "failure": None},
        # Its bytes are gone, says who asks; or it was given up on, long enough ago: it is made again.
        where=or_(
            (image_variants.c.status == VariantStatus.READY.value) & bindparam("gone", type_=Boolean),
            (image_variants.c.status == VariantStatus.FAILED.value) & (image_variants.c.lease_until < func.now()),
        ),
    )
    .returning(image_variants.c.status)
)
_STATUS = Statement(
    select(image_variants.c.status)
    .join(images, images.c.id == image_variants.c.image_id)
    .where(*_mine, images.c.deleted_at.is_(None), visible(images.c.client_id))
)
_CLAIM = Statement(
    update(image_variants)
    .where(
        *_mine,
        images.c.id == image_variants.c.image_id,
        or_(
            image_variants.c.status == VariantStatus.PENDING.value,
            (image_variants.c.status == VariantStatus.MAKING.value) & (image_variants.c.lease_until < func.now()),
        ),
    )
    .values(status=VariantStatus.MAKING.value, attempts=image_variants.c.attempts + 1, lease_until=_lease)
    .returning(
        image_variants.c.image_id,
        image_variants.c.name,
        image_variants.c.attempts,
        images.c.original_key,
        images.c.size_bytes.label("original_bytes"),
    ),
    VariantJobRow,
)
_held = (
    *_mine,
    image_variants.c.status == VariantStatus.MAKING.value,
    image_variants.c.attempts == bindparam("attempt"),
)
_MADE = Statement(
    update(image_variants)
    .where(*_held)
    .values(
        status=VariantStatus.READY.value,
        lease_until=None,
        blob_key=bindparam("new_blob_key", type_=TEXT),
        size_bytes=bindparam("new_size_bytes", type_=BigInteger),
        width=bindparam("new_width", type_=Integer),
        height=bindparam("new_height", type_=Integer),
    )
)
_FAILED = Statement(
    update(image_variants)
    .where(*_held)
    .values(
        status=VariantStatus.FAILED.value,
        lease_until=func.now() + bindparam("rest", type_=Interval),
        failure=bindparam("new_failure", type_=TEXT),
    )
)
_OVERDUE = (
    select(image_variants.c.image_id, image_variants.c.name)
    .where(_waiting, image_variants.c.lease_until < func.now())
    .order_by(image_variants.c.lease_until)
    .limit(_RESENT_AT_ONCE)
    .with_for_update(skip_locked=True)
    .cte("overdue")
)
_RESEND = Statement(
    update(image_variants)
    .where(image_variants.c.image_id == _OVERDUE.c.image_id, image_variants.c.name == _OVERDUE.c.name)
    .values(status=VariantStatus.PENDING.value, lease_until=_lease)
    .returning(image_variants.c.image_id, image_variants.c.name)
)


async def ask_variant(tx: Transaction, scope: Scope, image_id: str, name: str, *, gone: bool = False) -> None:
    """Have a variant made, unless it is or was, or cannot be, or the image is not READY. `gone`: its bytes are
    missing."""
    row = await tx.one(_ASK, image=image_id, name=name, gone=gone, lease=LEASE, scope=scope.client_id)
    if row is not None:
        tx.enqueue(MAKE_VARIANT, image_id=image_id, name=name)


async def variant_status(db: Runner, scope: Scope, image_id: str, name: str) -> VariantStatus | None:
    """How far a variant is; None when nobody asked, or when its image is gone or deleted."""
    status = await db.value(_STATUS, image=image_id, name=name, scope=scope.client_id)
    return None if status is None else VariantStatus(status)


async def claim_variant(tx: Transaction, scope: Scope, image_id: str, name: str) -> VariantJobRow | None:
    """Take a variant that waits. None when it is finished, gone, or with another worker."""
    return await tx.one(_CLAIM, image=image_id, name=name, lease=LEASE)


async def finish_variant(
    tx: Transaction, scope: Scope, job: VariantJobRow, *, blob_key: str, size_bytes: int, width: int, height: int
) -> None:
    """READY, unless the lease ran out and somebody else has it now. Pixels are those of the variant."""
    new: dict[str, Any] = {"blob_key": blob_key, "size_bytes": size_bytes, "width": width, "height": height}
    given = {f"new_{name}": value for name, value in new.items()}
    await tx.all(_MADE, image=job.image_id, name=job.name, attempt=job.attempts, **given)


async def fail_variant(
    tx: Transaction, scope: Scope, job: VariantJobRow, failure: str, *, rest: timedelta | None = None
) -> None:
    """FAILED for good; or, with a rest, until somebody asks for it after that."""
    held = {"image": job.image_id, "name": job.name, "attempt": job.attempts}
    await tx.all(_FAILED, **held, new_failure=failure, rest=rest)


async def resend_overdue_variants(tx: Transaction, scope: Scope) -> int:
    """Send the jobs of variants again whose worker did not come back. Returns how many; at most 500 at once."""
    rows = await tx.all(_RESEND, lease=LEASE)
    for row in rows:
        tx.enqueue(MAKE_VARIANT, image_id=row.image_id, name=row.name)
    return len(rows)
