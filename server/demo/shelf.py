"""A simulated pantry shelf that can be photographed: draws cans, boxes, jars, bottles and bags with Pillow,
takes goods away and puts them back, and knows how many there are. For the demonstration fleet and benchmarks;
it knows nothing of devices, uploads or the server. The same seed gives the same shelf and photographs."""

# ruff: noqa: S311 — seeded randomness is the point here: pictures, not secrets

import io
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from statistics import NormalDist

from PIL import ExifTags, Image, ImageChops, ImageDraw, ImageFilter, ImageFont

Color = tuple[int, int, int]
_Point = tuple[int, int]

# The scene is always drawn at this size; a photograph of another size is scaled while it is taken.
SCENE = (1600, 1200)
_SIDE, _BOARD, _ROW = 34, 26, 284
_GROUP = (SCENE[0] - 2 * _SIDE - 16) // 4
_FINE = 2  # goods are drawn this much larger and scaled down: Pillow draws without antialiasing


@dataclass(frozen=True)
class Good:
    """One product. Sizes in scene px; `stack` is how many stand on top of each other."""

    label: str
    kind: str
    width: int
    height: int
    paint: Color
    accent: Color
    stack: int = 1


GOODS = (
    Good("TOMATOES", "can", 98, 112, (190, 38, 30), (232, 70, 50), 2),
    Good("CORN", "can", 98, 112, (38, 112, 62), (246, 204, 62), 2),
    Good("BEANS", "can", 98, 112, (34, 74, 138), (150, 72, 46), 2),
    Good("TUNA", "can", 112, 66, (20, 116, 150), (236, 150, 130), 3),
    Good("PASTA", "box", 92, 236, (28, 62, 132), (240, 196, 84)),
    Good("CEREAL", "box", 150, 240, (214, 120, 26), (252, 226, 150)),
    Good("CRACKERS", "box", 132, 170, (166, 34, 52), (236, 190, 120)),
    Good("TEA", "box", 118, 104, (52, 110, 74), (206, 168, 92), 2),
    Good("HONEY", "jar", 100, 146, (214, 142, 28), (196, 156, 62)),
    Good("JAM", "jar", 96, 132, (138, 22, 48), (226, 226, 222)),
    Good("PICKLES", "jar", 106, 178, (104, 128, 48), (46, 92, 62)),
    Good("OLIVE OIL", "bottle", 78, 244, (92, 104, 34), (42, 42, 40)),
    Good("VINEGAR", "bottle", 76, 236, (112, 40, 34), (170, 142, 84)),
    Good("SAUCE", "bottle", 74, 222, (176, 36, 24), (240, 240, 236)),
    Good("RICE", "bag", 136, 206, (236, 232, 220), (40, 92, 150)),
    Good("FLOUR", "bag", 132, 190, (232, 214, 178), (146, 54, 44)),
)


