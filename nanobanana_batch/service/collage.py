"""Every reference image of a request is seen in its picture, recognisable, inside its own border."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from hashlib import sha256

from PIL import Image, ImageDraw, ImageOps

from nanobanana_batch.service.lettering import font, wrapped
from nanobanana_batch.service.palette import LEVELS, Colour
from nanobanana_batch.service.references import Reference

_OWN_COLOURS = 256 - LEVELS
_BORDER: Colour = (255, 255, 255)


def collage(references: Sequence[Reference], width: int, height: int) -> tuple[Image.Image, list[Colour]]:
    """A strip of thumbnails as palette indices from `LEVELS` up, and the colours they stand for."""
    columns, cell = _grid(len(references), width, height)
    rows = math.ceil(len(references) / columns)
    strip = Image.new("RGB", (cell * min(columns, len(references)), cell * rows), _BORDER)
    border = max(2, cell // 40)
    for number, reference in enumerate(references):
        tile = _tile(reference, cell - 2 * border)
        strip.paste(tile, (number % columns * cell + border, number // columns * cell + border))
    indexed = strip.quantize(_OWN_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    parts = (indexed.getpalette() or [])[: 3 * _OWN_COLOURS]
    colours = [(parts[at], parts[at + 1], parts[at + 2]) for at in range(0, len(parts), 3)]
    shifted = indexed.tobytes().translate(bytes(min(255, value + LEVELS) for value in range(256)))
    return Image.frombytes("L", strip.size, shifted), colours


def _grid(count: int, width: int, height: int) -> tuple[int, int]:
    """Columns and cell size: the largest cells of which `count` fit."""
    sizes = [
        (min(width // columns, height // math.ceil(count / columns)), columns)
        for columns in range(1, count + 1)
    ]
    cell, columns = max(sizes)
    return columns, max(cell, 16)


def _tile(reference: Reference, side: int) -> Image.Image:
    if reference.image is None:
        return _label(reference, side)
    return ImageOps.fit(reference.image.convert("RGB"), (side, side))


def _label(reference: Reference, side: int) -> Image.Image:
    number = sha256(f"{reference.host}/{reference.name}".encode()).digest()[0] / 256
    red, green, blue = (round(255 * part) for part in colorsys.hls_to_rgb(number, 0.4, 0.5))
    tile = Image.new("RGB", (side, side), (red, green, blue))
    face = font(max(8, side // 11))
    text = wrapped(f"{reference.host} {reference.name}", face, side * 0.86, 6)
    ImageDraw.Draw(tile).multiline_text((side * 0.07, side * 0.07), "\n".join(text), font=face, fill=_BORDER)
    return tile
