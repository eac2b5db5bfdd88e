"""Reading what is stored: for whom, of which kind, as the database has it; and the sweeps of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import BigInteger, Select, Text, bindparam, cast, func, literal, null, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY, TEXT

from domain.kit.errors import Denied
from domain.kit.paging import Count, Order, Page, fetch_page, paged
from domain.kit.scope import Scope
from domain.kit.sql import Row, Runner, Statement
from domain.kit.tables import Id
from domain.storage.models import StoreKind, SweepRow, storage_sweeps
from domain.storage.references import BLOB_REFERENCES, BlobReference, named

_s = storage_sweeps.c
_COLUMNS = [_s[name] for name in SweepRow.__annotations__]
_NEWEST_FIRST = Order("REQUESTED_AT_DESC", True, _s.id, lambda row: row.id)
_SWEEP = Statement(select(*_COLUMNS).where(_s.id == bindparam("sweep", type_=Id)), SweepRow)
_MEASURED = Statement(select(*_COLUMNS).where(_s.named.is_not(None)).order_by(_s.id.desc()).limit(1), SweepRow)
_COUNT = Statement(select(func.count()).select_from(storage_sweeps))
_NAMED_OF = Statement(select(named.c.key).where(named.c.key == func.any(bindparam("keys", type_=ARRAY(TEXT)))))


class UseRow(Row):
    """`bytes` is null where rows do not know how large the blobs of the kind are."""

    client_id: str
    kind: str
    blobs: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class KindUse:
    kind: str
    blobs: int
    bytes: int | None


@dataclass(frozen=True, slots=True)
class ClientUse:
    """Blobs of one client. `bytes` are those that rows know of."""

    client_id: str
    blobs: int
    bytes: int
    kinds: list[KindUse]


@dataclass(frozen=True, slots=True)
class StorageView:
    """What is stored: as the database has it, and as a sweep found it."""

    store: StoreKind
    kinds: list[KindUse]
    clients: list[ClientUse]
    swept: SweepRow | None


def _use_of(reference: BlobReference, scoped: bool) -> Select[tuple[str, str, int, int]]:
    size = cast(null(), BigInteger) if reference.size is None else cast(func.sum(reference.size), BigInteger)
    query = select(
        reference.client.label("client_id"),
        literal(reference.kind, Text).label("kind"),
        func.count().label("blobs"),
        size.label("bytes"),
    ).where(reference.key.is_not(None))
    if reference.joined is not None:
        query = query.select_from(reference.joined)
    if reference.where is not None:
        query = query.where(reference.where)
    if scoped:
        query = query.where(reference.client == bindparam("scope", type_=Id))
    return query.group_by(reference.client)


@lru_cache(maxsize=2)
def _use(scoped: bool) -> Statement[UseRow]:
    return Statement(union_all(*(_use_of(reference, scoped) for reference in BLOB_REFERENCES)), UseRow)


async def storage_view(db: Runner, scope: Scope, store: StoreKind, *, largest: int) -> StorageView:
    """What there is in the scope, with so many clients. Only whom the whole platform is shown is told of sweeps."""
    use = await storage_use(db, scope)
    swept = await newest_measurement(db, scope) if scope.client_id is None else None
    return StorageView(store, added_up(use), use[:largest], swept)


async def storage_use(db: Runner, scope: Scope) -> list[ClientUse]:
    """What the database names for each client in the scope, the largest first."""
    given = {"scope": scope.client_id} if scope.client_id is not None else {}
    clients: dict[str, list[KindUse]] = {}
    for row in await db.all(_use(bool(given)), **given):
        clients.setdefault(row.client_id, []).append(KindUse(row.kind, row.blobs, row.bytes))
    found = [
        ClientUse(client, sum(one.blobs for one in kinds), sum(one.bytes or 0 for one in kinds), kinds)
        for client, kinds in clients.items()
    ]
    return sorted(found, key=lambda one: (-one.bytes, one.client_id))


def added_up(clients: Sequence[ClientUse]) -> list[KindUse]:
    """By kind, over all of these."""
    found = []
    for reference in BLOB_REFERENCES:
        ones = [one for client in clients for one in client.kinds if one.kind == reference.kind]
        size = None if reference.size is None else sum(one.bytes or 0 for one in ones)
        found.append(KindUse(reference.kind, sum(one.blobs for one in ones), size))
    return found


async def names_of(db: Runner, scope: Scope, keys: Sequence[str]) -> set[str]:
    """Those of the keys that a row names now."""
    platform_only(scope)
    return {row.key for row in await db.all(_NAMED_OF, keys=list(keys))}


async def newest_measurement(db: Runner, scope: Scope) -> SweepRow | None:
    """The newest sweep that has looked through the store, whatever it did then."""
    platform_only(scope)
    return await db.one(_MEASURED)


async def storage_sweep(db: Runner, scope: Scope, sweep_id: str) -> SweepRow | None:
    platform_only(scope)
    return await db.one(_SWEEP, sweep=sweep_id)


@lru_cache(maxsize=2)
def _list(after: bool) -> Statement[SweepRow]:
    return Statement(paged(select(*_COLUMNS), _s.id, _NEWEST_FIRST, after=after), SweepRow)


async def list_storage_sweeps(db: Runner, scope: Scope, *, first: int, after: str | None) -> Page[SweepRow]:
    """The sweeps, the newest first."""
    platform_only(scope)

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_COUNT)}

    statement, counted = _list(after is not None), Count("storage sweeps", None, count)
    return await fetch_page(db, lambda _: statement, _NEWEST_FIRST, counted, first, after)


def platform_only(scope: Scope) -> None:
    """Raises Denied for the scope of one client."""
    if scope.client_id is not None:
        raise Denied("This is of the whole platform.")
