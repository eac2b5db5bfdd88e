"""Reading images: one, many by id, a list, and a list under each of many devices. What a list may be asked for
is in `filters.py`."""

from collections.abc import Sequence
from functools import lru_cache, partial
from typing import Any

from orjson import Fragment
from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.images.filters import REPLANNED, condition, given
from domain.images.models import ImageRow, images
from domain.kit.paging import Count, Order, Page, fetch_by_id, fetch_page, fetch_pages, list_key, paged, projected
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.written import EVERYTHING, Wanted, chosen

_OWNERS = frozenset({"scope", "client_id"})
_SEARCHES = frozenset({"search", "words", "tags"})
# Words that many images have are found among these at once; for the others it costs little to have looked. The
# planner alone takes words for independent, and fetches thousands of images of which a page shows twenty.
_NEWEST = 4_000

_COLUMNS = [images.c[name] for name in ImageRow.__annotations__]

ORDERS = {
    order.name: order
    for descending in (True, False)
    for direction in ["DESC" if descending else "ASC"]
    for order in (
        Order(f"RECEIVED_AT_{direction}", descending, images.c.id, lambda row: row.id),
        Order(f"CAPTURED_AT_{direction}", descending, images.c.captured_at, lambda row: row.captured_at),
    )
}


@lru_cache(maxsize=512)
def _by_ids(wanted: Wanted) -> Statement[ImageRow]:
    found = images.c.id == func.any(bindparam("ids", type_=ARRAY(Id)))
    return Statement(select(*chosen(_COLUMNS, wanted)).where(found, visible(images.c.client_id)), ImageRow)


@lru_cache(maxsize=512)
def _list(
    filters: frozenset[str], order: str, after: bool, under_devices: bool, wanted: Wanted
) -> Statement[ImageRow]:
    query = _filtered(select(*projected(_COLUMNS, wanted, ORDERS[order])), filters)
    parent = images.c.device_id if under_devices else None
    page = paged(query, images.c.id, ORDERS[order], after=after, parent=parent)
    return Statement(page, ImageRow, replanned=not REPLANNED.isdisjoint(filters))


@lru_cache(maxsize=256)
def _list_of_newest(filters: frozenset[str], order: str, after: bool, wanted: Wanted) -> Statement[ImageRow]:
    """`_list` of a client, as far as it lies among the first images of the order, whatever these say."""
    owner = (condition(name) for name in sorted(filters & _OWNERS))
    page = paged(select(images).where(*owner), images.c.id, ORDERS[order], after=after).limit(_NEWEST)
    query = _filtered(select(*projected(_COLUMNS, wanted, ORDERS[order])), filters)
    # Under the table's own name, which is what the list is made of.
    query = paged(query, images.c.id, ORDERS[order], after=after).add_cte(page.cte("images"))
    return Statement(query, ImageRow)


@lru_cache(maxsize=128)
def _count(filters: frozenset[str], under_devices: bool) -> Statement[Row]:
    if not under_devices:
        query = _filtered(select(func.count().label("count")).select_from(images), filters)
        return Statement(query, replanned=not REPLANNED.isdisjoint(filters))
    query = _filtered(select(images.c.device_id.label("parent_key"), func.count().label("count")), filters)
    under = images.c.device_id == func.any(bindparam("parents", type_=ARRAY(Id)))
    return Statement(query.where(under).group_by(images.c.device_id))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(*map(condition, sorted(filters)))


async def image_by_id(
    db: Runner, scope: Scope, image_id: str, wanted: Wanted = EVERYTHING
) -> ImageRow | Fragment | None:
    """One of `images_by_ids`, with at least what is wanted, or the JSON of that."""
    return await fetch_by_id(db, _by_ids, scope, image_id, wanted)


async def images_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[ImageRow | None]:
    """The images with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_by_ids(EVERYTHING), scope, ids)


async def list_images(
    db: Runner,
    scope: Scope,
    *,
    order: str,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> Page[ImageRow]:
    """The images in the scope, with at least what is wanted.

    `order` is a name in ORDERS; filters are those of `filters.given`.
    """
    names, values = given(scope, filters)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names, False), **values)}

    counted = Count(list_key("images", values, names), None, count)
    if names & _SEARCHES and names & _OWNERS and "similar_to" not in names:
        newest = partial(_list_of_newest, names, order, after is not None)
        page = await fetch_page(db, newest, ORDERS[order], counted, first, after, wanted, **values)
        if page.is_full:
            return page
    statement = partial(_list, names, order, after is not None, False)
    return await fetch_page(db, statement, ORDERS[order], counted, first, after, wanted, **values)


async def images_of_devices(
    db: Runner,
    scope: Scope,
    device_ids: Sequence[str],
    *,
    order: str,
    first: int,
    after: str | None,
    wanted: Wanted = EVERYTHING,
    **filters: Any,
) -> list[Page[ImageRow]]:
    """One page of images for each device, aligned with them, in one statement, with at least what is wanted."""
    names, values = given(scope, filters)

    async def count(parents: Sequence[str | None]) -> dict[str | None, int]:
        rows = await db.all(_count(names, True), parents=list(parents), **values)
        return {row.parent_key: row["count"] for row in rows}

    key = list_key("device images", values, names)
    statement = partial(_list, names, order, after is not None, True)
    return await fetch_pages(
        db,
        statement,
        ORDERS[order],
        lambda parent: Count(key, parent, count),
        device_ids,
        first,
        after,
        wanted,
        **values,
    )
