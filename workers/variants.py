"""The jobs of variants: a size that somebody asked for is made of the original, once."""

import io
from datetime import timedelta

import dramatiq

from domain.images.processing import Rejected, Resized, resize
from domain.images.variants import (
    MAX_ATTEMPTS,
    REST,
    VariantJobRow,
    VariantName,
    claim_variant,
    fail_variant,
    finish_variant,
    variant_key,
    variant_name,
)
from domain.kit.scope import SYSTEM
from domain.kit.transactions import transaction
from workers.broker import VARIANTS
from workers.process import parts, wait_for


@dramatiq.actor(queue_name=VARIANTS, time_limit=50_000)
def make_variant(image_id: str, name: str) -> None:
    """Make one variant of an image. Sync, because encoding keeps a core busy."""
    job, wanted = wait_for(_claim(image_id, name)), variant_name(name)
    if job is None:
        return
    if wanted is None or job.attempts > MAX_ATTEMPTS:
        wait_for(_fail(job, f"Making it did not come to an end {MAX_ATTEMPTS} times.", rest=REST))
        return
    with parts().originals.reserve(2 * job.original_bytes):
        _make(job, wanted)


def _make(job: VariantJobRow, wanted: VariantName) -> None:
    original = wait_for(parts().blobs.get(job.original_key))
    try:
        with parts().decoding:
            made = resize(
                io.BytesIO(original),
                side=wanted.side,
                square=wanted.kind == "thumbnail",
                avif=wanted.format == "avif",
                max_pixels=parts().max_pixels,
                reserve=parts().memory.reserve,
            )
    except Rejected as rejection:
        wait_for(_fail(job, rejection.message))
        return
    wait_for(_finish(job, variant_key(job.image_id, wanted), made))


async def _claim(image_id: str, name: str) -> VariantJobRow | None:
    async with transaction(parts().database) as tx:
        return await claim_variant(tx, SYSTEM, image_id, name)


async def _fail(job: VariantJobRow, failure: str, *, rest: timedelta | None = None) -> None:
    async with transaction(parts().database) as tx:
        await fail_variant(tx, SYSTEM, job, failure, rest=rest)


async def _finish(job: VariantJobRow, key: str, made: Resized) -> None:
    await parts().blobs.put(key, made.data)
    async with transaction(parts().database) as tx:
        await finish_variant(
            tx, SYSTEM, job, blob_key=key, size_bytes=len(made.data), width=made.width, height=made.height
        )
