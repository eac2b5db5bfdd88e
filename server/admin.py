"""The first admin, and further ones from the command line."""

import secrets
from dataclasses import dataclass

from domain.kit.errors import Invalid
from domain.kit.scope import SYSTEM
from domain.kit.sql import Database
from domain.kit.transactions import transaction
from domain.users.commands import create_user
from domain.users.models import Role
from domain.users.passwords import hash_password
from domain.users.queries import has_admin
from server.process import connect_database
from server.settings import PREFIX, Settings, SettingsError


@dataclass(frozen=True, slots=True)
class MadeAdmin:
    """`generated_password` is None when the settings gave one."""

    email: str
    generated_password: str | None


async def create_admin(settings: Settings) -> MadeAdmin:
    """Make an admin by the settings. Raises Conflict when the e-mail is taken."""
    database = await connect_database(settings, "admin")
    try:
        return await _create(database, settings)
    finally:
        await database.close()


async def ensure_admin(settings: Settings) -> MadeAdmin | None:
    """Make the first admin; None when there is one already."""
    database = await connect_database(settings, "admin")
    try:
        if await has_admin(database, SYSTEM):
            return None
        return await _create(database, settings)
    finally:
        await database.close()


async def _create(database: Database, settings: Settings) -> MadeAdmin:
    generated = None if settings.admin_password else secrets.token_urlsafe(15)
    try:
        password_hash = await hash_password(settings.admin_password or generated or "")
        async with transaction(database) as tx:
            await create_user(
                tx,
                SYSTEM,
                email=settings.admin_email,
                password_hash=password_hash,
                role=Role.ADMIN,
                client_id=None,
            )
    except Invalid as error:
        raise SettingsError(
            f"{PREFIX}ADMIN_{error.details['argument'].upper()} is wrong: {error.message}"
        ) from None
    return MadeAdmin(settings.admin_email, generated)
