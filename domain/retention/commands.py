"""Changing how long things are kept."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Boolean, Integer, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import TEXT, insert

from domain.clients.models import clients
from domain.kit.errors import Denied, Invalid, NotFound
from domain.kit.scope import Scope, visible
from domain.kit.sql import Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction
from domain.retention.models import RetentionDefaults, RetentionKind, retention_policies
from domain.retention.queries import RetentionRule, rules_of

MAX_DAYS = 36_500
LEAST_DAYS: Mapping[RetentionKind, int] = {
    RetentionKind.IMAGES: 1,
    RetentionKind.DELETED_IMAGES: 1,
    # Health looks back over weeks; subscribers resume and operators look into the past.
    RetentionKind.TELEMETRY: 31,
    RetentionKind.EVENTS: 31,
    RetentionKind.SCENES: 1,
}

_p = retention_policies.c
# Locked, so that two changes of one client's policy come one after the other.
_CLIENT = Statement(
    select(clients.c.id)
    .where(clients.c.id == bindparam("client"), clients.c.deleted_at.is_(None), visible(clients.c.id))
    .with_for_update(key_share=True)
)
_said = insert(retention_policies).values(
    client_id=bindparam("client", type_=Id),
    kind=bindparam("kind", type_=TEXT),
    enabled=bindparam("enabled", type_=Boolean),
    keep_days=bindparam("days", type_=Integer),
)
_SAY = Statement(
    _said.on_conflict_do_update(
        index_elements=["client_id", "kind"],
        set_={"enabled": _said.excluded.enabled, "keep_days": _said.excluded.keep_days, "updated_at": func.now()},
    )
)
_FORGET = Statement(
    delete(retention_policies).where(
        _p.client_id == bindparam("client", type_=Id), _p.kind == bindparam("kind", type_=TEXT)
    )
)


@dataclass(frozen=True, slots=True)
class RuleChange:
    """What a client says of a kind; None is the default, also where it was said otherwise before."""

    kind: RetentionKind
    enabled: bool | None
    keep_days: int | None


async def update_retention_policy(
    tx: Transaction,
    scope: Scope,
    client_id: str | None,
    changes: list[RuleChange],
    defaults: RetentionDefaults,
) -> str:
    """Change some rules of a client, whose id is returned; kinds that are not named stay as they are.

    Raises NotFound, Invalid, and Denied when a client wants its events, by which it is audited, to go earlier than
    the platform says.
    """
    owner = scope.owner(client_id)
    _check(scope, changes, defaults)
    if await tx.one(_CLIENT, client=owner, scope=scope.client_id) is None:
        raise NotFound("There is no such client.", clientId=owner)
    before = await rules_of(tx, scope, owner, defaults)
    for change in changes:
        if change.enabled is None and change.keep_days is None:
            await tx.all(_FORGET, client=owner, kind=change.kind.value)
        else:
            said = {"enabled": change.enabled, "days": change.keep_days}
            await tx.all(_SAY, client=owner, kind=change.kind.value, **said)
    after = await rules_of(tx, scope, owner, defaults)
    _tell(tx, scope, owner, before, after)
    return owner


def _check(scope: Scope, changes: list[RuleChange], defaults: RetentionDefaults) -> None:
    if not changes:
        raise Invalid("Say what is to change.", argument="changes")
    if len({change.kind for change in changes}) < len(changes):
        raise Invalid("Each kind may be there once.", argument="changes")
    for change in changes:
        least, days = LEAST_DAYS[change.kind], change.keep_days
        if days is not None and not least <= days <= MAX_DAYS:
            raise Invalid(
                f"{change.kind} are kept for {least} to {MAX_DAYS} days.", argument="keepDays", kind=change.kind
            )
        default = defaults.rules[change.kind]
        shorter = change.enabled is not False and days is not None and days < default.keep_days
        sooner = change.enabled is True and not default.enabled
        if change.kind is RetentionKind.EVENTS and scope.client_id is not None and (shorter or sooner):
            raise Denied(
                "Only an admin of the platform lets events go earlier: they are the audit log, too.",
                argument="keepDays",
            )


def _tell(
    tx: Transaction, scope: Scope, owner: str, before: list[RetentionRule], after: list[RetentionRule]
) -> None:
    pairs = [(old, new) for old, new in zip(before, after, strict=True) if _said_of(old) != _said_of(new)]
    if pairs:
        tx.emit(
            scope,
            "retention.policy_updated",
            client_id=owner,
            subject=("Client", owner),
            before={old.kind.value: _said_of(old) for old, _ in pairs},
            after={new.kind.value: _said_of(new) for _, new in pairs},
        )


def _said_of(rule: RetentionRule) -> dict[str, Any]:
    return {"enabled": rule.enabled, "keepDays": rule.keep_days}
