"""A placeholder is exact in what it promises (size, format, references) and honest in what it is: it says so.

A real model is another class with the same `render`.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Protocol

from PIL import Image, ImageDraw

from nanobanana_batch.service.collage import collage
from nanobanana_batch.service.lettering import drawable, font, wrapped
from nanobanana_batch.service.palette import LEVELS, flat, ramp
from nanobanana_batch.service.references import Reference
from nanobanana_batch.service.scenes import background

_INK, _PANEL, _FAINT = LEVELS - 2, 3, 96


@dataclass(frozen=True, slots=True)
class RenderSpec:
    prompt: str
    model: str
    ratio: str
    width: int
    height: int
    seed: int
    output_format: str  # png, jpg, webp
    references: tuple[Reference, ...] = ()


class Renderer(Protocol):
    def render(self, spec: RenderSpec) -> bytes: ...


class PlaceholderRenderer:
    """Same spec, same bytes."""

    def render(self, spec: RenderSpec) -> bytes:
        rng = random.Random(f"{spec.seed}:{spec.prompt}")
        colours = ramp(rng)
        canvas = background(spec.width, spec.height, rng)
        margin = round(min(spec.width, spec.height) * 0.05)
        room = spec.height - 2 * margin
        if spec.references:
            picture, own = collage(spec.references, spec.width - 2 * margin, round(room * 0.4))
            canvas.paste(picture, (margin, margin))
            colours += own
            room = round(room * 0.55)
        _write_panel(canvas, spec, margin, room)
        canvas.putpalette(flat(colours))
        return _encoded(canvas, spec.output_format)


def _write_panel(canvas: Image.Image, spec: RenderSpec, margin: int, room: int) -> None:
    size = max(9, round(min((canvas.width * canvas.height) ** 0.5 / 30, min(canvas.size) / 11)))
    body, small = font(size), font(max(8, round(size * 0.55)))
    pad = round(size * 0.7)
    width = min(canvas.width - 2 * margin, size * 26)
    footer = wrapped(_footer(spec), small, width - 2 * pad, 4)
    line, small_line = round(size * 1.28), round(size * 0.75)
    spent = 2 * pad + small_line * (len(footer) + 1) + size // 2
    prompt = wrapped(drawable(spec.prompt), body, width - 2 * pad, min(9, max(1, (room - spent) // line)))
    left, bottom = margin, canvas.height - margin
    top = bottom - spent - line * len(prompt)
    draw = ImageDraw.Draw(canvas)
    draw.rounded_rectangle((left, top, left + width, bottom), radius=size // 2, fill=_PANEL)
    y = _lines(draw, ["P L A C E H O L D E R"], (left + pad, top + pad), small, small_line, _FAINT)
    y = _lines(draw, prompt, (left + pad, y + size // 4), body, line, _INK)
    _lines(draw, footer, (left + pad, y + size // 4), small, small_line, _FAINT)


def _lines(
    draw: ImageDraw.ImageDraw, lines: list[str], at: tuple[int, int], face: Any, step: int, fill: int
) -> int:
    """Where the next line begins."""
    x, y = at
    for text in lines:
        draw.text((x, y), text, font=face, fill=fill)
        y += step
    return y


def _footer(spec: RenderSpec) -> str:
    return f"{spec.model} | {spec.ratio} | {spec.width} x {spec.height} | seed {spec.seed} | placeholder"


def _encoded(canvas: Image.Image, output_format: str) -> bytes:
    out = BytesIO()
    if output_format == "png":
        canvas.save(out, "PNG", compress_level=1)
    elif output_format == "jpg":
        canvas.convert("RGB").save(out, "JPEG", quality=86)
    else:
        canvas.convert("RGB").save(out, "WEBP", quality=80, method=0)
    return out.getvalue()
