"""A product minus boxes plus boxes, in numbers only: counted, walked and drawn from without being built.

A point is one level of each axis. A box holds the points whose levels on some axes are among given ones. What
boxes leave is decided axis by axis, and levels after which the same boxes are left share what follows them: a
decision diagram, whose size depends on the boxes and not on how long the axes are.

Nothing simpler does: `sample` draws numbers, and a draw that changed would be paid for again, so the n-th of
what is left has to be found. Inclusion and exclusion counts as exactly (17,562 terms for 50 entries on nine
factors), but has to count anew for each level of each axis to find the n-th; drawing until something is left
gives other rows for the same seed; and where little of 10^9 is left, testing each combination never ends.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

Point = tuple[int, ...]
Ranges = tuple[range, ...]
Box = tuple[tuple[int, frozenset[int] | range], ...]
"""The axes that it names, ascending, each with the levels that it holds there."""

MAX_NODES = 200_000
_ITERTOOLS_KEEPS = 100_000
_EVERYTHING: frozenset[Box] = frozenset({()})
"""A box that names no axis holds all points."""
_NO_BOX: frozenset[Box] = frozenset()


class Entangled(Exception):
    """The boxes overlap in so many ways that what they leave cannot be counted."""


@dataclass(frozen=True, slots=True)
class _Node:
    """What is left of the axes from one on, given what was chosen before."""

    total: int
    runs: tuple[tuple[range, _Node], ...] = ()
    """Neighbouring levels, and what follows each of them; none where all points are left, or no point is."""
    starts: tuple[int, ...] = ()
    """How many points come before each run."""


_NOTHING = _Node(0)


class Region:
    """The points of some ranges that are in some box of `within`, and in no box of `minus`."""

    def __init__(
        self, ranges: Ranges, minus: Iterable[Box] = (), within: Iterable[Box] = _EVERYTHING
    ) -> None:
        self.ranges = ranges
        self._tails = [math.prod(map(len, ranges[axis:])) for axis in range(len(ranges) + 1)]
        self._minus, self._within = _clipped(minus, ranges), _clipped(within, ranges)
        self._nodes: dict[tuple[int, frozenset[Box], frozenset[Box]], _Node] = {}
        self._root = self._node(0, self._minus, self._within)
        self.total = self._root.total
        self._nodes.clear()

    def __iter__(self) -> Iterator[Point]:
        """The points in order, the last axis fastest; what boxes take away is passed over, not tested."""
        return self._walk(0, self._root)

    def nth(self, number: int) -> Point:
        """The point that comes after so many others."""
        levels: list[int] = []
        node = self._root
        while node.runs:
            index = bisect_right(node.starts, number) - 1
            run, after = node.runs[index]
            step, number = divmod(number - node.starts[index], after.total)
            levels.append(run[step])
            node = after
        for axis in range(len(levels), len(self.ranges)):
            step, number = divmod(number, self._tails[axis + 1])
            levels.append(self.ranges[axis][step])
        return tuple(levels)

    def at(self, levels: Mapping[int, int]) -> Region:
        """The part of it that has these levels on these axes."""
        ranges = tuple(
            range(levels[axis], levels[axis] + (levels[axis] in span)) if axis in levels else span
            for axis, span in enumerate(self.ranges)
        )
        return Region(ranges, self._minus, self._within)

    def _node(self, axis: int, minus: frozenset[Box], within: frozenset[Box]) -> _Node:
        if () in minus or not within:
            return _NOTHING
        if () in within:
            within = _EVERYTHING
        if not self._tails[axis] or (not minus and within == _EVERYTHING):
            return _Node(self._tails[axis])
        key = (axis, minus, within)
        if key not in self._nodes:
            if len(self._nodes) >= MAX_NODES:
                raise Entangled
            self._nodes[key] = self._decided(axis, minus, within)
        return self._nodes[key]

    def _decided(self, axis: int, minus: frozenset[Box], within: frozenset[Box]) -> _Node:
        less, free = _followed(axis, minus)
        inside, apart = _followed(axis, within)
        span, named = self.ranges[axis], {*less, *inside}
        rest = self._node(axis + 1, free, apart) if len(named) < len(span) else _NOTHING
        runs, starts, total = [], [], 0
        for run in _runs(span, named):
            after, level = rest, run[0]
            if level in named:
                asked, wanted = less.get(level, _NO_BOX), inside.get(level, _NO_BOX)
                after = self._node(axis + 1, free | asked, apart | wanted)
            if after.total:
                runs.append((run, after))
                starts.append(total)
                total += len(run) * after.total
        return _Node(total, tuple(runs), tuple(starts))

    def _walk(self, axis: int, node: _Node) -> Iterator[Point]:
        if node.total and not node.runs:
            yield from _all_points(self.ranges[axis:])
        for run, after in node.runs:
            for level in run:
                for tail in self._walk(axis + 1, after):
                    yield (level, *tail)


class Product:
    """All points of some axes but those in `excludes`; then those of each include that are not there yet."""

    def __init__(
        self, sizes: Sequence[int], excludes: Sequence[Box] = (), includes: Sequence[Ranges] = ()
    ) -> None:
        axes = tuple(map(range, sizes))
        self.regions = [Region(axes, excludes)]
        for include, earlier in zip(includes, _earlier(includes), strict=True):
            inside = all(span.stop <= size for span, size in zip(include, sizes, strict=True))
            # What lies outside of the axes was never excluded, and is not there.
            self.regions.append(Region(include, earlier, excludes if inside else _EVERYTHING))
        self._starts = tuple(itertools.accumulate((r.total for r in self.regions), initial=0))
        self.total = self._starts[-1]

    def __iter__(self) -> Iterator[tuple[int, Point]]:
        """The points in order, each with 0, or the number of the include that adds it."""
        for number, region in enumerate(self.regions):
            for point in region:
                yield number, point

    def nth(self, number: int) -> tuple[int, Point]:
        """What iteration would give after so many others."""
        part = bisect_right(self._starts, number) - 1
        return part, self.regions[part].nth(number - self._starts[part])


def _earlier(includes: Sequence[Ranges]) -> Iterator[list[Box]]:
    """For each the earlier ones as boxes, but none that lies apart from it on the most telling axis."""
    if not includes:
        return
    axis = max(range(len(includes[0])), key=lambda at: len({include[at] for include in includes}), default=0)
    by_span: dict[range, list[Box]] = {}
    wide: list[range] = []
    for include in includes:
        span = include[axis] if include else range(0)
        is_level = len(span) == 1
        near = (span, *wide) if is_level else by_span
        yield [box for other in near for box in by_span.get(other, ())]
        if not is_level and span not in by_span:
            wide.append(span)
        by_span.setdefault(span, []).append(tuple(enumerate(include)))


def _clipped(boxes: Iterable[Box], ranges: Ranges) -> frozenset[Box]:
    """The boxes within these ranges: none that lies outside, and no axis that a box covers there."""
    found = set()
    for box in boxes:
        kept: list[tuple[int, frozenset[int]]] = []
        for axis, levels in box:
            span = ranges[axis]
            if levels == span:  # perhaps too long to be listed
                continue
            few, many = (levels, span) if len(levels) < len(span) else (span, levels)
            common = frozenset(level for level in few if level in many)
            if not common:
                break
            if len(common) < len(span):
                kept.append((axis, common))
        else:
            found.add(tuple(kept))
    return frozenset(found)


def _followed(axis: int, boxes: frozenset[Box]) -> tuple[dict[int, set[Box]], frozenset[Box]]:
    """What the boxes that name this axis still ask for at each level, and the boxes that do not name it."""
    at: dict[int, set[Box]] = {}
    free = set()
    for box in boxes:
        if box and box[0][0] == axis:
            for level in box[0][1]:
                at.setdefault(level, set()).add(box[1:])
        else:
            free.add(box)
    return at, frozenset(free)


def _runs(span: range, named: Iterable[int]) -> Iterator[range]:
    """All levels in order: each that is named alone, and those between two of them together."""
    start = span.start
    for level in sorted(named):
        yield from filter(None, (range(start, level), range(level, level + 1)))
        start = level + 1
    yield from filter(None, (range(start, span.stop),))


def _all_points(ranges: Ranges) -> Iterator[Point]:
    # itertools.product is fastest, but keeps all levels of all axes.
    if sum(map(len, ranges)) <= _ITERTOOLS_KEEPS:
        return itertools.product(*ranges)
    return ((level, *tail) for level in ranges[0] for tail in _all_points(ranges[1:]))


def drawn(total: int, count: int, seed: int) -> list[int]:
    """So many different numbers below `total`, ascending; a larger `count` keeps what a smaller one drew."""
    # The first steps of a Fisher-Yates shuffle of all numbers, of which only those that moved are kept.
    source = random.Random(seed)
    moved: dict[int, int] = {}
    found = []
    for index in range(min(count, total)):
        other = source.randrange(index, total)
        found.append(moved.get(other, other))
        moved[other] = moved.pop(index, index)
    return sorted(found)
