"""The life of a generation, as rows: claimed by a worker, put off, ended, sent again.

As with images the row holds attempts and lease, so a message that comes twice, late or never changes nothing. A
picture costs money, so there is one thing more: its bytes are stored under a key that generation and attempt decide
(`picture_key`) before anything else happens, and whoever claims it again looks there before asking the provider.

RUNNING ends where the picture itself does: it is READY when its image is, in the same transaction (`settle_image`).
"""

import math
from datetime import timedelta
from typing import Any

from sqlalchemy import Double, Integer, Interval, bindparam, case, func, literal, or_, select, update
from sqlalchemy.dialects.postgresql import TEXT

from domain.generation.commands import GENERATE, LEASE, tell
from domain.generation.models import UNFINISHED, FailureCode, GenerationRow, GenerationStatus, generations
from domain.images.arrivals import record_image
from domain.images.formats import CONTENT_TYPES
from domain.images.models import ImageSource, ImageStatus, images
from domain.kit.scope import SYSTEM, ActorKind, Scope, visible
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


class SettledRow(Row):
    id: str
    client_id: str
    requester_kind: str
    requester_id: str | None
    status: str
    generation_ms: int | None
    failure_code: str | None
    failure_message: str | None


_is_ready = images.c.status == ImageStatus.READY.value
_gave_up = images.c.rejection_code == "GAVE_UP"
_SETTLE = Statement(
    update(generations)
    .where(
        _table.image_id == bindparam("image", type_=Id),
        _table.status == GenerationStatus.RUNNING.value,
        images.c.id == _table.image_id,
        visible(_table.client_id),
        or_(_is_ready, images.c.status == ImageStatus.REJECTED.value),
    )
    .values(
        status=case((_is_ready, GenerationStatus.READY.value), else_=GenerationStatus.FAILED.value),
        finished_at=func.now(),
        failure_code=case(
            (_is_ready, None),
            (_gave_up, FailureCode.GAVE_UP.value),
            else_=FailureCode.PROVIDER_ERROR.value,
        ),
        failure_message=case(
            (_is_ready, None),
            else_=literal("The picture cannot be used: ").concat(images.c.rejection_message),
        ),
    )
    .returning(*(_table[name] for name in SettledRow.__annotations__)),
    SettledRow,
)
_OVERDUE = (
    select(_table.id)
    .where(UNFINISHED, _table.lease_until < func.now())
    .order_by(_table.lease_until)
    .limit(_RESENT_AT_ONCE)
    .with_for_update(skip_locked=True)
    .scalar_subquery()
)
# What waits for its time waits no longer once it was sent; what is with a worker who is late may be claimed from
# it.
_RESEND = Statement(
    update(generations)
    .where(_table.id == func.any(func.array(_OVERDUE)))
    .values(status=GenerationStatus.QUEUED.value, lease_until=func.now() + bindparam("lease", type_=Interval))
    .returning(_table.id)
)


def picture_key(generation: GenerationRow, attempt: int, content_type: str) -> str:
    """Where the picture that this attempt made is kept. Not shared with other attempts: one that is late must not
    replace what was recorded meanwhile.
    """
    name = f"generated-{generation.id}-{attempt}.{CONTENT_TYPES[content_type]}"
    return f"originals/{generation.requested_at:%Y/%m/%d}/{name}"


async def claim_generation(
    tx: Transaction, scope: Scope, generation_id: str, *, provider: str, model: str, lease: timedelta
) -> GenerationRow | None:
    """Take a generation that waits, for this provider. None when it is over, or not due, or with another worker.

    `lease` is longer than an attempt may last.
    """
    claimed = await tx.one(
        _CLAIM,
        generation=generation_id,
        scope=scope.client_id,
        new_provider=provider,
        new_model=model,
        lease=lease,
    )
    if claimed and claimed.attempts <= MAX_ATTEMPTS:
        _tell(tx, "running", claimed, attempt=claimed.attempts)
    return claimed


async def record_picture(
    tx: Transaction,
    scope: Scope,
    generation: GenerationRow,
    *,
    key: str,
    content_type: str,
    size_bytes: int,
    sha256: str,
    generation_ms: int | None,
    cost_usd: float | None,
) -> None:
    """Write the image of a claimed generation, unless somebody else has the generation now. It stays RUNNING until
    the image is READY or REJECTED.
    """
    mine = {"generation": generation.id, "attempt": generation.attempts, "scope": scope.client_id}
    if await tx.one(_HOLD, **mine) is None:
        return
    image = await record_image(
        tx,
        requester(generation),
        source=ImageSource.GENERATED,
        content_type=content_type,
        size_bytes=size_bytes,
        sha256=sha256,
        original_key=key,
        prompt="".join(one if one.isprintable() or one == "\n" else " " for one in generation.prompt),
        tags=generation.tags,
        client_id=generation.client_id,
    )
    await tx.all(_PICTURED, **mine, image=image.id, ms=generation_ms, cost=cost_usd)


async def fail_generation(
    tx: Transaction,
    scope: Scope,
    generation: GenerationRow,
    *,
    code: FailureCode,
    message: str,
    retry: bool = False,
    retry_after: float | None = None,
    generation_ms: int | None = None,
) -> None:
    """FAILED; or QUEUED until later, where `retry` says that this may help, attempts are left, and the provider
    does not want us to wait (`retry_after`, seconds) for longer than LONGEST_WAIT.
    """
    mine = {"generation": generation.id, "attempt": generation.attempts, "scope": scope.client_id}
    wait = _FIRST_WAIT * 2 ** (generation.attempts - 1) if retry_after is None else max(1.0, retry_after)
    if retry and generation.attempts < MAX_ATTEMPTS and wait <= LONGEST_WAIT:
        if await tx.one(_PUT_OFF, **mine, wait=timedelta(seconds=wait)):
            _tell(tx, "put_off", generation, code=code.value, message=message, retryInSeconds=round(wait))
        return
    seconds = None if retry_after is None else math.ceil(retry_after)
    given = {"code": code.value, "message": message, "retry_after": seconds, "ms": generation_ms}
    if await tx.one(_FAIL, **mine, **given):
        _tell(tx, "failed", generation, code=code.value, message=message)


async def settle_image(tx: Transaction, scope: Scope, image_id: str) -> None:
    """End the generation whose image just became READY or REJECTED, if it is the image of one."""
    for row in await tx.all(_SETTLE, image=image_id, scope=scope.client_id):
        if row.status == GenerationStatus.READY.value:
            _tell(tx, "ready", row, imageId=image_id, generationMs=row.generation_ms)
        else:
            _tell(tx, "failed", row, code=row.failure_code, message=row.failure_message)


async def resend_overdue_generations(tx: Transaction, scope: Scope) -> int:
    """Send those again whose worker did not come back, or whose time to try again has come; at most 200 at once."""
    rows = await tx.all(_RESEND, lease=LEASE)
    for row in rows:
        tx.enqueue(GENERATE, generation_id=row.id)
    return len(rows)


def requester(generation: GenerationRow | SettledRow) -> Scope:
    """In whose name it is made."""
    return Scope(ActorKind(generation.requester_kind), generation.requester_id, generation.client_id)


def _tell(tx: Transaction, happened: str, generation: GenerationRow | SettledRow, **data: Any) -> None:
    tell(tx, SYSTEM, happened, generation.id, generation.client_id, **data)
