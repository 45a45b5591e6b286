"""The background says at a glance that two tasks differ: its kind, shapes and order come from the seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from PIL import Image, ImageDraw

from nanobanana_batch.service.palette import LEVELS

Scene = Callable[[ImageDraw.ImageDraw, int, int, random.Random], None]
_TOP = LEVELS - 1
_SMOOTH_BELOW = 1_500_000  # pixels; above, jagged edges are too small to be seen and smoothing costs most


def background(width: int, height: int, rng: random.Random) -> Image.Image:
    factor = 2 if width * height < _SMOOTH_BELOW else 1
    canvas = Image.new("L", (width * factor, height * factor), rng.randrange(_TOP // 2, _TOP))
    scene = rng.choice(_SCENES)
    scene(ImageDraw.Draw(canvas), canvas.width, canvas.height, rng)
    return canvas.reduce(factor) if factor > 1 else canvas


def _hills(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    sky = rng.randrange(70, 105)
    for band in range(6):
        top = height * band // 9
        draw.rectangle((0, top, width, height), fill=min(_TOP, sky + 4 * band))
    radius = min(width, height) * rng.uniform(0.09, 0.17)
    x, y = width * rng.uniform(0.2, 0.8), height * rng.uniform(0.15, 0.38)
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=_TOP)
    for layer in range(5):
        level = round(sky * (0.85 - 0.17 * layer))
        draw.polygon(_ridge(width, height, 0.42 + 0.11 * layer, rng), fill=level)


def _ridge(width: int, height: int, base: float, rng: random.Random) -> list[tuple[float, float]]:
    swell, phase, waves = rng.uniform(0.02, 0.07), rng.uniform(0, math.tau), rng.uniform(0.7, 2.2)
    points = [(float(width), float(height)), (0.0, float(height))]
    for step in range(65):
        share = step / 64
        lift = math.sin(phase + math.tau * waves * share) + 0.4 * math.sin(
            2.7 * phase + 4.1 * math.tau * share
        )
        points.append((width * share, height * (base - swell * lift)))
    return points


def _bands(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    count = rng.randrange(6, 11)
    lean = rng.uniform(-0.9, 0.9) * height
    reach = width + 2 * abs(lean)
    levels = [round(_TOP * (0.12 + 0.85 * step / count)) for step in range(count)]
    if rng.random() < 0.5:
        levels.reverse()
    for number, level in enumerate(levels):
        left = -abs(lean) + reach * number / count
        draw.polygon(
            [(left, 0), (width + reach, 0), (width + reach, height), (left + lean, height)], fill=level
        )


def _rings(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    x, y = width * rng.uniform(0.15, 0.85), height * rng.uniform(0.1, 0.6)
    count = rng.randrange(6, 11)
    reach = math.hypot(width, height) * 0.9
    darker = rng.random() < 0.5
    for number in range(count):
        radius = reach * (1 - number / count)
        share = number / (count - 1)
        level = round(_TOP * (0.1 + 0.88 * (1 - share if darker else share)))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=level)


def _tiles(draw: ImageDraw.ImageDraw, width: int, height: int, rng: random.Random) -> None:
    side = max(min(width, height) // rng.randrange(3, 6), math.ceil(max(width, height) / 24))
    levels = [12, 34, 58, 80, 100, 120]
    for top in range(0, height, side):
        for left in range(0, width, side):
            below, above = rng.sample(levels, 2)
            draw.rectangle((left, top, left + side, top + side), fill=below)
            x, y = left + side * rng.randrange(2), top + side * rng.randrange(2)
            start = {(0, 0): 0, (1, 0): 90, (1, 1): 180, (0, 1): 270}[int(x > left), int(y > top)]
            draw.pieslice((x - side, y - side, x + side, y + side), start, start + 90, fill=above)


_SCENES: tuple[Scene, ...] = (_hills, _bands, _rings, _tiles)
