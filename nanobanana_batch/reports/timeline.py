"""The axis of time that all charts share: buckets of one length, and breaks where nothing was going on.

A folder that was worked on in three nights is three stretches side by side, each to the same scale, and
the gap between two says how long it was.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

_MOST_BUCKETS = 110
_MOST_STRETCHES = 8
_LEAST_GAP_S = 20 * 60
_JOINED_S = 120
_MINUTE, _HOUR, _DAY = 60, 3600, 86400
STEPS_S = (
    *(1, 2, 5, 10, 15, 30),
    *(_MINUTE * each for each in (1, 2, 5, 10, 15, 30)),
    *(_HOUR * each for each in (1, 2, 3, 6, 12)),
    *(_DAY * each for each in (1, 2, 7, 14, 30, 90, 365)),
)
"""Lengths of buckets, and of what is between two marks of an axis."""


class Span(NamedTuple):
    """A stretch of time, in Unix seconds."""

    began: float
    ended: float

    @property
    def length_s(self) -> float:
        """How long it is."""
        return self.ended - self.began


@dataclass(frozen=True, slots=True)
class Stretch:
    """Buckets side by side, the last one included."""

    first: int
    last: int

    @property
    def buckets(self) -> int:
        """How many there are."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Timeline:
    """Stretches of buckets, in order; none where nothing has happened yet."""

    bucket_s: int
    stretches: tuple[Stretch, ...]

    @property
    def buckets(self) -> int:
        """Of all stretches."""
        return sum(one.buckets for one in self.stretches)

    def numbers(self) -> Iterator[int]:
        """The number of each bucket: its time by its length."""
        for one in self.stretches:
            yield from range(one.first, one.last + 1)

    def span(self, stretch: Stretch) -> Span:
        """From when to when it is."""
        return Span(stretch.first * self.bucket_s, (stretch.last + 1) * self.bucket_s)

    @property
    def gaps(self) -> tuple[Span, ...]:
        """The time between stretches, which is not drawn."""
        spans = [self.span(one) for one in self.stretches]
        return tuple(Span(before.ended, after.began) for before, after in itertools.pairwise(spans))


def joined(numbers: Iterable[int], length_s: int) -> Iterator[Span]:
    """Numbers of short spans, in order, as few long ones: small gaps are no gaps."""
    began = ended = None
    for number in numbers:
        at = float(number * length_s)
        if began is None or ended is None:
            began = at
        elif at - ended > _JOINED_S:
            yield Span(began, ended)
            began = at
        ended = at + length_s
    if began is not None and ended is not None:
        yield Span(began, ended)


def timeline(active: Iterable[Span]) -> Timeline:
    """An axis on which all of these spans are, with as few and as long gaps as can be looked at."""
    spans = sorted(active)
    gap_s = float(_LEAST_GAP_S)
    while len(merged := _merged(spans, gap_s)) > _MOST_STRETCHES:
        gap_s *= 2
    total_s = sum(one.length_s for one in merged)
    bucket_s = next((step for step in STEPS_S if total_s / step <= _MOST_BUCKETS), None)
    if bucket_s is None:
        bucket_s = math.ceil(total_s / _MOST_BUCKETS / _DAY) * _DAY
    stretches: list[Stretch] = []
    for one in merged:
        first, last = int(one.began // bucket_s), math.ceil(one.ended / bucket_s) - 1
        first = max(first, stretches[-1].last + 1) if stretches else first
        if last >= first:
            stretches.append(Stretch(first, last))
    return Timeline(bucket_s, tuple(stretches))


def _merged(spans: list[Span], gap_s: float) -> list[Span]:
    merged: list[Span] = []
    for one in spans:
        if merged and one.began - merged[-1].ended <= gap_s:
            merged[-1] = Span(merged[-1].began, max(merged[-1].ended, one.ended))
        else:
            merged.append(one)
    return merged
