"""The schema that a client's configs must satisfy: setting it, and holding contents to it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Text, bindparam, cast, delete, func, select
from sqlalchemy.dialects.postgresql import insert

from domain.configs.content import Content
from domain.configs.history import take_turn
from domain.configs.models import ConfigRow, config_schemas, configs
from domain.configs.schemas import Validator, Violation, checked_schema, validator_of
from domain.kit.errors import Invalid, NotFound
from domain.kit.scope import Scope, visible
from domain.kit.sql import Runner, Statement
from domain.kit.tables import Id, OrderedJson
from domain.kit.transactions import Transaction

MAX_FAILURES = 100
"""So many configs are told of in one report."""
_BATCH = 500

_set = insert(config_schemas).values(
    client_id=bindparam("client", type_=Id),
    schema=cast(bindparam("text", type_=Text), OrderedJson),
    updated_at=func.now(),
)
_SET = Statement(
    _set.on_conflict_do_update(
        index_elements=["client_id"], set_={"schema": _set.excluded.schema, "updated_at": _set.excluded.updated_at}
    )
)
_REMOVE = Statement(
    delete(config_schemas)
    .where(config_schemas.c.client_id == bindparam("client"))
    .returning(config_schemas.c.client_id)
)
_TEXT = Statement(
    select(cast(config_schemas.c.schema, Text)).where(config_schemas.c.client_id == bindparam("client"))
)
_EFFECTIVE = Statement(
    select(configs.c.id, configs.c.mac, configs.c.effective)
    .where(
        configs.c.client_id == bindparam("client"),
        configs.c.deleted_at.is_(None),
        configs.c.id > bindparam("last", type_=Id),
        visible(configs.c.client_id),
    )
    .order_by(configs.c.id)
    .limit(_BATCH),
    ConfigRow,
)
_FIRST = "00000000-0000-0000-0000-000000000000"


@dataclass(frozen=True, slots=True)
class Failure:
    """A config that does not satisfy a schema, and the first ways in which it does not."""

    id: str
    mac: str
    violations: list[Violation]


@dataclass(slots=True)
class Report:
    """How the configs of a client stand to a schema. `failures` are the first of `failed`."""

    client_id: str
    schema: dict[str, Any]
    applied: bool
    checked: int = 0
    failed: int = 0
    failures: list[Failure] = field(default_factory=list)


async def set_config_schema(
    tx: Transaction, scope: Scope, *, schema: Any, client_id: str | None, dry_run: bool = False
) -> Report:
    """Hold new versions of a client's configs to a schema, and say which of those that are there do not satisfy it.

    They stay as they are until somebody changes them. `dry_run` only says. Raises Invalid for a schema that cannot
    be used.
    """
    text = checked_schema(schema)
    owner = await take_turn(tx, scope, client_id, alone=True)
    report = Report(owner, schema, applied=not dry_run)
    validator = validator_of(text)
    async for row in _effective(tx, scope, owner):
        report.checked += 1
        if violations := validator.violations(row.effective):
            report.failed += 1
            if len(report.failures) < MAX_FAILURES:
                report.failures.append(Failure(row.id, row.mac, violations))
    if not dry_run and await tx.value(_TEXT, client=owner) != text:
        await tx.all(_SET, client=owner, text=text)
        tx.emit(scope, "config_schema.set", client_id=owner, subject=("Client", owner), failing=report.failed)
    return report


async def remove_config_schema(tx: Transaction, scope: Scope, *, client_id: str | None) -> str:
    """Hold a client's configs to nothing any more; returns the client's id. Raises NotFound without a schema."""
    owner = await take_turn(tx, scope, client_id, alone=True)
    if await tx.one(_REMOVE, client=owner) is None:
        raise NotFound("This client has no schema for its configs.", clientId=owner)
    tx.emit(scope, "config_schema.removed", client_id=owner, subject=("Client", owner))
    return owner


async def validator_for(db: Runner, scope: Scope, client_id: str) -> Validator | None:
    """What the client's configs are held to; None when that is nothing."""
    text = await db.value(_TEXT, client=scope.owner(client_id))
    return None if text is None else validator_of(text)


def check_effective(validator: Validator | None, content: Content) -> None:
    """Raises Invalid, with the violations, when a config's effective content does not satisfy the schema."""
    violations = validator.violations(content.value) if validator else []
    if violations:
        first = violations[0]
        at = first.path or "the top"
        raise Invalid(
            f"This does not satisfy the schema of the client's configs: at {at}, {first.message}.",
            code="SCHEMA_VIOLATION",
            argument="content",
            violations=[violation.told() for violation in violations],
        )


async def _effective(tx: Transaction, scope: Scope, client_id: str) -> AsyncIterator[ConfigRow]:
    last = _FIRST
    while rows := await tx.all(_EFFECTIVE, client=client_id, last=last, scope=scope.client_id):
        for row in rows:
            yield row
        last = rows[-1].id
        await asyncio.sleep(0)  # whoever else waits for this process
