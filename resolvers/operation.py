"""The decorator that makes a method a root operation: what it returns and what its caller must be allowed.

No operation exists without a permission; `tests/contract/` checks that none slips past this module.
"""

import inspect
from collections.abc import Callable
from typing import Any

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.field import StrawberryField

from domain.kit.written import EVERYTHING, Wanted
from domain.users.principals import Permission

PERMISSION = "permission"
"""Where a root field's metadata keeps the permission that it demands."""


def operation(permission: Permission, returns: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a query or mutation of the schema type `returns`; the method returns rows of the domain."""
    return _declared(strawberry.field, permission, returns)


def subscription(permission: Permission, returns: Any) -> Callable[[Callable[..., Any]], Any]:
    """Make a subscription whose events are of the schema type `returns`.

    The method does not deliver them: it says which events of the log are wanted. `server/graphql/` follows the
    log once for all who want the same. An argument `after` is the cursor to begin behind.
    """
    return _declared(strawberry.subscription, permission, returns)


def _declared(
    make: Callable[..., Any], permission: Permission, returns: Any
) -> Callable[[Callable[..., Any]], Any]:
    def declare(function: Callable[..., Any]) -> Any:
        return make(
            function,
            graphql_type=returns,
            description=_description(function, permission),
            metadata={PERMISSION: permission},
            extensions=[_Demand(permission)],
        )

    return declare


def permission_of(field: StrawberryField) -> Permission | None:
    """The permission that a root field demands; None for other fields."""
    permission: Permission | None = field.metadata.get(PERMISSION)
    return permission


def _description(function: Callable[..., Any], permission: Permission) -> str:
    doc = inspect.getdoc(function) or ""
    if permission is Permission.PUBLIC:
        return f"{doc}\n\nNeeds no credential."
    if permission is Permission.ACCOUNT:
        return f"{doc}\n\nNeeds any valid credential."
    return f"{doc}\n\nNeeds `{permission.value}`."


def wanted_of(info: Any) -> Wanted:
    """What is read of what an operation returns; everything where that is unknown, as in stock execution."""
    wanted: Wanted = getattr(info, "wanted", EVERYTHING)
    return wanted


class _Demand(FieldExtension):
    def __init__(self, permission: Permission) -> None:
        self.permission = permission

    def resolve(self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **kwargs: Any) -> Any:
        info.context.principal.demand(self.permission)
        return next_(source, info, **kwargs)

    async def resolve_async(
        self, next_: Callable[..., Any], source: Any, info: strawberry.Info, **kwargs: Any
    ) -> Any:
        result = self.resolve(next_, source, info, **kwargs)
        return await result if inspect.isawaitable(result) else result
