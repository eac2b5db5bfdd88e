"""Templates: named bases that configs, and other templates, extend.

Saving one is a change of every config that extends it, at any distance: their effective contents are made anew in
the same transaction, and those that came out different have a new revision, which their devices are offered.
"""

from collections.abc import AsyncIterator, Sequence
from typing import Any

import orjson
from sqlalchemy import Column, Integer, Text, bindparam, cast, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from domain.clients.commands import checked_name
from domain.configs.content import Content, checked_content, effective_content
from domain.configs.history import append_version, check_expected, checked_note, take_turn
from domain.configs.models import ConfigRow, TemplateRow, config_revisions, config_templates, configs
from domain.configs.rules import validator_for
from domain.configs.schemas import Validator
from domain.kit.errors import Conflict, Invalid, NotFound
from domain.kit.ids import new_id
from domain.kit.paging import Count, Order, Page, fetch_page, paged
from domain.kit.scope import Scope, visible
from domain.kit.sql import Runner, Statement, insertion
from domain.kit.tables import Id, OrderedJson
from domain.kit.transactions import Transaction

MAX_CHAIN = 5
"""So many templates may stand above each other."""
MAX_TEMPLATES = 200
_BATCH = 1000
_MAX_TOLD = 20

KEEP: Any = object()
"""In place of a template's name: whatever is extended now."""

_t = config_templates.c
_COLUMNS = [_t[name] for name in TemplateRow.__annotations__]
_live = _t.deleted_at.is_(None)
BY_NAME = Order("NAME", False, func.lower(_t.name, type_=_t.name.type), lambda row: row.name, func.lower)

_BY_IDS = Statement(
    select(*_COLUMNS).where(_t.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(_t.client_id)),
    TemplateRow,
)
_BY_NAME = Statement(
    select(*_COLUMNS)
    .where(func.lower(_t.name) == func.lower(bindparam("name", type_=Text)), _live, visible(_t.client_id))
    .limit(2),
    TemplateRow,
)
_OF_CLIENT = Statement(select(*_COLUMNS).where(_t.client_id == bindparam("client"), _live), TemplateRow)
_list = select(*_COLUMNS).where(_live, visible(_t.client_id))
_LIST = {after: Statement(paged(_list, _t.id, BY_NAME, after=after), TemplateRow) for after in (False, True)}
_COUNT = Statement(select(func.count()).select_from(config_templates).where(_live, visible(_t.client_id)))
_INSERT = Statement(
    insertion(config_templates, "id", "client_id", "name", "template_id").values(
        version=1,
        content=cast(bindparam("content", type_=Text), OrderedJson),
        effective=cast(bindparam("effective", type_=Text), OrderedJson),
    )
)
_UPDATE = Statement(
    update(config_templates)
    .where(_t.id == bindparam("template"))
    .values(
        version=bindparam("number", type_=Integer),
        template_id=bindparam("base", type_=Id),
        content=cast(bindparam("content", type_=Text), OrderedJson),
        updated_at=func.now(),
    )
)
_new = (
    func.unnest(bindparam("ids", type_=ARRAY(Id)), bindparam("texts", type_=ARRAY(Text)))
    .table_valued(Column("id", Id), Column("text", Text))
    .render_derived(name="new")
)
_SET_TEMPLATES = Statement(
    update(config_templates).where(_t.id == _new.c.id).values(effective=cast(_new.c.text, OrderedJson))
)
_SET_CONFIGS = Statement(
    update(configs)
    .where(configs.c.id == _new.c.id)
    .values(
        effective=cast(_new.c.text, OrderedJson),
        revision=config_revisions.next_value(),
        revised_at=func.now(),
    )
)
_USERS = Statement(
    select(
        select(func.count())
        .select_from(configs)
        .where(configs.c.template_id == bindparam("template", type_=Id), configs.c.deleted_at.is_(None))
        .scalar_subquery()
        .label("configs"),
        select(func.count())
        .select_from(config_templates)
        .where(_t.template_id == bindparam("template", type_=Id), _live)
        .scalar_subquery()
        .label("templates"),
    )
)
_DELETE = Statement(
    update(config_templates)
    .where(_t.id == bindparam("template"))
    .values(deleted_at=func.now(), updated_at=func.now())
)
_EXTENDING = Statement(
    select(
        configs.c.id,
        configs.c.mac,
        configs.c.template_id,
        configs.c.content,
        cast(configs.c.effective, Text).label("text"),
    )
    .where(
        configs.c.template_id == func.any(bindparam("templates", type_=ARRAY(Id))),
        configs.c.deleted_at.is_(None),
        configs.c.id > bindparam("last", type_=Id),
    )
    .order_by(configs.c.id)
    .limit(_BATCH),  # not locked: whoever changes configs of this client waits for its turn
    ConfigRow,
)
_FIRST = "00000000-0000-0000-0000-000000000000"