class Shelf:
    """Four boards with four kinds of goods on each."""

    def __init__(self, seed: int, *, width: int = 1600, height: int = 1200) -> None:
        self._seed = seed
        self._size = (width, height)
        rng = random.Random(seed)
        self._rows = _arranged(rng)
        self._capacity = {good.label: capacity for row in self._rows for good, _, capacity in row}
        self._stock = {label: rng.randint((most + 1) // 2, most) for label, most in self._capacity.items()}

    def counts(self) -> dict[str, int]:
        """How many of each product stand on the shelf, by label."""
        return dict(self._stock)

    def consume(self, rng: random.Random) -> None:
        """Somebody cooked: one to four goods are gone."""
        for _ in range(rng.randint(1, 4)):
            if left := [label for label, count in self._stock.items() if count]:
                self._stock[rng.choice(left)] -= 1

    def restock(self, rng: random.Random) -> None:
        """Somebody shopped: the products that ran lowest are filled up again, not always to the brim."""
        lowest = sorted(self._stock, key=lambda label: self._stock[label] / self._capacity[label])
        for label in lowest[: rng.randint(2, 6)]:
            room = self._capacity[label] - self._stock[label]
            self._stock[label] += rng.randint((room + 1) // 2, room)

    def photograph(self, *, at: datetime, battery_pct: float, signal: float) -> bytes:
        """A JPEG taken `at` an aware time. `battery_pct` is 0–100: a weak battery lights the shelf less and
        the sensor shows more noise. `signal` is dBm: below -80 the camera compresses harder."""
        rng = random.Random(f"{self._seed} {at.isoformat()}")
        weak = max(0.0, 1 - battery_pct / 25)
        photo = _through_lens(_scene(self._rows, self._stock), self._size, rng)
        photo = _sensed(photo, rng, exposure=rng.uniform(0.93, 1.05) - 0.12 * weak, weak=weak > 0)
        _stamp(photo, f"{at:%Y-%m-%d %H:%M:%S}   BAT {battery_pct:.0f}%   {signal:.0f} dBm")
        target = io.BytesIO()
        photo.save(target, "JPEG", quality=62 if signal < -80 else 70, exif=_exif(at))
        return target.getvalue()


# Where things stand.

_Place = tuple[Good, int, int]  # the product, the x where its group begins, how many fit there


def _arranged(rng: random.Random) -> list[list[_Place]]:
    """Any product may stand anywhere; four groups share a board's width."""
    order = rng.sample(GOODS, len(GOODS))
    places = [
        (good, _SIDE + 14 + index % 4 * _GROUP, _GROUP // (good.width + 5) * good.stack)
        for index, good in enumerate(order)
    ]
    return [places[start : start + 4] for start in range(0, len(places), 4)]


def _positions(good: Good, x: int, count: int, capacity: int, floor: int) -> list[_Point]:
    """Top-left corners, from left to right, stacked from the bottom up in each column."""
    step = min(_GROUP // (capacity // good.stack), good.width + 16)
    return [
        (x + index // good.stack * step, floor - (index % good.stack + 1) * (good.height - 3))
        for index in range(count)
    ]


def _scene(rows: list[list[_Place]], stock: dict[str, int]) -> Image.Image:
    scene = _cupboard().copy()
    draw = ImageDraw.Draw(scene)
    for number, row in enumerate(rows):
        floor = (number + 1) * _ROW + 8
        for good, x, capacity in row:
            sprites, shadow = _sprites(good)
            places = _positions(good, x, stock[good.label], capacity, floor)
            for left, top in places:
                scene.paste((24, 16, 10), (left - 6, top - 14), shadow)
            for index, (left, top) in enumerate(places):
                sprite = sprites[(index * 5 + number) % len(sprites)]
                scene.paste(sprite, (left + (index * 7 + number * 3) % 5 - 2, top - 6), sprite)
            _price_tag(draw, good.label, x + 8, floor + 5)
    return scene


def _price_tag(draw: ImageDraw.ImageDraw, label: str, x: int, y: int) -> None:
    width = int(draw.textlength(label, _font(14))) + 16
    draw.rectangle((x, y, x + width, y + 19), fill=(238, 234, 222), outline=(150, 140, 124))
    draw.text((x + 8, y + 2), label, fill=(60, 54, 48), font=_font(14))


# The cupboard.


@cache
def _cupboard() -> Image.Image:
    scene = _wood((226, 212, 186), 1, contrast=14)
    board = _wood((178, 126, 78), 2, contrast=5)
    draw = ImageDraw.Draw(scene)
    for number in range(4):
        top = number * _ROW + 8 + _BOARD if number else 0
        floor = (number + 1) * _ROW + 8
        _shade(scene, top, floor)
        scene.paste(board.crop((0, top, SCENE[0], top + 12)).point(_gain(0.82)), (0, floor - 12))
        scene.paste(board.crop((0, top, SCENE[0], top + _BOARD)), (0, floor))
        draw.line((0, floor, SCENE[0], floor), fill=(214, 168, 116), width=2)
        draw.line((0, floor + _BOARD, SCENE[0], floor + _BOARD), fill=(70, 44, 24), width=3)
    _shade(scene, 4 * _ROW + 8 + _BOARD, SCENE[1])
    for left in (0, SCENE[0] - _SIDE):
        side = board.crop((0, 0, SCENE[1], _SIDE)).rotate(90, expand=True)
        scene.paste(side.point(_gain(0.8)), (left, 0))
        edge = left or _SIDE
        draw.line((edge, 0, edge, SCENE[1]), fill=(84, 56, 34), width=3)
    return scene


def _shade(scene: Image.Image, top: int, floor: int) -> None:
    """The board above throws its shadow on the back wall."""
    wall = scene.crop((0, top, SCENE[0], floor))
    light = Image.linear_gradient("L").point(lambda value: int(104 + 148 * (value / 255) ** 0.5))
    scene.paste(ImageChops.multiply(wall, light.resize(wall.size).convert("RGB")), (0, top))


def _wood(color: Color, seed: int, *, contrast: int) -> Image.Image:
    """Grain: noise stretched along the board. A higher `contrast` divides it away."""
    noise = Image.frombytes("L", (24, 360), random.Random(seed).randbytes(24 * 360))
    grain = noise.resize(SCENE, Image.Resampling.BICUBIC).point(lambda value: 255 - value // contrast)
    return ImageChops.multiply(Image.new("RGB", SCENE, color), grain.convert("RGB"))


def _gain(factor: float) -> list[int]:
    return [min(255, int(value * factor)) for value in range(256)] * 3


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# The goods.


@cache
def _sprites(good: Good) -> tuple[list[Image.Image], Image.Image]:
    """The product in three shades of light, and its shadow on the wall as a mask."""
    large = Image.new("RGBA", (good.width * _FINE, (good.height + 6) * _FINE))
    _PAINTERS[good.kind](large, good)
    sprite = large.resize((good.width, good.height + 6), Image.Resampling.LANCZOS)
    alpha = sprite.getchannel("A")
    shades = [sprite.point(_gain(factor) + list(range(256))) for factor in (0.94, 1.0, 1.05)]
    wide = Image.new("L", (good.width + 36, good.height + 36))
    wide.paste(alpha, (18, 18))
    shadow = wide.filter(ImageFilter.GaussianBlur(8)).point(lambda value: int(value * 0.5))
    return shades, shadow


def _paint_can(image: Image.Image, good: Good) -> None:
    width, height = image.size
    lid = 9 * _FINE
    steel, draw = (176, 180, 184), ImageDraw.Draw(image)
    _cylinder(draw, (0, lid // 2, width - 1, height - 1), lid, steel)
    _cylinder(draw, (0, lid + 8, width - 1, height - lid // 2 - 4), lid, good.paint)
    band = height - lid - int(height * 0.28)
    _cylinder(draw, (0, band, width - 1, height - lid // 2 - 4), lid, good.accent)
    _picture(draw, good, (width // 2, int(height * 0.66)), int(height * 0.15))
    _round(image)
    draw.ellipse((1, 0, width - 2, lid * 2), fill=(214, 217, 220), outline=(120, 124, 128), width=3)
    draw.ellipse((10, 5, width - 11, lid * 2 - 5), fill=(188, 192, 196), outline=(150, 154, 158), width=2)
    _write(draw, good.label, (width // 2, int(height * 0.40)), width - 24, 46)


def _paint_box(image: Image.Image, good: Good) -> None:
    width, height = image.size
    edge, draw = 9 * _FINE, ImageDraw.Draw(image)
    draw.polygon(((0, edge), (edge, 0), (width - 1, 0), (width - edge, edge)), fill=_mixed(good.paint, 60))
    draw.polygon(
        ((width - edge, edge), (width - 1, 0), (width - 1, height - edge), (width - edge, height - 1)),
        fill=_mixed(good.paint, -50),
    )
    front = width - edge
    draw.rectangle((0, edge, front, height - 1), fill=good.paint)
    draw.rectangle((0, int(height * 0.74), front, height - 1), fill=good.accent)
    draw.rectangle((0, int(height * 0.74), front, int(height * 0.74) + 6), fill=(250, 246, 236))
    _picture(draw, good, (front // 2, int(height * 0.66)), int(min(front, height) * 0.27))
    _write(draw, good.label, (front // 2, edge + int(height * 0.17)), front - 18, 64)
    _write(draw, "500 g", (front // 2, int(height * 0.92)), front // 2, 26, _mixed(good.paint, -30))


def _paint_jar(image: Image.Image, good: Good) -> None:
    width, height = image.size
    draw, shoulder = ImageDraw.Draw(image), 26 * _FINE
    draw.rounded_rectangle((0, shoulder - 18, width - 1, height - 1), 30, fill=(206, 214, 212))
    draw.rounded_rectangle((8, shoulder + 12, width - 9, height - 8), 24, fill=good.paint)
    rng = random.Random(good.label)
    for _ in range(26):  # fruit
        x, y = rng.randint(16, width - 30), rng.randint(shoulder + 20, height - 34)
        draw.ellipse((x, y, x + 18, y + 14), fill=_mixed(good.paint, rng.randint(-22, 26)))
    top, bottom = int(height * 0.42), int(height * 0.80)
    draw.rectangle((4, top, width - 5, bottom), fill=(246, 240, 224))
    draw.rectangle((4, top + 6, width - 5, top + 12), fill=good.paint)
    draw.rectangle((4, bottom - 12, width - 5, bottom - 6), fill=good.paint)
    _write(draw, good.label, (width // 2, (top + bottom) // 2), width - 30, 44, _mixed(good.paint, -40))
    draw.rounded_rectangle((8, 2, width - 9, shoulder - 6), 10, fill=good.accent)
    for x in range(14, width - 12, 10):
        draw.line((x, 10, x, shoulder - 10), fill=_mixed(good.accent, -28), width=2)
    _round(image)


def _paint_bottle(image: Image.Image, good: Good) -> None:
    width, height = image.size
    draw, middle = ImageDraw.Draw(image), width // 2
    neck, shoulder = int(width * 0.17), int(height * 0.40)
    outline = [(middle - neck, 20), (middle - neck, int(height * 0.22)), (0, shoulder), (0, height - 14)]
    outline += [(14, height - 1), (width - 14, height - 1), (width - 1, height - 14), (width - 1, shoulder)]
    outline += [(middle + neck, int(height * 0.22)), (middle + neck, 20)]
    draw.polygon(outline, fill=good.paint)
    draw.ellipse((0, shoulder - 46, width - 1, shoulder + 46), fill=good.paint)
    draw.rounded_rectangle((middle - neck - 6, 0, middle + neck + 6, 44), 8, fill=good.accent)
    top, bottom = int(height * 0.50), int(height * 0.86)
    draw.rectangle((0, top, width - 1, bottom), fill=(244, 236, 214))
    draw.rectangle((0, top, width - 1, top + 12), fill=good.accent)
    _picture(draw, good, (middle, int(top + (bottom - top) * 0.70)), int(width * 0.2))
    _write(draw, good.label, (middle, int(top + (bottom - top) * 0.30)), width - 22, 40, _mixed(good.paint, -50))
    _round(image)


def _paint_bag(image: Image.Image, good: Good) -> None:
    width, height = image.size
    draw = ImageDraw.Draw(image)
    draw.rounded_rectangle((2, 72, width - 3, height - 1), 40, fill=good.paint)
    draw.polygon(((8, 110), (56, 44), (width - 57, 44), (width - 9, 110)), fill=good.paint)
    draw.polygon(((30, 4), (width - 31, 4), (width - 57, 50), (56, 50)), fill=_mixed(good.paint, -16))
    for step in range(1, 12):
        x = 30 + step * (width - 61) // 12
        draw.line((x, 6, width // 2 + (x - width // 2) * 2 // 3, 46), fill=_mixed(good.paint, -52), width=2)
    draw.rounded_rectangle((50, 44, width - 51, 58), 6, fill=good.accent)
    draw.rounded_rectangle((26, int(height * 0.34), width - 27, int(height * 0.58)), 20, fill=good.accent)
    _write(draw, good.label, (width // 2, int(height * 0.46)), width - 72, 60)
    _picture(draw, good, (width // 2, int(height * 0.74)), int(width * 0.15))
    _write(draw, "1 kg", (width // 2, int(height * 0.92)), width // 3, 26, good.accent)
    _round(image)


_PAINTERS: dict[str, Callable[[Image.Image, Good], None]] = {
    "can": _paint_can,
    "box": _paint_box,
    "jar": _paint_jar,
    "bottle": _paint_bottle,
    "bag": _paint_bag,
}


def _cylinder(draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], bulge: int, color: Color) -> None:
    left, top, right, bottom = box
    draw.rectangle((left, top + bulge // 2, right, bottom - bulge // 2), fill=color)
    draw.ellipse((left, bottom - bulge, right, bottom), fill=color)


def _round(image: Image.Image) -> None:
    """Light from the left: darkens towards both edges, with a highlight. In place; alpha stays."""
    width = image.width
    falls = bytes(int(255 * max(0.36, 1 - 1.48 * abs(x / width - 0.4) ** 1.7)) for x in range(width))
    shade = Image.frombytes("L", (width, 1), falls).resize(image.size).convert("RGB")
    shine = bytes(int(64 * max(0.0, 1 - abs(x / width - 0.22) / 0.09)) for x in range(width))
    light = Image.frombytes("L", (width, 1), shine).resize(image.size).convert("RGB")
    lit = ImageChops.screen(ImageChops.multiply(image.convert("RGB"), shade), light)
    lit.putalpha(image.getchannel("A"))
    image.paste(lit)


def _picture(draw: ImageDraw.ImageDraw, good: Good, at: _Point, radius: int) -> None:
    """What is inside, roughly: three discs of the accent colour on a pale medallion."""
    x, y = at
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=(250, 244, 228))
    small = max(3, int(radius * 0.42))
    for dx, dy in ((-0.38, 0.18), (0.38, 0.18), (0.0, -0.34)):
        cx, cy = x + int(dx * radius), y + int(dy * radius)
        disc = (cx - small, cy - small, cx + small, cy + small)
        draw.ellipse(disc, fill=good.accent, outline=_mixed(good.accent, -60), width=2)


def _write(
    draw: ImageDraw.ImageDraw, text: str, at: _Point, width: int, size: int, fill: Color = (255, 252, 242)
) -> None:
    """Centred, and as large as the width allows."""
    size = max(8, min(size, int(size * width / max(1.0, draw.textlength(text, _font(size))))))
    draw.text(at, text, fill=fill, font=_font(size), anchor="mm", stroke_width=1, stroke_fill=fill)


def _mixed(color: Color, by: int) -> Color:
    red, green, blue = (max(0, min(255, part + by)) for part in color)
    return red, green, blue


# The camera.


def _through_lens(scene: Image.Image, size: tuple[int, int], rng: random.Random) -> Image.Image:
    """The camera hangs a little differently each time: every corner of the view moves on its own."""
    width, height = scene.size
    quad = list[float]()
    for x, y in ((0, 0), (0, height), (width, height), (width, 0)):
        quad += (abs(x - rng.uniform(4, 20)), abs(y - rng.uniform(2, 12)))
    return scene.transform(size, Image.Transform.QUAD, quad, Image.Resampling.BILINEAR)


@cache
def _noise(size: tuple[int, int], sigma: float) -> Image.Image:
    """Sensor noise around 128: mostly in brightness, a little in colour. 64 px larger than `size`."""
    width, height = size[0] + 64, size[1] + 64
    bell = NormalDist(128, sigma)
    table = [round(bell.inv_cdf((value + 0.5) / 256)) for value in range(256)]
    raw = [random.Random(number).randbytes(width * height) for number in range(4)]
    grey, *colors = (Image.frombytes("L", (width, height), part).point(table) for part in raw)
    return Image.merge("RGB", [Image.blend(grey, color, 0.3) for color in colors])


def _sensed(photo: Image.Image, rng: random.Random, *, exposure: float, weak: bool) -> Image.Image:
    noise = _noise(photo.size, 7.5 if weak else 4.5)
    left, top = rng.randrange(64), rng.randrange(64)
    noise = noise.crop((left, top, left + photo.width, top + photo.height))
    warmth = rng.uniform(-0.015, 0.015)
    red, green, blue = (_gain(exposure + shift)[:256] for shift in (warmth, 0.0, -warmth))
    return ImageChops.add(photo.point(red + green + blue), noise, 1, -128)


def _stamp(photo: Image.Image, text: str) -> None:
    font = _font(max(8, photo.height // 66))
    at = (photo.width // 40, photo.height - photo.height // 200)
    ImageDraw.Draw(photo).text(at, text, (250, 250, 240), font, "ld", stroke_width=2, stroke_fill=(20, 20, 20))


def _exif(at: datetime) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Espressif"
    exif[ExifTags.Base.Model] = "ESP32-CAM OV2640 (simulated)"
    taken = exif.get_ifd(ExifTags.IFD.Exif)
    taken[ExifTags.Base.DateTimeOriginal] = f"{at:%Y:%m:%d %H:%M:%S}"
    taken[ExifTags.Base.OffsetTimeOriginal] = at.isoformat()[-6:]
    return exif
