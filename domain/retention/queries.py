"""Reading retention: the rules of a client, and the cleanups that were begun."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, bindparam, func, select
from sqlalchemy.dialects.postgresql import TEXT

from domain.clients.models import clients
from domain.kit.errors import NotFound
from domain.kit.paging import Count, Order, Page, fetch_page, given_filters, list_key, paged
from domain.kit.scope import Scope, visible
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.retention.models import CleanupRow, RetentionDefaults, RetentionKind, cleanup_runs, retention_policies


@dataclass(frozen=True, slots=True)
class RetentionRule:
    """How a client keeps one kind. `updated_at` is when it last said so, None where it never did."""

    kind: RetentionKind
    enabled: bool
    keep_days: int
    is_default: bool
    updated_at: datetime | None


class PolicyRow(Row):
    client_id: str
    kind: str
    enabled: bool | None
    keep_days: int | None
    updated_at: datetime


_FOR_EVER = 36_500  # days
_p = retention_policies.c
_POLICIES = Statement(select(retention_policies).where(_p.client_id == bindparam("client", type_=Id)), PolicyRow)
_OF_ALL = Statement(
    select(clients.c.id.label("client_id"), _p.enabled, _p.keep_days)
    .select_from(
        clients.outerjoin(
            retention_policies,
            (_p.client_id == clients.c.id) & (_p.kind == bindparam("kind", type_=TEXT)),
        )
    )
    .order_by(clients.c.id),
    PolicyRow,
)
_CLIENT = Statement(select(clients.c.id).where(clients.c.id == bindparam("client"), visible(clients.c.id)))


async def rules_of(
    db: Runner, scope: Scope, client_id: str | None, defaults: RetentionDefaults
) -> list[RetentionRule]:
    """A rule for each kind: of a client, or with None the defaults. Raises NotFound outside the scope."""
    said: dict[str, PolicyRow] = {}
    if client_id is not None:
        if await db.one(_CLIENT, client=client_id, scope=scope.client_id) is None:
            raise NotFound("There is no such client.", clientId=client_id)
        said = {row.kind: row for row in await db.all(_POLICIES, client=client_id)}
    return [_rule(kind, said.get(kind), defaults) for kind in RetentionKind]


async def scene_lifetime(db: Runner, scope: Scope, client_id: str, defaults: RetentionDefaults) -> timedelta:
    """For how long a client's scenes are kept; for ever is a hundred years. Raises NotFound."""
    (rule,) = [one for one in await rules_of(db, scope, client_id, defaults) if one.kind is RetentionKind.SCENES]
    return timedelta(days=rule.keep_days if rule.enabled else _FOR_EVER)


async def days_kept_everywhere(
    db: Runner, scope: Scope, kind: RetentionKind, defaults: RetentionDefaults
) -> dict[str, int | None]:
    """For how many days each client keeps a kind, closed ones too; None is for ever."""
    rows = await db.all(_OF_ALL, kind=kind.value)
    rules = {row.client_id: _rule(kind, row, defaults) for row in rows}
    return {client_id: rule.keep_days if rule.enabled else None for client_id, rule in rules.items()}


def _rule(kind: RetentionKind, row: Any, defaults: RetentionDefaults) -> RetentionRule:
    default = defaults.rules[kind]
    enabled, days = (row["enabled"], row["keep_days"]) if row else (None, None)
    return RetentionRule(
        kind=kind,
        enabled=default.enabled if enabled is None else enabled,
        keep_days=default.keep_days if days is None else days,
        is_default=enabled is None and days is None,
        updated_at=row.get("updated_at") if row else None,
    )


_r = cleanup_runs.c
_COLUMNS = [_r[name] for name in CleanupRow.__annotations__]
_NEWEST = Order("CREATED_AT_DESC", True, _r.id, lambda row: row.id)
_CONDITIONS = {
    "scope": _r.client_id == bindparam("scope", type_=Id),
    "client_id": _r.client_id == bindparam("client_id", type_=Id),
    "kind": _r.kind == bindparam("kind", type_=TEXT),
    "dry_run": _r.dry_run == bindparam("dry_run"),
}
_ONE = Statement(select(*_COLUMNS).where(_r.id == bindparam("run"), visible(_r.client_id)), CleanupRow)


@lru_cache(maxsize=64)
def _list(filters: frozenset[str], after: bool) -> Statement[CleanupRow]:
    return Statement(paged(_filtered(select(*_COLUMNS), filters), _r.id, _NEWEST, after=after), CleanupRow)


@lru_cache(maxsize=32)
def _count(filters: frozenset[str]) -> Statement[Row]:
    return Statement(_filtered(select(func.count()).select_from(cleanup_runs), filters))


def _filtered(query: Select[Any], filters: frozenset[str]) -> Select[Any]:
    return query.where(*(_CONDITIONS[name] for name in sorted(filters)))


async def cleanup_run(db: Runner, scope: Scope, run_id: str) -> CleanupRow | None:
    """One of them; None where there is none in the scope."""
    return await db.one(_ONE, run=run_id, scope=scope.client_id)


async def list_cleanup_runs(
    db: Runner, scope: Scope, *, first: int, after: str | None, **filters: Any
) -> Page[CleanupRow]:
    """The cleanups in the scope, the newest first. Filters are those of `_CONDITIONS`."""
    given = given_filters(scope, filters)
    names = frozenset(given)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_count(names), **given)}

    key = list_key("cleanup runs", given)
    statement = _list(names, after is not None)
    return await fetch_page(db, lambda _: statement, _NEWEST, Count(key, None, count), first, after, **given)
