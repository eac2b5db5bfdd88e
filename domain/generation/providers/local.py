"""The provider that needs nobody: draws with Pillow, and the same picture for the same prompt.

It is for trying things out and for tests, and does not pretend to understand anything: sky, sun and hills in
colours that the prompt decides, with the prompt written below.
"""

import asyncio
import colorsys
import hashlib
import io
import random
import textwrap

from PIL import Image, ImageDraw, ImageFont

from domain.generation.models import ImageShape
from domain.generation.providers import DEFAULT_MODELS, Made, Wanted

_SIZES = {ImageShape.SQUARE: (768, 768), ImageShape.LANDSCAPE: (768, 512), ImageShape.PORTRAIT: (512, 768)}
_CAPTION_LINES = 3

Colour = tuple[int, int, int]


class Local:
    """Draws here, for nothing."""

    name = "local"
    model = DEFAULT_MODELS["local"]
    cost_usd = 0.0

    async def generate(self, wanted: Wanted) -> Made:
        return Made(await asyncio.to_thread(draw, wanted), "image/png")


def draw(wanted: Wanted) -> bytes:
    """The picture as PNG. The same bytes for the same prompt and shape, with the same version of Pillow."""
    seed = hashlib.sha256(f"{wanted.shape}\n{wanted.prompt}".encode()).digest()
    chance = random.Random(seed)  # noqa: S311 - no secret: the prompt decides
    width, height = size = _SIZES[wanted.shape]
    hue = chance.random()
    image = _sky(size, hue)
    pen = ImageDraw.Draw(image)
    _sun(pen, size, chance, hue)
    for layer in range(4):
        _hills(pen, size, chance, _colour(hue + 0.08 * layer, 0.45, 0.75 - 0.16 * layer), layer)
    _caption(pen, (width, height), wanted.prompt)
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _sky(size: tuple[int, int], hue: float) -> Image.Image:
    column = Image.new("RGB", (1, 2))
    column.putdata([_colour(hue + 0.5, 0.55, 0.85), _colour(hue + 0.42, 0.25, 1.0)])
    return column.resize(size, Image.Resampling.BILINEAR)


def _sun(pen: ImageDraw.ImageDraw, size: tuple[int, int], chance: random.Random, hue: float) -> None:
    x, y = chance.uniform(0.15, 0.85) * size[0], chance.uniform(0.12, 0.4) * size[1]
    radius = chance.uniform(0.05, 0.12) * min(size)
    pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_colour(hue + 0.1, 0.3, 1.0))


def _hills(
    pen: ImageDraw.ImageDraw, size: tuple[int, int], chance: random.Random, colour: Colour, layer: int
) -> None:
    width, height = size
    base = (0.42 + 0.12 * layer) * height
    points = [(width * step / 12, base + chance.uniform(-0.09, 0.09) * height) for step in range(13)]
    pen.polygon([(0, height), *points, (width, height)], fill=colour)


def _caption(pen: ImageDraw.ImageDraw, size: tuple[int, int], prompt: str) -> None:
    lines = textwrap.wrap(" ".join(prompt.split()), size[0] // 13, max_lines=_CAPTION_LINES, placeholder=" …")
    text = "\n".join([*lines, "drawn by quartermaster, not by a model"])
    pen.rectangle((0, size[1] - 30 * (len(lines) + 1) - 10, size[0], size[1]), fill=(20, 20, 28))
    font = ImageFont.load_default(20)
    pen.multiline_text((16, size[1] - 30 * (len(lines) + 1)), text, fill=(235, 235, 235), font=font, spacing=8)
