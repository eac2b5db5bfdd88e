"""Unchanged scenes: a photo whose perceptual hash is near that of the device's photo before it.

It is marked with the time at which the first photo of that scene was taken. Photos of a device become READY in any
order, with several workers at once: whoever finishes one holds the device's scenes, and puts right what follows.
"""

from typing import Any

from sqlalchemy import ColumnElement, Integer, Select, bindparam, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import BIT, TEXT

from domain.images.models import ImageStatus, images
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

_HOLD = Statement(select(func.pg_advisory_xact_lock(func.hashtextextended(bindparam("scenes", type_=TEXT), 0))))
_distance = bindparam("unchanged_distance", type_=Integer)
_before, _this, _next = images.alias("before"), images.alias("this"), images.alias("next")


def bits_apart(one: ColumnElement[Any], other: ColumnElement[Any]) -> ColumnElement[int]:
    """In how many of 64 bits two perceptual hashes differ."""
    return func.bit_count(cast(one.op("#")(other), BIT(64)))


def _shown(photo: Any) -> tuple[ColumnElement[bool], ...]:
    return (photo.c.status == ImageStatus.READY.value, photo.c.deleted_at.is_(None))


def since_before(phash: ColumnElement[Any]) -> Any:
    """When the scene of a row of `images` with this hash began, if the device's photo before it shows it, too."""
    same = bits_apart(_before.c.phash, phash) <= _distance
    before: Select[Any] = (
        select(case((same, func.coalesce(_before.c.unchanged_since, _before.c.captured_at))))
        .where(_before.c.device_id == images.c.device_id, _before.c.id < images.c.id, *_shown(_before))
        .order_by(_before.c.id.desc())
        .limit(1)
        .correlate(images)
    )
    return before.scalar_subquery()


_same = bits_apart(_next.c.phash, _this.c.phash) <= _distance
_following = (
    select(
        _next.c.id,
        _next.c.device_id,
        _next.c.unchanged_since.label("old"),
        _next.c.captured_at,
        case((_same, func.coalesce(_this.c.unchanged_since, _this.c.captured_at))).label("new"),
    )
    .select_from(_this)
    .join(_next, (_next.c.device_id == _this.c.device_id) & (_next.c.id > _this.c.id))
    .where(_this.c.id == bindparam("image", type_=Id), *_shown(_next))
    .order_by(_next.c.id)
    .limit(1)
    .cte("following")
)
# The next photo, and those that show the same scene as it: these name the same beginning.
_CORRECT = Statement(
    update(images)
    .where(
        images.c.device_id == _following.c.device_id,
        _following.c.old.is_distinct_from(_following.c.new),
        (images.c.id == _following.c.id)
        | (
            (images.c.id > _following.c.id)
            & (images.c.unchanged_since == func.coalesce(_following.c.old, _following.c.captured_at))
        ),
    )
    .values(
        unchanged_since=case(
            (images.c.id == _following.c.id, _following.c.new),
            else_=func.coalesce(_following.c.new, _following.c.captured_at),
        )
    )
)


async def hold_scenes(tx: Transaction, scope: Scope, device_id: str) -> None:
    """Nobody else finishes a photo of this device until the end of the transaction."""
    await tx.all(_HOLD, scenes=f"scenes {device_id}")


async def correct_following(tx: Transaction, scope: Scope, image_id: str, distance: int) -> None:
    """What was taken after a photo that just became READY may have been READY before it."""
    await tx.all(_CORRECT, image=image_id, unchanged_distance=distance)
