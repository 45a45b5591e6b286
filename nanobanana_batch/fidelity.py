"""Whether an image is what was asked for: it is kept and paid for either way, so only a note can tell.

Only what no provider can mean is none: far more pixels than anyone asked for.

Providers name sizes by words (1K, 2K, 4K), and each draws them in sides of its own: what counts is the area,
which from one word to the next is four times as large, and the ratio of the sides.
"""

from __future__ import annotations

from functools import lru_cache

from nanobanana_batch.model import Request

_AREAS = {"512": 1 << 18, "0.5K": 1 << 18, "1K": 1 << 20, "2K": 1 << 22, "4K": 1 << 24}
"""Pixels (contract: "Submit"); a resolution with another name is not judged."""
_SAME_AREA = 2.0
"""Half way to the next word; what real models draw for a word lies within a fifth of it."""
_ROOM = 4
"""Times the area that was asked for: a larger picture than that was not meant."""
_ALWAYS = 1 << 25
"""Twice the largest area of the contract: such a picture is kept, as it is paid for, whatever was asked."""
_UNHEARD_OF = 1 << 28
"""For a resolution of another name: an area 16 times the largest of the contract."""
_SAME_RATIO = 1.04
"""Real models draw in blocks of pixels, which moves a ratio by 2 % at most; 4:5 and 3:4 are 7 % apart."""
_REMEMBERED = 1024


def unlike(request: Request, width: int, height: int) -> str:
    """How an image differs from what was asked, as in `1024x1024 for 4K`; empty: it does not."""
    return _unlike(request.resolution, request.aspect_ratio, width, height)


@lru_cache(_REMEMBERED)
def _unlike(resolution: str | None, aspect_ratio: str | None, width: int, height: int) -> str:
    """Of a million images nearly all were asked for, and came, in a few sizes."""
    asked = [
        word
        for word, is_it in (
            (resolution, _has_area(resolution, width, height)),
            (aspect_ratio, _has_ratio(aspect_ratio, width, height)),
        )
        if word is not None and not is_it
    ]
    return f"{width}x{height} for {' '.join(asked)}" if asked else ""


def most_pixels(resolution: str | None) -> int:
    """How many pixels an image for a resolution may have, before it is none."""
    if not resolution:
        return _ALWAYS
    area = _AREAS.get(resolution.upper())
    return _UNHEARD_OF if area is None else max(_ROOM * area, _ALWAYS)


def _has_area(resolution: str | None, width: int, height: int) -> bool:
    area = _AREAS.get((resolution or "").upper())
    return area is None or area / _SAME_AREA < width * height < area * _SAME_AREA


def _has_ratio(aspect_ratio: str | None, width: int, height: int) -> bool:
    """Words such as `auto` and `match_input_image` ask for no ratio of their own."""
    wide, colon, high = (aspect_ratio or "").partition(":")
    if not colon or not (wide.isdecimal() and high.isdecimal() and int(wide) and int(high)):
        return True
    off = (width * int(high)) / (height * int(wide))
    return 1 / _SAME_RATIO <= off <= _SAME_RATIO
