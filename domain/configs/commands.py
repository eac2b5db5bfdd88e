"""Changing configs: saving, rolling back, deleting, restoring. Every change of content is a version, kept for ever.

A config exists once for each client and MAC, and its row stays when it is deleted, so its versions go on counting.
"""

from typing import Any

import orjson
from sqlalchemy import Boolean, Integer, Text, bindparam, case, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from domain.configs.content import Content, checked_content, effective_content
from domain.configs.history import append_version, check_expected, checked_note, take_turn
from domain.configs.models import ConfigRow, TemplateRow, VersionRow, config_revisions, configs
from domain.configs.queries import versions_numbered
from domain.configs.rules import check_effective, validator_for
from domain.configs.templates import KEEP, base_named, templates_by_ids
from domain.kit.errors import Conflict, NotFound
from domain.kit.ids import new_id
from domain.kit.scope import Scope, visible
from domain.kit.sql import Statement
from domain.kit.tables import Id, OrderedJson
from domain.kit.transactions import Transaction

_EMPTY = cast("{}", OrderedJson)
_MAKE = Statement(
    insert(configs)
    .values(
        id=bindparam("id", type_=Id),
        client_id=bindparam("client", type_=Id),
        mac=bindparam("mac", type_=Text),
        version=0,
        revision=0,
        content=_EMPTY,
        effective=_EMPTY,
    )
    .on_conflict_do_nothing()
)
_HOLD = Statement(
    select(*(configs.c[name] for name in ConfigRow.__annotations__), cast(configs.c.effective, Text).label("text"))
    .where(
        configs.c.client_id == bindparam("client"),
        configs.c.mac == bindparam("mac"),
        visible(configs.c.client_id),
    )
    .with_for_update(),
    ConfigRow,
)
_is_new = bindparam("is_new", type_=Boolean)
_SAVE = Statement(
    update(configs)
    .where(configs.c.id == bindparam("config"))
    .values(
        version=bindparam("number", type_=Integer),
        template_id=bindparam("base", type_=Id),
        content=cast(bindparam("content", type_=Text), OrderedJson),
        effective=cast(bindparam("effective", type_=Text), OrderedJson),
        revision=case((_is_new, config_revisions.next_value()), else_=configs.c.revision),
        revised_at=case((_is_new, func.now()), else_=configs.c.revised_at),
        updated_at=func.now(),
        deleted_at=None,
    )
    .returning(configs.c.revision)
)
_DELETE = Statement(
    update(configs).where(configs.c.id == bindparam("config")).values(deleted_at=func.now(), updated_at=func.now())
)


async def save_config(
    tx: Transaction,
    scope: Scope,
    *,
    mac: str,
    content: Any,
    extends: Any = KEEP,
    expected_version: int | None = None,
    note: str | None = None,
    client_id: str | None = None,
) -> tuple[str, bool]:
    """Make or change the config of a MAC (in its one form); returns its id, and whether anything changed.

    `extends` names a template, or None, or is KEEP. `expected_version` 0 means: there must be none yet. Raises
    Invalid for content that cannot be kept or does not satisfy the client's schema, Conflict for another version
    than expected, NotFound for a template or client that is not there.
    """
    own, note = checked_content(content), checked_note(note)
    owner = await take_turn(tx, scope, client_id, alone=False)
    held = await _held(tx, scope, owner, mac, make=True)
    exists = held.deleted_at is None and held.version > 0
    check_expected(expected_version, held.version if exists else 0, "config")
    if extends is KEEP:
        base = await _base(tx, scope, held.template_id) if exists else None
    else:
        base = await base_named(tx, scope, owner, extends)
    if (
        exists
        and orjson.dumps(held.content).decode() == own.text
        and held.template_id == (base.id if base else None)
    ):
        return held.id, False
    await _write(tx, scope, held, own, base, note=note)
    return held.id, True


async def rollback_config(
    tx: Transaction,
    scope: Scope,
    *,
    mac: str,
    to_version: int,
    expected_version: int | None = None,
    note: str | None = None,
    client_id: str | None = None,
) -> str:
    """Make a new version with the content and template of an earlier one; returns the config's id."""
    note = checked_note(note)
    owner = await take_turn(tx, scope, client_id, alone=False)
    held = await _live(tx, scope, owner, mac)
    check_expected(expected_version, held.version, "config")
    past = await _version(tx, scope, held.id, to_version)
    base = await _base(tx, scope, past.template_id)
    own = _own(past)
    if own.text == _own(held).text and past.template_id == held.template_id:
        return held.id
    await _write(tx, scope, held, own, base, note=note, restores=to_version)
    return held.id


