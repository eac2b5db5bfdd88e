"""The job of generation: a picture that somebody asked for is drawn, stored, and handed on as an image."""

import asyncio
import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import dramatiq
import structlog

from domain.generation.jobs import (
    MAX_ATTEMPTS,
    claim_generation,
    fail_generation,
    picture_key,
    record_picture,
)
from domain.generation.models import FailureCode, GenerationRow, ImageShape
from domain.generation.providers import Failed, Made, Wanted
from domain.images.formats import CONTENT_TYPES
from domain.kit.errors import NotFound, Unavailable
from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from workers.broker import GENERATION
from workers.process import parts, wait_for

# Seconds. What is done with the store while the lease runs is over well within the 60 that it has beyond the
# provider's: a store that hangs must not hold an attempt past its lease, when another one begins and asks again.
_CHECK_WITHIN = 10.0  # before the lease begins
_LOOK_WITHIN = 10.0
_STORE_WITHIN = 30.0
_STORE_AGAIN_AFTER = (1.0, 4.0, 15.0)

_log = structlog.get_logger(__name__)


@dramatiq.actor(queue_name=GENERATION, time_limit=600_000)
def generate_image(generation_id: str) -> None:
    """Draw a picture, or say why there is none. The thread only waits: for the provider, or for a thread that
    draws.
    """
    wait_for(_generate(generation_id))


async def _generate(generation_id: str) -> None:
    provider = parts().provider
    if not await _can_be_stored(generation_id):
        return
    async with transaction(parts().database) as tx:
        generation = await claim_generation(
            tx,
            SYSTEM,
            generation_id,
            provider=provider.name,
            model=provider.model,
            lease=parts().generation_lease,
        )
    if generation is None:
        return
    if generation.attempts > MAX_ATTEMPTS:
        message = f"The workers did not come to an end {MAX_ATTEMPTS} times."
        await _fail(generation, Failed(FailureCode.GAVE_UP, message), None)
        return
    found = await _made_before(generation)
    if found is not None:
        await _record(generation, *found, None)
        return
    took, began = None, time.perf_counter()
    try:
        with _failing(generation, "Something that nobody expected went wrong while it was drawn."):
            made = await provider.generate(Wanted(generation.prompt, ImageShape(generation.shape)))
        took = _milliseconds(began)
        key = picture_key(generation, generation.attempts, made.content_type)
        with _failing(generation, "The picture came, but could not be stored."):
            await _store(key, made.data)
    except Failed as failure:
        _log.warning("no picture", generation_id=generation_id, code=failure.code.value, reason=failure.message)
        await _fail(generation, failure, _milliseconds(began) if took is None else took)
        return
    await _record(generation, key, made, took)


async def _can_be_stored(generation_id: str) -> bool:
    """Whether the store takes anything now. A picture that cannot be kept is not asked for: nothing was claimed
    yet, so the generation waits, with all its attempts, until it is sent again.
    """
    try:
        async with asyncio.timeout(_CHECK_WITHIN):
            await parts().blobs.check()
    except (Unavailable, TimeoutError) as error:
        reason = str(error) or f"it did not answer within {_CHECK_WITHIN:g} s"
        _log.warning("no picture is asked for while the store is away", generation_id=generation_id, reason=reason)
        return False
    return True


@contextmanager
def _failing(generation: GenerationRow, message: str) -> Iterator[None]:
    """Raises Failed with this message for whatever else is raised within. The provider was asked, so it may be
    paid: left to its lease, the generation would be asked for again.
    """
    try:
        yield
    except Failed:
        raise
    except Exception as error:
        _log.exception("a picture is lost", generation_id=generation.id)
        raise Failed(FailureCode.PROVIDER_ERROR, message) from error


def _milliseconds(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)


async def _made_before(generation: GenerationRow) -> tuple[str, Made] | None:
    """What an earlier attempt stored before its worker was gone, with its key: it is paid for."""
    async with asyncio.timeout(_LOOK_WITHIN):
        for attempt in range(1, generation.attempts):
            for content_type in CONTENT_TYPES:
                key = picture_key(generation, attempt, content_type)
                with suppress(NotFound):
                    return key, Made(await parts().blobs.get(key), content_type)
    return None


async def _store(key: str, data: bytes) -> None:
    """Put it away; a store that is away for a moment does not make it lost. Raises Unavailable or TimeoutError."""
    async with asyncio.timeout(_STORE_WITHIN):
        for wait in _STORE_AGAIN_AFTER:
            try:
                await parts().blobs.put(key, data)
                return
            except Unavailable:
                await asyncio.sleep(wait)
        await parts().blobs.put(key, data)


async def _record(generation: GenerationRow, key: str, made: Made, took: int | None) -> None:
    async with transaction(parts().database) as tx:
        await record_picture(
            tx,
            SYSTEM,
            generation,
            key=key,
            content_type=made.content_type,
            size_bytes=len(made.data),
            sha256=hashlib.sha256(made.data).hexdigest(),
            generation_ms=took,
            cost_usd=parts().provider.cost_usd,
        )


async def _fail(generation: GenerationRow, failure: Failed, took: int | None) -> None:
    async with transaction(parts().database) as tx:
        await fail_generation(
            tx,
            SYSTEM,
            generation,
            code=failure.code,
            message=failure.message,
            retry=failure.retry,
            retry_after=failure.retry_after,
            generation_ms=took,
        )
