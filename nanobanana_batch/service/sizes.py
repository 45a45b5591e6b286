"""A picture has exactly the size that its resolution and ratio promise.

At 1K every side is a multiple of 16 and the area about 1 megapixel; each step of resolution is exactly
twice the sides of the one before, so ratios do not drift.
"""

from __future__ import annotations

import math

SIZES_1K: dict[str, tuple[int, int]] = {
    "1:1": (1024, 1024),
    "1:4": (512, 2048),
    "4:1": (2048, 512),
    "1:8": (368, 2944),
    "8:1": (2944, 368),
    "2:3": (832, 1248),
    "3:2": (1248, 832),
    "3:4": (864, 1152),
    "4:3": (1152, 864),
    "4:5": (896, 1120),
    "5:4": (1120, 896),
    "9:16": (768, 1360),
    "16:9": (1360, 768),
    "21:9": (1568, 672),
}

_SCALE = {"512": 0.5, "0.5K": 0.5, "1K": 1, "2K": 2, "4K": 4}
_LONGEST = 8.0  # no ratio of the API goes beyond 1:8


def pixel_size(ratio: str, resolution: str) -> tuple[int, int]:
    width, height = SIZES_1K[ratio]
    return _scaled(width, height, resolution)


def matching_size(image: tuple[int, int], resolution: str) -> tuple[int, int]:
    """The size for `match_input_image`: the image's own ratio, about the area of the resolution."""
    proportion = min(max(image[0] / image[1], 1 / _LONGEST), _LONGEST)
    width = round(math.sqrt(1024 * 1024 * proportion) / 16) * 16
    return _scaled(width, round(width / proportion / 16) * 16, resolution)


def nearest_ratio(image: tuple[int, int], ratios: tuple[str, ...]) -> str:
    wanted = math.log(image[0] / image[1])
    known = [ratio for ratio in ratios if ratio in SIZES_1K]
    return min(known, key=lambda ratio: abs(math.log(SIZES_1K[ratio][0] / SIZES_1K[ratio][1]) - wanted))


def _scaled(width: int, height: int, resolution: str) -> tuple[int, int]:
    scale = _SCALE[resolution]
    return int(width * scale), int(height * scale)
