"""The job of generation: a picture that somebody asked for is drawn, stored, and handed on as an image."""

import asyncio
import hashlib
import time

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

_STORE_AGAIN_AFTER = (1.0, 4.0, 15.0)  # seconds; the lease leaves room for these

_log = structlog.get_logger(__name__)


@dramatiq.actor(queue_name=GENERATION, time_limit=600_000)
def generate_image(generation_id: str) -> None:
    """Draw a picture, or say why there is none. The thread only waits: for the provider, or for a thread that
    draws.
    """
    wait_for(_generate(generation_id))


async def _generate(generation_id: str) -> None:
    provider = parts().provider
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
    made = await _made_before(generation)
    if made is not None:
        await _record(generation, made, None)
        return
    began = time.perf_counter()
    try:
        made = await provider.generate(Wanted(generation.prompt, ImageShape(generation.shape)))
    except Failed as failure:
        _log.warning("no picture", generation_id=generation_id, code=failure.code.value, reason=failure.message)
        await _fail(generation, failure, _milliseconds(began))
        return
    took = _milliseconds(began)
    await _store(picture_key(generation, made.content_type), made.data)
    await _record(generation, made, took)


def _milliseconds(began: float) -> int:
    return round((time.perf_counter() - began) * 1000)


async def _made_before(generation: GenerationRow) -> Made | None:
    """What an earlier attempt stored before its worker was gone: it is paid for."""
    if generation.attempts > 1:
        for content_type in CONTENT_TYPES:
            try:
                return Made(await parts().blobs.get(picture_key(generation, content_type)), content_type)
            except NotFound:
                continue
    return None


async def _store(key: str, data: bytes) -> None:
    """Put it away; a store that is away for a moment does not make it lost."""
    for wait in _STORE_AGAIN_AFTER:
        try:
            await parts().blobs.put(key, data)
            return
        except Unavailable:
            await asyncio.sleep(wait)
    await parts().blobs.put(key, data)


async def _record(generation: GenerationRow, made: Made, took: int | None) -> None:
    async with transaction(parts().database) as tx:
        await record_picture(
            tx,
            SYSTEM,
            generation,
            key=picture_key(generation, made.content_type),
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
