"""Reading users."""

from collections.abc import Sequence

from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects.postgresql import ARRAY

from domain.kit.paging import Count, Order, Page, fetch_page, paged
from domain.kit.scope import Scope, visible
from domain.kit.sql import Runner, Statement
from domain.kit.tables import Id
from domain.users.models import Role, UserRow, users

_COLUMNS = [users.c[name] for name in UserRow.__annotations__]
_live = users.c.deleted_at.is_(None)

BY_EMAIL = Order(
    "EMAIL", False, func.lower(users.c.email, type_=users.c.email.type), lambda row: row.email, func.lower
)

_BY_IDS = Statement(
    select(*_COLUMNS).where(
        users.c.id == func.any(bindparam("ids", type_=ARRAY(Id))), visible(users.c.client_id), _live
    ),
    UserRow,
)
_LIST = {
    after: Statement(
        paged(select(*_COLUMNS).where(_live, visible(users.c.client_id)), users.c.id, BY_EMAIL, after=after),
        UserRow,
    )
    for after in (False, True)
}
_COUNT = Statement(select(func.count()).select_from(users).where(_live, visible(users.c.client_id)))

_ANY_ADMIN = Statement(select(users.c.id).where(users.c.role == Role.ADMIN.value, _live).limit(1))


async def users_by_ids(db: Runner, scope: Scope, ids: Sequence[str]) -> list[UserRow | None]:
    """The users with these ids, aligned with them; None where there is none in the scope."""
    return await db.by_ids(_BY_IDS, scope, ids)


async def list_users(db: Runner, scope: Scope, *, first: int, after: str | None) -> Page[UserRow]:
    """The users in the scope by e-mail. Admins belong to no client and are seen platform-wide only."""

    async def count(_: Sequence[str | None]) -> dict[str | None, int]:
        return {None: await db.value(_COUNT, scope=scope.client_id)}

    statement = _LIST[after is not None]
    return await fetch_page(
        db, lambda _: statement, BY_EMAIL, Count("users", None, count), first, after, scope=scope.client_id
    )


async def has_admin(db: Runner, scope: Scope) -> bool:
    """Whether there is any admin of the platform."""
    return await db.one(_ANY_ADMIN) is not None
