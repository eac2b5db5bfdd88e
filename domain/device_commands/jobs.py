"""What the clock does to commands: those whose time is over are written down as EXPIRED, and told."""

from sqlalchemy import func, select, update

from domain.device_commands.commands import tell
from domain.device_commands.models import OPEN, CommandStatus, DeviceCommandRow, device_commands
from domain.kit.scope import Scope
from domain.kit.sql import Statement
from domain.kit.transactions import Transaction

_AT_ONCE = 5_000

# A wake that confirms a command this very moment has it locked: it goes first, and nobody waits for the other.
_over = (
    select(device_commands.c.id)
    .where(OPEN, device_commands.c.expires_at <= func.now())
    .order_by(device_commands.c.expires_at)
    .limit(_AT_ONCE)
    .with_for_update(skip_locked=True)
)
_EXPIRE = Statement(
    update(device_commands)
    .where(device_commands.c.id == func.any(func.array(_over.scalar_subquery())))
    .values(status=CommandStatus.EXPIRED.value, finished_at=device_commands.c.expires_at)
    .returning(device_commands),
    DeviceCommandRow,
)


async def expire_device_commands(tx: Transaction, scope: Scope) -> int:
    """Expire what is over, whosesoever it is, up to 5,000 at once; returns how many."""
    expired = await tx.all(_EXPIRE)
    for command in expired:
        tell(tx, scope, "device_command.expired", command, delivered=command.delivered_at is not None)
    return len(expired)
