"""How long images took, as a distribution: where each share of them was there, and how many took how long.

Times are counted in tenths of a second, so that many folders are one distribution, and memory is that of the
times that differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from nanobanana_batch.state.sums import TENTHS

SHARES = (5, 10, 25, 50, 75, 90, 99)
"""Of a hundred."""
_BARS = 48


@dataclass(frozen=True, slots=True)
class Latency:
    """Of the images of one model and resolution; all in seconds."""

    model: str
    resolution: str
    images: int
    set_back: int
    """Images that were there before they were asked for, by the clock; they count nowhere else."""
    quantiles: Mapping[int, float]
    """By share of a hundred: so many were there after so many seconds."""
    least_s: float
    most_s: float
    mean_s: float
    counts: Mapping[int, int]
    """Images by how many tenths of a second they took."""

    def bars(self, until_s: float, bars: int = _BARS) -> list[int]:
        """How many images each of so many equal parts of the time until then has."""
        found = [0] * bars
        for tenths, count in self.counts.items():
            place = int(tenths / TENTHS / until_s * bars) if until_s > 0 else 0
            if place < bars:
                found[place] += count
        return found


def latency(model: str, resolution: str, counts: Mapping[int, int]) -> Latency | None:
    """Of images by how many tenths of a second they took; None: there is none of which that is known."""
    known = {tenths: counts[tenths] for tenths in sorted(counts) if tenths >= 0}
    images = sum(known.values())
    if not images:
        return None
    return Latency(
        model=model,
        resolution=resolution,
        images=images,
        set_back=sum(counts.values()) - images,
        quantiles=_quantiles(known, images),
        least_s=min(known) / TENTHS,
        most_s=max(known) / TENTHS,
        mean_s=sum(tenths * count for tenths, count in known.items()) / images / TENTHS,
        counts=known,
    )


def _quantiles(counts: Mapping[int, int], images: int) -> dict[int, float]:
    """By the nearest rank: each is a time that an image took."""
    wanted = {share: -(-share * images // 100) for share in SHARES}
    found: dict[int, float] = {}
    passed = 0
    for tenths, count in counts.items():
        passed += count
        for share, rank in wanted.items():
            if share not in found and passed >= rank:
                found[share] = tenths / TENTHS
    return found
