"""Pictures that look like something, each by its number."""

from __future__ import annotations

import io
from functools import lru_cache
from typing import Any

import numpy
from PIL import Image


@lru_cache
def photo(number: int, side: int = 96) -> Image.Image:
    """Soft shapes with a grain, as photographs have."""
    chance = numpy.random.default_rng(number)
    soft = Image.fromarray(chance.integers(0, 256, (7, 7, 3), dtype="uint8"))
    grain = chance.normal(0, 4, (side, side, 3))
    large = numpy.asarray(soft.resize((side, side), Image.Resampling.BICUBIC)) + grain
    return Image.fromarray(large.clip(0, 255).astype("uint8"))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """As a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()