async def templates_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[TemplateRow | None]:
    """The templates with these ids, deleted ones too, aligned; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def template_by_name(db: Runner, scope: Scope, name: str, client_id: str | None = None) -> TemplateRow | None:
    """The template of this name, in any case. Raises Invalid when several clients in the scope have one."""
    rows = await db.all(_BY_NAME, name=name, scope=client_id or scope.client_id)
    if len(rows) > 1:
        raise Invalid("Several clients have a template of this name: name the client.", argument="clientId")
    return rows[0] if rows and scope.client_id in (None, rows[0].client_id) else None


async def list_templates(db: Runner, scope: Scope, *, first: int, after: str | None) -> Page[TemplateRow]:
    """The templates in the scope by name."""

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_COUNT, scope=scope.client_id)}

    counted = Count("config templates", None, count)
    statement = _LIST[after is not None]
    return await fetch_page(db, lambda _: statement, BY_NAME, counted, first, after, scope=scope.client_id)


async def base_named(tx: Transaction, scope: Scope, client_id: str, name: str | None) -> TemplateRow | None:
    """The client's template that something is to extend; None for None. Raises NotFound."""
    if name is None:
        return None
    found = await template_by_name(tx, scope, name, client_id)
    if found is None:
        raise NotFound("There is no such template.", argument="extends", name=name[:200])
    return found


async def save_config_template(
    tx: Transaction,
    scope: Scope,
    *,
    name: str,
    content: Any,
    extends: Any = KEEP,
    expected_version: int | None = None,
    note: str | None = None,
    client_id: str | None = None,
) -> str:
    """Make or change a template, and all that extend it; returns its id.

    `extends` names another template, or None, or is KEEP. Raises Conflict for another version than expected,
    Invalid for a circle, too long a chain, or when a config would not satisfy the client's schema any more.
    """
    own, note = checked_content(content), checked_note(note)
    name = checked_name(name)
    owner = await take_turn(tx, scope, client_id, alone=True)
    family = {row.id: row for row in await tx.all(_OF_CLIENT, client=owner)}
    held = next((row for row in family.values() if row.name.lower() == name.lower()), None)
    check_expected(expected_version, held.version if held else 0, "template")
    base = (held and family.get(held.template_id or "")) if extends is KEEP else None
    if extends is not KEEP:
        base = await base_named(tx, scope, owner, extends)
    if held is None:
        return await _make(tx, scope, owner, family, name, own, base, note)
    if _text(held.content) == own.text and held.template_id == (base.id if base else None):
        return held.id
    await _change(tx, scope, family, held, own, base, note)
    return held.id


async def delete_config_template(tx: Transaction, scope: Scope, template_id: str) -> None:
    """Remove a template. Its versions stay, its name is free. Raises Conflict while something extends it."""
    found = (await templates_by_ids(tx, scope, [template_id]))[0]
    if found is None or found.deleted_at is not None:
        raise NotFound("There is no such template.", templateId=template_id)
    await take_turn(tx, scope, found.client_id, alone=True)
    users = await tx.one(_USERS, template=template_id)
    assert users is not None
    if users.configs or users.templates:
        raise Conflict(
            f"{users.configs} configs and {users.templates} templates extend this template.",
            code="IN_USE",
            configs=users.configs,
            templates=users.templates,
        )
    await tx.all(_DELETE, template=template_id)
    tx.emit(
        scope,
        "config_template.deleted",
        client_id=found.client_id,
        subject=("ConfigTemplate", template_id),
        name=found.name,
        version=found.version,
    )


async def _make(
    tx: Transaction,
    scope: Scope,
    owner: str,
    family: dict[str, TemplateRow],
    name: str,
    own: Content,
    base: TemplateRow | None,
    note: str | None,
) -> str:
    if len(family) >= MAX_TEMPLATES:
        raise Invalid(f"A client has at most {MAX_TEMPLATES} templates.", argument="name")
    _check_chain(family, None, base)
    template_id, base_id = new_id(), base.id if base else None
    effective = effective_content(base.effective if base else None, own)
    await tx.all(
        _INSERT,
        id=template_id,
        client_id=owner,
        name=name,
        template_id=base_id,
        content=own.text,
        effective=effective.text,
    )
    await append_version(
        tx,
        scope,
        client_id=owner,
        document_id=template_id,
        number=1,
        content=own,
        template_id=base_id,
        note=note,
    )
    subject = ("ConfigTemplate", template_id)
    change = {"before": None, "after": 1, "revisedConfigs": 0}
    tx.emit(scope, "config_template.saved", client_id=owner, subject=subject, name=name, **change)
    return template_id