async def delete_config(
    tx: Transaction,
    scope: Scope,
    *,
    mac: str,
    expected_version: int | None = None,
    client_id: str | None = None,
) -> str:
    """Take a config out of use, so that it may be restored; returns its id. Its devices keep what they run."""
    owner = await take_turn(tx, scope, client_id, alone=False)
    held = await _live(tx, scope, owner, mac)
    check_expected(expected_version, held.version, "config")
    await tx.all(_DELETE, config=held.id)
    _emit(tx, scope, held, "config.deleted", before=held.version, after=None)
    return held.id


async def restore_config(tx: Transaction, scope: Scope, *, mac: str, client_id: str | None = None) -> str:
    """Put a deleted config into use again, under its template as that is now; returns its id."""
    owner = await take_turn(tx, scope, client_id, alone=False)
    held = await _held(tx, scope, owner, mac)
    if held.deleted_at is None:
        raise Conflict("This config is not deleted.", code="NOT_DELETED", mac=mac)
    base = await _base(tx, scope, held.template_id)
    revision = await _store(tx, scope, held, _own(held), base, number=held.version)
    _emit(tx, scope, held, "config.restored", before=None, after=held.version, revision=revision)
    return held.id


async def _write(
    tx: Transaction,
    scope: Scope,
    held: ConfigRow,
    own: Content,
    base: TemplateRow | None,
    *,
    note: str | None,
    restores: int | None = None,
) -> None:
    """A new version of a held config."""
    number = held.version + 1
    revision = await _store(tx, scope, held, own, base, number=number)
    await append_version(
        tx,
        scope,
        client_id=held.client_id,
        document_id=held.id,
        number=number,
        content=own,
        template_id=base.id if base else None,
        note=note,
        restores=restores,
    )
    told: dict[str, Any] = {"before": held.version or None, "after": number, "revision": revision}
    if restores is not None:
        told["restores"] = restores
    if note is not None:
        told["note"] = note
    _emit(tx, scope, held, "config.saved", **told)


async def _store(
    tx: Transaction, scope: Scope, held: ConfigRow, own: Content, base: TemplateRow | None, *, number: int
) -> int:
    """Write what a held config is from now on; returns its revision, new when what the device gets is."""
    effective = effective_content(base.effective if base else None, own)
    check_effective(await validator_for(tx, scope, held.client_id), effective)
    revision: int = await tx.value(
        _SAVE,
        config=held.id,
        number=number,
        base=base.id if base else None,
        content=own.text,
        effective=effective.text,
        is_new=held.revision == 0 or effective.text != held["text"],
    )
    return revision


async def _held(tx: Transaction, scope: Scope, client_id: str, mac: str, *, make: bool = False) -> ConfigRow:
    """The row of a config, deleted or not, locked. Raises NotFound, or makes an empty one of version 0."""
    held = await tx.one(_HOLD, client=client_id, mac=mac, scope=scope.client_id)
    if held is None and make:
        await tx.all(_MAKE, id=new_id(), client=client_id, mac=mac)
        held = await tx.one(_HOLD, client=client_id, mac=mac, scope=scope.client_id)
    if held is None:
        raise NotFound("There is no config of this MAC.", mac=mac)
    return held


async def _live(tx: Transaction, scope: Scope, client_id: str, mac: str) -> ConfigRow:
    held = await _held(tx, scope, client_id, mac)
    if held.deleted_at is not None:
        raise NotFound("The config of this MAC is deleted: restore it, or save another.", mac=mac)
    return held


async def _base(tx: Transaction, scope: Scope, template_id: str | None) -> TemplateRow | None:
    """The template that a config or an old version extends. Raises Conflict when that was deleted since."""
    if template_id is None:
        return None
    found = (await templates_by_ids(tx, scope, [template_id]))[0]
    if found is None or found.deleted_at is not None:
        name = found.name if found else None
        raise Conflict("The template that it extends was deleted since.", code="TEMPLATE_DELETED", name=name)
    return found


def _own(row: ConfigRow | VersionRow) -> Content:
    return Content(row.content, orjson.dumps(row.content).decode())


async def _version(tx: Transaction, scope: Scope, config_id: str, number: int) -> VersionRow:
    found = (await versions_numbered(tx, scope, [config_id], [number])).get((config_id, number))
    if found is None:
        raise NotFound("This config has no such version.", argument="toVersion", version=number)
    return found


def _emit(tx: Transaction, scope: Scope, held: ConfigRow, type: str, **data: Any) -> None:
    tx.emit(scope, type, client_id=held.client_id, subject=("Config", held.id), mac=held.mac, **data)
