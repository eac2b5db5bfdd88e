"""The jobs of uploads: an image that is safe is looked at, made presentable, and told about."""

import io

import dramatiq

from domain.generation.jobs import settle_image
from domain.images.formats import NotAnImage
from domain.images.jobs import MAX_ATTEMPTS, claim_image, finish_image, reject_image
from domain.images.metadata import without_metadata
from domain.images.models import ImageJobRow
from domain.images.processing import Processed, Rejected, process
from domain.kit.scope import SYSTEM
from domain.kit.transactions import Transaction, transaction
from workers.broker import UPLOADS
from workers.process import parts, wait_for


@dramatiq.actor(queue_name=UPLOADS, time_limit=50_000)
def process_image(image_id: str) -> None:
    """Make the variants of an image, or reject it. Sync, because decoding keeps a core busy."""
    job = wait_for(_claim(image_id))
    if job is None:
        return
    if job.attempts > MAX_ATTEMPTS:
        message = f"Processing did not come to an end {MAX_ATTEMPTS} times."
        wait_for(_reject(job, "GAVE_UP", message))
        return
    with parts().originals.reserve(2 * job.size_bytes):  # itself, and a copy without its metadata
        _process(job)


def _process(job: ImageJobRow) -> None:
    original = wait_for(parts().blobs.get(job.original_key))
    try:
        with parts().decoding:
            processed = process(
                io.BytesIO(original),
                max_pixels=parts().max_pixels,
                thumbnail_side=job.thumbnail_side,
                reserve=parts().memory.reserve,
            )
        clean = without_metadata(original)
    except (Rejected, NotAnImage) as rejection:
        wait_for(_reject(job, rejection.code, rejection.message))
        return
    wait_for(_finish(job, processed, clean))


async def _claim(image_id: str) -> ImageJobRow | None:
    async with transaction(parts().database) as tx:
        return await claim_image(tx, SYSTEM, image_id)


async def _reject(job: ImageJobRow, code: str, message: str) -> None:
    async with transaction(parts().database) as tx:
        await reject_image(tx, SYSTEM, job, code=code, message=message)
        await _settle(tx, job)


async def _finish(job: ImageJobRow, processed: Processed, clean: bytes | None) -> None:
    """`clean` is the original without its metadata, None when it has none."""
    name = job.original_key.removeprefix("originals/")
    stem = name.rpartition(".")[0]
    clean_key = job.original_key if clean is None else f"clean/{name}"
    display_key, thumbnail_key = f"display/{stem}.webp", f"thumbnails/{stem}.webp"
    if clean is not None:
        await parts().blobs.put(clean_key, clean)
    await parts().blobs.put(display_key, processed.display)
    await parts().blobs.put(thumbnail_key, processed.thumbnail)
    async with transaction(parts().database) as tx:
        await finish_image(
            tx,
            SYSTEM,
            job,
            clean_key=clean_key,
            display_key=display_key,
            thumbnail_key=thumbnail_key,
            width=processed.width,
            height=processed.height,
            perceptual_hash=processed.perceptual_hash,
            exif_time=processed.captured_at,
            private=dict(processed.private),
        )
        await _settle(tx, job)


async def _settle(tx: Transaction, job: ImageJobRow) -> None:
    """Tell whoever waits for this image: the generation that made it, if one did."""
    if job.device_id is None:  # photos of devices, which are most images, cost nothing
        await settle_image(tx, SYSTEM, job.id)
