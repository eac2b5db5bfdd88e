"""Who a caller is once its credential was checked, and what that lets it do."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import cached_property

from domain.kit.errors import Denied, Unauthenticated
from domain.kit.scope import ActorKind, Scope
from domain.users.models import Role


class Permission(StrEnum):
    """What an operation may demand. PUBLIC needs no credential, ACCOUNT any that is valid.

    IMAGES_GENERATE lets pictures be made, which may cost money. CONFIGS_READ shows which configs there are,
    CONFIGS_CONTENT what stands in them: Wi-Fi passwords, often.
    """

    PUBLIC = "public"
    ACCOUNT = "account"
    CLIENTS_READ = "clients:read"
    CLIENTS_WRITE = "clients:write"
    CLIENT_TOKEN = "clients:token"
    USERS_READ = "users:read"
    USERS_WRITE = "users:write"
    DEVICES_READ = "devices:read"
    DEVICES_WRITE = "devices:write"
    DEVICES_REPORT = "devices:report"
    FIRMWARE_READ = "firmware:read"
    FIRMWARE_WRITE = "firmware:write"
    IMAGES_READ = "images:read"
    IMAGES_WRITE = "images:write"
    IMAGES_GENERATE = "images:generate"
    CONFIGS_READ = "configs:read"
    CONFIGS_CONTENT = "configs:content"
    CONFIGS_WRITE = "configs:write"
    EVENTS_READ = "events:read"
    AUDIT_READ = "audit:read"
    RETENTION_READ = "retention:read"
    RETENTION_WRITE = "retention:write"
    PLATFORM_READ = "platform:read"
    PLATFORM_WRITE = "platform:write"


_SIGNED_IN = {Permission.PUBLIC, Permission.ACCOUNT}
_VIEWER = _SIGNED_IN | {
    Permission.CLIENTS_READ,
    Permission.DEVICES_READ,
    Permission.FIRMWARE_READ,
    Permission.IMAGES_READ,
    Permission.CONFIGS_READ,
    Permission.EVENTS_READ,
    Permission.RETENTION_READ,
}
_OPERATOR = _VIEWER | {
    Permission.DEVICES_WRITE,
    Permission.DEVICES_REPORT,
    Permission.FIRMWARE_WRITE,
    Permission.IMAGES_WRITE,
    Permission.IMAGES_GENERATE,
    Permission.CONFIGS_CONTENT,
    Permission.CONFIGS_WRITE,
    Permission.CLIENT_TOKEN,
    Permission.USERS_READ,
    Permission.AUDIT_READ,
    Permission.RETENTION_WRITE,
}

PERMISSIONS: dict[Role, frozenset[Permission]] = {
    Role.VIEWER: frozenset(_VIEWER),
    Role.OPERATOR: frozenset(_OPERATOR),
    Role.ADMIN: frozenset(Permission),
}
_OF_PEOPLE = {
    Permission.CLIENT_TOKEN,
    Permission.USERS_READ,
    Permission.AUDIT_READ,
    Permission.RETENTION_WRITE,
}
_OF_CLIENT_TOKEN = frozenset(_OPERATOR - _OF_PEOPLE)
_OF_DEVICE_TOKEN = frozenset(_SIGNED_IN | {Permission.DEVICES_REPORT})


class PrincipalKind(StrEnum):
    ANONYMOUS = "ANONYMOUS"
    USER = "USER"
    CLIENT = "CLIENT"
    DEVICE = "DEVICE"


@dataclass(frozen=True)
class Principal:
    """A caller. `id` is of the user, client or device; `expires_at` is when its credential ends, if ever.

    `key` is a device's own key, `session_id` a user's session, `refusal` why a credential that was sent
    counts for nothing: public operations (such as refreshing a session) work all the same.
    """

    kind: PrincipalKind
    id: str | None = None
    client_id: str | None = None
    role: Role | None = None
    permissions: frozenset[Permission] = frozenset({Permission.PUBLIC})
    session_id: str | None = None
    key: str | None = None
    expires_at: datetime | None = None
    refusal: Unauthenticated | None = None

    @cached_property
    def scope(self) -> Scope:
        """What this caller may touch. Raises Unauthenticated for nobody."""
        if self.kind is PrincipalKind.ANONYMOUS:
            raise self._nobody()
        return Scope(ActorKind(self.kind), self.id, self.client_id)

    @property
    def granted(self) -> list[str]:
        """The names of its permissions, in alphabetical order."""
        return sorted(permission.value for permission in self.permissions)

    def demand(self, permission: Permission) -> None:
        """Raises Unauthenticated (nobody) or Denied (somebody) when it lacks the permission."""
        if permission in self.permissions:
            return
        if self.kind is PrincipalKind.ANONYMOUS:
            raise self._nobody()
        raise Denied(f"This needs the permission {permission.value}.", permission=permission.value)

    def _nobody(self) -> Unauthenticated:
        return self.refusal or Unauthenticated("Sign in first.")


ANONYMOUS = Principal(PrincipalKind.ANONYMOUS)


def user_principal(
    user_id: str, client_id: str | None, role: Role, session_id: str, expires_at: datetime
) -> Principal:
    return Principal(
        PrincipalKind.USER, user_id, client_id, role, PERMISSIONS[role], session_id, expires_at=expires_at
    )


def client_principal(client_id: str) -> Principal:
    return Principal(PrincipalKind.CLIENT, client_id, client_id, permissions=_OF_CLIENT_TOKEN)


def device_principal(device_id: str, client_id: str, key: str) -> Principal:
    return Principal(PrincipalKind.DEVICE, device_id, client_id, permissions=_OF_DEVICE_TOKEN, key=key)
