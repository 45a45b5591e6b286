"""What stands behind the text of a placeholder: shapes, colours and order come from the seed.

A picture is drawn in grey and coloured by one ramp from dark to light. So anti-aliased edges and letters need
no more than 128 palette entries, and a 4K PNG stays a palette image: about a tenth of the time that RGB would
take. The other 128 entries belong to reference images.
"""

from __future__ import annotations

import colorsys
import math
import random

from PIL import Image, ImageDraw

LEVELS = 128
Colour = tuple[int, int, int]

_TOP = LEVELS - 1
_SMOOTH_BELOW = 1_500_000  # pixels; above, jagged edges are too small to be seen and smoothing costs most


def ramp(rng: random.Random) -> list[Colour]:
    """`LEVELS` colours from dark to light."""
    hue, step = rng.random(), rng.choice((-0.36, -0.22, 0.22, 0.36))
    saturation = rng.uniform(0.5, 0.8)
    return [
        _colour(hue + step * level / _TOP, 0.1 + 0.85 * level / _TOP, saturation) for level in range(LEVELS)
    ]


def _colour(hue: float, lightness: float, saturation: float) -> Colour:
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(hue % 1.0, lightness, saturation))
    return red, green, blue


def background(width: int, height: int, rng: random.Random) -> Image.Image:
    """A picture of this size in grey levels below `LEVELS`."""
    factor = 2 if width * height < _SMOOTH_BELOW else 1
    canvas = Image.new("L", (width * factor, height * factor), rng.randrange(_TOP // 2, _TOP))
    rng.choice((_rings, _tiles))(ImageDraw.Draw(canvas), canvas.width, canvas.height, rng)
    return canvas.reduce(factor) if factor > 1 else canvas


def _rings(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    x, y = width * rng.uniform(0.15, 0.85), height * rng.uniform(0.1, 0.6)
    levels = sorted(rng.sample(range(12, _TOP), rng.randrange(6, 11)), reverse=rng.random() < 0.5)
    reach = math.hypot(width, height) * 0.9
    for number, level in enumerate(levels):
        radius = reach * (1 - number / len(levels))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)


def _tiles(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    side = max(min(width, height) // rng.randrange(3, 6), math.ceil(max(width, height) / 24))
    for top in range(0, height, side):
        for left in range(0, width, side):
            below, above = rng.sample((12, 34, 58, 80, 100, 120), 2)
            draw.rectangle((left, top, left + side, top + side), fill=below)
            right, down = rng.randrange(2), rng.randrange(2)
            x, y = left + side * right, top + side * down
            start = {(0, 0): 0, (1, 0): 90, (1, 1): 180, (0, 1): 270}[right, down]
            draw.pieslice((x - side, y - side, x + side, y + side), start, start + 90, fill=above)
