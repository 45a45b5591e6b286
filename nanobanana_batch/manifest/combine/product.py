"""A product minus boxes plus boxes, in numbers only: counted, walked and drawn from without being built.

A point is one level of each axis. A box holds the points whose levels on some axes are among given ones. What
boxes leave of a product is kept as a decision diagram, whose size does not depend on how long the axes are.
"""

from __future__ import annotations

import itertools
import math
import random
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

Point = tuple[int, ...]
Ranges = tuple[range, ...]
Box = tuple[tuple[int, frozenset[int] | range], ...]
"""The axes that it names, ascending, each with the levels that it holds there."""
MAX_NODES = 200_000
_ITERTOOLS_KEEPS = 100_000


class Entangled(Exception):
    """The boxes overlap in so many ways that what they leave cannot be counted."""


@dataclass(frozen=True, slots=True)
class _Node:
    """What is left of the axes from one on, given what was chosen before."""

    total: int
    named: Mapping[int, _Node] = field(default_factory=dict)
    """Levels that some box names, ascending, with what follows them."""
    order: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    """How many points come before each named level."""
    rest: _Node | None = None
    """What follows every other level; `None` where nothing is named: all points are left."""


_NOTHING = _Node(0)


class Region:
    """The points of some ranges that are in no box of `minus`, and in some box of `within` if given."""

    def __init__(
        self, ranges: Ranges, minus: Iterable[Box] = (), within: Iterable[Box] | None = None
    ) -> None:
        self.ranges = ranges
        self._tails = [math.prod(map(len, ranges[axis:])) for axis in range(len(ranges) + 1)]
        self._minus = _clipped(minus, ranges)
        self._within = None if within is None else _clipped(within, ranges)
        self._nodes: dict[tuple[int, frozenset[Box], frozenset[Box] | None], _Node] = {}
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
        while node.rest is not None:
            level, node, number = _descended(node, node.rest, self.ranges[len(levels)].start, number)
            levels.append(level)
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

    def _node(self, axis: int, minus: frozenset[Box], within: frozenset[Box] | None) -> _Node:
        if within is not None and () in within:
            within = None
        if () in minus or (within is not None and not within) or not self._tails[axis]:
            return _NOTHING
        if not minus and within is None:
            return _Node(self._tails[axis])
        key = (axis, minus, within)
        if key not in self._nodes:
            if len(self._nodes) >= MAX_NODES:
                raise Entangled
            self._nodes[key] = self._decided(axis, minus, within)
        return self._nodes[key]

    def _decided(self, axis: int, minus: frozenset[Box], within: frozenset[Box] | None) -> _Node:
        less, free = _followed(axis, minus)
        inside, apart = (None, None) if within is None else _followed(axis, within)
        span = self.ranges[axis]
        order = sorted({*less, *(inside or ())})
        named = {}
        for level in order:
            needed = None if apart is None else apart | (inside or {}).get(level, frozenset())
            named[level] = self._node(axis + 1, free | less.get(level, frozenset()), needed)
        rest = self._node(axis + 1, free, apart) if len(order) < len(span) else _NOTHING
        starts, total = [], 0
        for index, level in enumerate(order):
            starts.append(total + (level - span.start - index) * rest.total)
            total += named[level].total
        total += (len(span) - len(order)) * rest.total
        return _Node(total, named, tuple(order), tuple(starts), rest)

    def _walk(self, axis: int, node: _Node) -> Iterator[Point]:
        if node.rest is None:
            if node.total:
                yield from _all_points(self.ranges[axis:])
            return
        for level in self.ranges[axis] if node.rest.total else node.order:
            after = node.named.get(level, node.rest)
            if after.total:
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
            self.regions.append(Region(include, earlier, excludes if inside else None))
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
            common = _common(levels, span)
            if not common:
                break
            if len(common) < len(span):
                kept.append((axis, frozenset(common)))
        else:
            found.add(tuple(kept))
    return frozenset(found)


def _common(levels: frozenset[int] | range, span: range) -> frozenset[int] | range:
    if isinstance(levels, range):
        return range(max(levels.start, span.start), min(levels.stop, span.stop))
    return frozenset(level for level in levels if level in span)


def _followed(axis: int, boxes: frozenset[Box]) -> tuple[dict[int, frozenset[Box]], frozenset[Box]]:
    """What the boxes that name this axis still ask for at each level, and the boxes that do not name it."""
    at: dict[int, set[Box]] = {}
    free = set()
    for box in boxes:
        if box[0][0] == axis:
            for level in box[0][1]:
                at.setdefault(level, set()).add(box[1:])
        else:
            free.add(box)
    return {level: frozenset(left) for level, left in at.items()}, frozenset(free)


def _descended(node: _Node, rest: _Node, first: int, number: int) -> tuple[int, _Node, int]:
    """The level under which the point of this number lies, what follows it, and the point's number there."""
    index = bisect_right(node.starts, number) - 1
    if index >= 0:
        level = node.order[index]
        after = node.named[level]
        number -= node.starts[index]
        if number < after.total:
            return level, after, number
        number -= after.total
        first = level + 1
    step, number = divmod(number, rest.total)
    return first + step, rest, number


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
