"""A picture is drawn in grey and coloured by one ramp from dark to light.

So anti-aliased edges and letters need no more than 128 palette entries, and a 4K PNG stays a palette
image: about a tenth of the time that RGB would take. The other 128 entries belong to reference images.
"""

from __future__ import annotations

import colorsys
import random

LEVELS = 128
Colour = tuple[int, int, int]


def ramp(rng: random.Random) -> list[Colour]:
    hue = rng.random()
    step = rng.choice((-0.36, -0.22, -0.12, 0.12, 0.22, 0.36))
    stops = (
        _colour(hue, 0.10, 0.55),
        _colour(hue + step / 2, 0.36, rng.uniform(0.45, 0.75)),
        _colour(hue + step, 0.64, rng.uniform(0.55, 0.9)),
        _colour(hue + step * 1.3, 0.95, 0.6),
    )
    return [_between(stops, level / (LEVELS - 1)) for level in range(LEVELS)]


def flat(colours: list[Colour]) -> list[int]:
    return [part for colour in colours for part in colour]


def _colour(hue: float, lightness: float, saturation: float) -> tuple[float, float, float]:
    return colorsys.hls_to_rgb(hue % 1.0, lightness, saturation)


def _between(stops: tuple[tuple[float, float, float], ...], share: float) -> Colour:
    place = share * (len(stops) - 1)
    left = min(int(place), len(stops) - 2)
    weight = place - left
    red, green, blue = (
        round(255 * (a + (b - a) * weight)) for a, b in zip(stops[left], stops[left + 1], strict=True)
    )
    return red, green, blue
