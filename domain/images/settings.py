"""What a client sets for all of its images: sizes of variants, and how alike photos of an unchanged scene are."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import SmallInteger, bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY, insert

from domain.clients.queries import clients_by_ids
from domain.images.models import image_settings
from domain.kit.errors import Invalid, NotFound
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction


@dataclass(frozen=True, slots=True)
class ImageSettings:
    """Sides are pixels, the distance is in bits of two perceptual hashes."""

    thumbnail_side: int = 200
    preview_side: int = 1440
    unchanged_distance: int = 3


DEFAULTS = ImageSettings()
_RANGES = {"thumbnail_side": (32, 512), "preview_side": (256, 4_096), "unchanged_distance": (0, 16)}
TOLD = {
    "thumbnail_side": "thumbnailSide",
    "preview_side": "previewSide",
    "unchanged_distance": "unchangedDistance",
}


class _SettingsRow(Row):
    client_id: str
    thumbnail_side: int | None
    preview_side: int | None
    unchanged_distance: int | None


_BY_CLIENTS = Statement(
    select(*(image_settings.c[name] for name in _SettingsRow.__annotations__)).where(
        image_settings.c.client_id == func.any(bindparam("clients", type_=ARRAY(Id))),
        visible(image_settings.c.client_id),
    ),
    _SettingsRow,
)
_values: dict[str, Any] = {name: bindparam(f"new_{name}", type_=SmallInteger) for name in _RANGES}
_SAVE = Statement(
    insert(image_settings)
    .values(client_id=bindparam("client", type_=Id), **_values)
    .on_conflict_do_update(index_elements=["client_id"], set_={**_values, "updated_at": func.now()})
)


async def settings_of(db: Runner, scope: Scope, clients: Sequence[str]) -> list[ImageSettings]:
    """The settings of these clients, aligned with them; the defaults where nothing is set, or none is seen."""
    rows = await db.all(_BY_CLIENTS, clients=list(dict.fromkeys(clients)), scope=scope.client_id)
    found = {row.client_id: _effective(row) for row in rows}
    return [found.get(client, DEFAULTS) for client in clients]


async def update_image_settings(tx: Transaction, scope: Scope, client_id: str | None, **changes: int | None) -> str:
    """Set what is given; None is the default again. Returns whose they are.

    Raises Invalid for a number out of range, and where a platform-wide caller names no client.
    """
    owner = scope.owner(client_id)
    for name, value in changes.items():
        low, high = _RANGES[name]
        if value is not None and not low <= value <= high:
            raise Invalid(f"This is between {low} and {high}.", argument=f"changes.{TOLD[name]}", given=value)
    if (await clients_by_ids(tx, scope, [owner]))[0] is None:
        raise NotFound("There is no such client.", clientId=owner)
    row = await tx.one(_BY_CLIENTS, clients=[owner], scope=scope.client_id)
    held: dict[str, int | None] = {name: None if row is None else row[name] for name in _RANGES}
    changed = {name: value for name, value in changes.items() if held[name] != value}
    if changed:
        await tx.all(_SAVE, client=owner, **{f"new_{name}": value for name, value in (held | changed).items()})
        tx.emit(
            scope,
            "client.image_settings_changed",
            client_id=owner,
            subject=("Client", owner),
            before={TOLD[name]: held[name] for name in changed},
            after={TOLD[name]: value for name, value in changed.items()},
        )
    return owner


def _effective(row: _SettingsRow) -> ImageSettings:
    given = {name: row[name] for name in _RANGES if row[name] is not None}
    return ImageSettings(**given)