async def _change(
    tx: Transaction,
    scope: Scope,
    family: dict[str, TemplateRow],
    held: TemplateRow,
    own: Content,
    base: TemplateRow | None,
    note: str | None,
) -> None:
    _check_chain(family, held, base)
    number, base_id = held.version + 1, base.id if base else None
    await tx.all(_UPDATE, template=held.id, number=number, base=base_id, content=own.text)
    await append_version(
        tx,
        scope,
        client_id=held.client_id,
        document_id=held.id,
        number=number,
        content=own,
        template_id=base_id,
        note=note,
    )
    effective = {held.id: effective_content(base.effective if base else None, own)}
    for row in _descendants(family, held.id):
        effective[row.id] = effective_content(effective[row.template_id or ""].value, _content(row.content))
    await tx.all(_SET_TEMPLATES, ids=list(effective), texts=[content.text for content in effective.values()])
    validator = await validator_for(tx, scope, held.client_id)
    revised = await _revise(tx, {key: content.value for key, content in effective.items()}, validator)
    tx.emit(
        scope,
        "config_template.saved",
        client_id=held.client_id,
        subject=("ConfigTemplate", held.id),
        name=held.name,
        before=held.version,
        after=number,
        revisedConfigs=revised,
    )


async def _revise(tx: Transaction, bases: dict[str, dict[str, Any]], validator: Validator | None) -> int:
    """Make the effective contents of the configs under these templates anew; returns how many came out different.

    Raises Invalid when some of those do not satisfy the schema: all or none.
    """
    revised, failures = 0, 0
    told: list[dict[str, Any]] = []
    async for rows in _extending(tx, list(bases)):
        changed: dict[str, str] = {}
        for row in rows:
            content = _effective_of(row, bases[row.template_id or ""])
            if content.text == row.text:
                continue
            changed[row.id] = content.text
            if violations := validator.violations(content.value) if validator else []:
                failures += 1
                told += [{"mac": row.mac, **violation.told()} for violation in violations]
        if failures and len(told) >= _MAX_TOLD:
            break
        if changed:
            await tx.all(_SET_CONFIGS, ids=list(changed), texts=list(changed.values()))
        revised += len(changed)
    if failures:
        first = told[0]
        raise Invalid(
            "Configs that extend this would not satisfy the client's schema any more: "
            f"{first['mac']} at {first['path'] or 'the top'}, {first['message']}.",
            code="SCHEMA_VIOLATION",
            argument="content",
            violations=told[:_MAX_TOLD],
        )
    return revised


def _effective_of(row: ConfigRow, base: dict[str, Any]) -> Content:
    try:
        return effective_content(base, _content(row.content))
    except Invalid as refusal:
        raise Invalid(f"{row.mac}: {refusal.message}", **{**refusal.details, "mac": row.mac}) from None


async def _extending(tx: Transaction, template_ids: list[str]) -> AsyncIterator[list[ConfigRow]]:
    last = _FIRST
    while rows := await tx.all(_EXTENDING, templates=template_ids, last=last):
        yield rows
        last = rows[-1].id


def _check_chain(family: dict[str, TemplateRow], held: TemplateRow | None, base: TemplateRow | None) -> None:
    """Raises Invalid when the template would stand above itself, or too many would stand above each other."""
    above, at = 0, base
    while at is not None:
        if held is not None and at.id == held.id:
            raise Invalid("A template cannot extend itself, at no distance.", code="CYCLE", argument="extends")
        above, at = above + 1, family.get(at.template_id or "")
    below = 0
    level = [held.id] if held else []
    while level := [row.id for row in family.values() if row.template_id in level]:
        below += 1
    if above + 1 + below > MAX_CHAIN:
        message = f"At most {MAX_CHAIN} templates may stand above each other."
        raise Invalid(message, code="TOO_DEEP", argument="extends")


def _descendants(family: dict[str, TemplateRow], template_id: str) -> list[TemplateRow]:
    """Those that extend it at any distance, nearer ones first."""
    found: list[TemplateRow] = []
    level = [template_id]
    while nearer := [row for row in family.values() if row.template_id in level]:
        found += nearer
        level = [row.id for row in nearer]
    return found


def _content(value: dict[str, Any]) -> Content:
    return Content(value, _text(value))


def _text(value: dict[str, Any]) -> str:
    return orjson.dumps(value).decode()
