"""The life of a generation, as rows: claimed by a worker, put off, ended, sent again.

As with images the row holds attempts and lease, so a message that comes twice, late or never changes nothing. A
picture costs money, so there is one thing more: its bytes are stored under a key that the generation alone decides
(`picture_key`) before anything else happens, and whoever claims it again looks there before asking the provider.

RUNNING ends where the picture itself does: it is READY when its image is, in the same transaction (`settle_image`).
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Double, Integer, Interval, bindparam, func, or_, select, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.generation.commands import GENERATE, LEASE, tell
from domain.generation.models import UNFINISHED, FailureCode, GenerationRow, GenerationStatus, generations
from domain.images.formats import CONTENT_TYPES
from domain.images.models import ImageSource, ImageStatus, images
from domain.kit.scope import ActorKind, Scope, visible
from domain.kit.sql import Row, Statement
from domain.kit.tables import Id
from domain.kit.transactions import Transaction

MAX_ATTEMPTS = 3
LONGEST_WAIT = 120.0
"""Seconds. When the provider wants us to wait longer, whoever asked is told at once instead."""
_FIRST_WAIT = 4.0  # seconds, where the provider says nothing; doubled for each attempt
_RESENT_AT_ONCE = 200

_table = generations.c
_COLUMNS = [_table[name] for name in GenerationRow.__annotations__]
_it = _table.id == bindparam("generation", type_=Id)

_CLAIM = Statement(
    update(generations)
    .where(
        _it,
        visible(_table.client_id),
        _table.image_id.is_(None),
        or_(
            (_table.status == GenerationStatus.QUEUED.value)
            & (_table.retry_at.is_(None) | (_table.retry_at <= func.now())),
            (_table.status == GenerationStatus.RUNNING.value) & (_table.lease_until < func.now()),
        ),
    )
    .values(
        status=GenerationStatus.RUNNING.value,
        attempts=_table.attempts + 1,
        started_at=func.now(),
        retry_at=None,
        provider=bindparam("new_provider", type_=TEXT),
        model=bindparam("new_model", type_=TEXT),
        lease_until=func.now() + bindparam("lease", type_=Interval),
    )
    .returning(*_COLUMNS),
    GenerationRow,
)
_mine = (
    _it,
    visible(_table.client_id),
    _table.status == GenerationStatus.RUNNING.value,
    _table.attempts == bindparam("attempt", type_=Integer),
)
_HOLD = Statement(select(_table.id).where(*_mine, _table.image_id.is_(None)).with_for_update())
_PICTURED = Statement(
    update(generations)
    .where(*_mine)
    .values(
        image_id=bindparam("image", type_=Id),
        lease_until=None,
        generation_ms=bindparam("ms", type_=Integer),
        cost_usd=bindparam("cost", type_=Double),
    )
)
_PUT_OFF = Statement(
    update(generations)
    .where(*_mine)
    .values(
        status=GenerationStatus.QUEUED.value,
        retry_at=func.now() + bindparam("wait", type_=Interval),
        lease_until=func.now() + bindparam("wait", type_=Interval),
    )
    .returning(_table.id)
)
_FAIL = Statement(
    update(generations)
    .where(*_mine)
    .values(
        status=GenerationStatus.FAILED.value,
        finished_at=func.now(),
        lease_until=None,
        generation_ms=func.coalesce(bindparam("ms", type_=Integer), _table.generation_ms),
        failure_code=bindparam("code", type_=TEXT),
        failure_message=bindparam("message", type_=TEXT),
        failure_retry_after=bindparam("retry_after", type_=Integer),
    )
    .returning(_table.id)
)


class _SettledRow(Row):
    id: str
    client_id: str
    requester_kind: str
    requester_id: str | None
    status: str
    generation_ms: int | None
    failure_code: str | None
    failure_message: str | None


_is_ready = images.c.status == ImageStatus.READY.value
_SETTLE = Statement(
    update(generations)
    .where(
        _table.image_id == bindparam("image", type_=Id),
        _table.status == GenerationStatus.RUNNING.value,
        images.c.id == _table.image_id,
        visible(_table.client_id),
        images.c.status == func.any(func.array([ImageStatus.READY.value, ImageStatus.REJECTED.value])),
    )
    .values(
        status=func.iif(_is_ready, GenerationStatus.READY.value, GenerationStatus.FAILED.value),
        finished_at=func.now(),
    )
    .returning(*(_table[name] for name in _SettledRow.__annotations__)),
    _SettledRow,
)
