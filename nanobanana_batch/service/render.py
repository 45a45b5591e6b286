"""A placeholder is exact in what it promises (size, format, references) and honest in what it is: it says so.

A real model is another function like `render`. A prompt in any script can be shown: what the built-in
font lacks is named, never drawn as empty boxes. Every reference is seen, recognisable, in its own border.
"""

from __future__ import annotations

import math
import random
import textwrap
import threading
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from io import BytesIO
from itertools import groupby
from typing import Any

from PIL import Image, ImageDraw, ImageFont, ImageOps

from nanobanana_batch.service.scenery import LEVELS, Colour, background, ramp

_INK, _PANEL, _FAINT = LEVELS - 2, 3, 96
_OWN_COLOURS = 256 - LEVELS
_BORDER: Colour = (255, 255, 255)
_TYPOGRAPHY = str.maketrans("\u2018\u2019\u201c\u201d\u2013\u2014", "''\"\"--")
_EAST_ASIAN = ("HIRAGANA", "KATAKANA", "IDEOGRAPHIC", "FULLWIDTH")
_SAVED: dict[str, tuple[str, dict[str, int]]] = {
    "png": ("PNG", {"compress_level": 1}),
    "jpg": ("JPEG", {"quality": 86}),
    "webp": ("WEBP", {"quality": 80, "method": 0}),
}


@dataclass(frozen=True, slots=True)
class Reference:
    """An image of a request, by its host and name; `image` is None for a URL that was not contacted."""

    host: str
    name: str
    image: Image.Image | None


@dataclass(frozen=True, slots=True)
class RenderSpec:
    """All that a picture depends on; width and height in pixels."""

    prompt: str
    model: str
    ratio: str
    width: int
    height: int
    seed: int
    output_format: str  # png, jpg, webp
    references: tuple[Reference, ...] = ()


def render(spec: RenderSpec) -> bytes:
    """A labelled picture of shapes, with the references on it, as a file. Same spec, same bytes."""
    rng = random.Random(f"{spec.seed}:{spec.prompt}")
    colours = ramp(rng)
    canvas = background(spec.width, spec.height, rng)
    margin = round(min(spec.width, spec.height) * 0.05)
    room = spec.height - 2 * margin
    if spec.references:
        picture, own = _collage(spec.references, spec.width - 2 * margin, round(room * 0.4))
        canvas.paste(picture, (margin, margin))
        colours += own
        room = round(room * 0.55)
    _write_panel(canvas, spec, margin, room)
    canvas.putpalette([part for colour in colours for part in colour])
    kind, options = _SAVED[spec.output_format]
    out = BytesIO()
    (canvas if kind == "PNG" else canvas.convert("RGB")).save(out, kind, **options)
    return out.getvalue()


def _write_panel(canvas: Image.Image, spec: RenderSpec, margin: int, room: int) -> None:
    size = max(9, round(min((canvas.width * canvas.height) ** 0.5 / 30, min(canvas.size) / 11)))
    body, small = _font(size), _font(max(8, round(size * 0.55)))
    line, small_line, pad = round(size * 1.28), round(size * 0.75), round(size * 0.7)
    width = min(canvas.width - 2 * margin, size * 26)
    facts = f"{spec.model} | {spec.ratio} | {spec.width} x {spec.height} | seed {spec.seed} | placeholder"
    footer = _wrapped(facts, small, width - 2 * pad, 4)
    spent = 2 * pad + small_line * (len(footer) + 1) + size // 2
    prompt = _wrapped(drawable(spec.prompt), body, width - 2 * pad, min(9, max(1, (room - spent) // line)))
    left, y = margin + pad, canvas.height - margin - spent - line * len(prompt)
    draw = ImageDraw.Draw(canvas)
    panel = (margin, y, margin + width, canvas.height - margin)
    draw.rounded_rectangle(panel, radius=size // 2, fill=_PANEL)
    y += pad
    for lines, face, step, fill in (
        (["P L A C E H O L D E R"], small, small_line, _FAINT),
        (prompt, body, line, _INK),
        (footer, small, small_line, _FAINT),
    ):
        for text in lines:
            draw.text((left, y), text, font=face, fill=fill)
            y += step
        y += size // 4


def _collage(references: Sequence[Reference], width: int, height: int) -> tuple[Image.Image, list[Colour]]:
    """A strip of thumbnails as palette indices from `LEVELS` up, and the colours they stand for."""
    count = len(references)
    cell, columns = max((min(width // n, height // math.ceil(count / n)), n) for n in range(1, count + 1))
    cell = max(cell, 16)
    strip = Image.new("RGB", (cell * columns, cell * math.ceil(count / columns)), _BORDER)
    border = max(2, cell // 40)
    for number, reference in enumerate(references):
        tile = _tile(reference, cell - 2 * border)
        strip.paste(tile, (number % columns * cell + border, number // columns * cell + border))
    indexed = strip.quantize(_OWN_COLOURS, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE)
    parts = (indexed.getpalette() or [])[: 3 * _OWN_COLOURS]
    colours = list(zip(parts[::3], parts[1::3], parts[2::3], strict=True))
    shifted = indexed.tobytes().translate(bytes(min(255, value + LEVELS) for value in range(256)))
    return Image.frombytes("L", strip.size, shifted), colours


def _tile(reference: Reference, side: int) -> Image.Image:
    """The image; a label in a colour of its own for one that was not fetched."""
    if reference.image is not None:
        return ImageOps.fit(reference.image.convert("RGB"), (side, side))
    name = f"{reference.host} {reference.name}"
    tile = Image.new("RGB", (side, side), ramp(random.Random(name))[LEVELS // 3])
    text = "\n".join(_wrapped(name, face := _font(max(8, side // 11)), side * 0.86, 6))
    ImageDraw.Draw(tile).multiline_text((side * 0.07, side * 0.07), text, font=face, fill=_BORDER)
    return tile


def _font(size: int) -> Any:
    return _font_of(size, threading.get_ident())  # FreeType faces are not shared between threads


@lru_cache(maxsize=64)
def _font_of(size: int, thread: int) -> Any:
    return ImageFont.load_default(size=size)


def _wrapped(text: str, face: Any, width: float, max_lines: int) -> list[str]:
    if max_lines < 1:
        return []
    average = face.getlength(text[:200]) / max(len(text[:200]), 1)
    columns = max(4, int(width / (average * 1.06)))
    return textwrap.wrap(text, columns, max_lines=max_lines, placeholder=" ...") or [""]


def drawable(text: str) -> str:
    """Letters that the font has: ASCII. Accents are dropped, other scripts are named: `[CJK x 12]`."""
    letters = unicodedata.normalize("NFKD", " ".join(text.split()).translate(_TYPOGRAPHY))
    letters = unicodedata.normalize("NFC", "".join(one for one in letters if not unicodedata.combining(one)))
    runs = ((script, "".join(run)) for script, run in groupby(letters, key=_script))
    return "".join(f"[{script} x {len(run)}]" if script else run for script, run in runs)


def _script(letter: str) -> str:
    """Empty for what can be drawn."""
    if letter.isascii():
        return ""
    name = unicodedata.name(letter, "OTHER").split()[0].split("-")[0]
    return "CJK" if name in _EAST_ASIAN else name
