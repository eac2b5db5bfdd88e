"""Images in tests: waiting for the worker, looking at what it made, and finding what lies in the storage."""

import hashlib
import io
from pathlib import Path
from typing import Any

from PIL import Image

from tests.support.api import Api
from tests.support.log import eventually

_FIELDS = """id status width height perceptualHash capturedAt deviceCapturedAt receivedAt processedAt
  rejection { code message }"""


async def image_of(api: Api, image_id: str, fields: str = _FIELDS) -> dict[str, Any]:
    """The image as it is now."""
    data = await api.run(f"query ($id: ID!) {{ image(id: $id) {{ {fields} }} }}", id=image_id)
    found: dict[str, Any] = data["image"]
    return found


async def settled(api: Api, image_id: str, fields: str = _FIELDS, *, within: float = 20) -> dict[str, Any]:
    """The image once it is READY or REJECTED."""

    async def final() -> dict[str, Any] | None:
        image = await image_of(api, image_id, f"status {fields}")
        return image if image["status"] in ("READY", "REJECTED") else None

    found: dict[str, Any] = await eventually(final, within=within, what=f"the processing of image {image_id}")
    return found


async def link_to(api: Api, image_id: str, variant: str) -> str:
    """The signed link to a variant of an image that has it."""
    image = await settled(api, image_id, f"url(variant: {variant})")
    assert image["url"], f"there is no {variant} of {image_id}"
    return str(image["url"])


async def variant_of(api: Api, image_id: str, variant: str) -> bytes:
    """What a browser gets for a variant."""
    response = await api.http.get(await link_to(api, image_id, variant))
    assert response.status_code == 200, response.text
    return response.content


def picture(encoded: bytes) -> Image.Image:
    """The bytes, decoded."""
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return image


def originals(data_dir: Path, image: bytes) -> list[Path]:
    """The files in the store that are named after these bytes."""
    digest = hashlib.sha256(image).hexdigest()[:32]
    return list((data_dir / "storage" / "blobs").rglob(f"*{digest}*"))


def unfinished(data_dir: Path) -> set[Path]:
    """The files that are on their way into the store now, or were left there."""
    return set((data_dir / "storage" / "incoming").iterdir())
