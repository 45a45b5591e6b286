"""A product minus boxes plus boxes, compared with one that is really built."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.manifest.combine import product
from nanobanana_batch.manifest.combine.product import Box, Entangled, Product, Ranges, drawn


@dataclass(frozen=True)
class Case:
    """Axes with what is taken out of their product and what is added to it."""

    sizes: tuple[int, ...]
    excludes: tuple[Box, ...]
    includes: tuple[Ranges, ...]

    def product(self) -> Product:
        """What is tested."""
        return Product(self.sizes, self.excludes, self.includes)

    def built(self) -> list[tuple[int, tuple[int, ...]]]:
        """What it should be, by looking at every point."""
        left = [
            (0, point)
            for point in itertools.product(*map(range, self.sizes))
            if not any(all(point[axis] in levels for axis, levels in box) for box in self.excludes)
        ]
        there = {point for _, point in left}
        for number, ranges in enumerate(self.includes, 1):
            for point in itertools.product(*ranges):
                if point not in there:
                    there.add(point)
                    left.append((number, point))
        return left


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Few axes of few levels, so that the whole product can be looked at; boxes of every shape."""
    sizes = draw(st.lists(st.integers(1, 3), max_size=4))

    def box() -> Box:
        named = [axis for axis in range(len(sizes)) if draw(st.booleans())]
        return tuple(
            (axis, frozenset(draw(st.sets(st.integers(0, sizes[axis] - 1), min_size=1)))) for axis in named
        )

    def ranges() -> Iterator[range]:
        for size in sizes:
            level = draw(st.none() | st.integers(0, size + 1))
            yield range(size) if level is None else range(level, level + 1)

    excludes = tuple(box() for _ in range(draw(st.integers(0, 3))))
    includes = tuple(tuple(ranges()) for _ in range(draw(st.integers(0, 3))))
    return Case(tuple(sizes), excludes, includes)


@given(cases())
@settings(deadline=None)
def test_walking_counting_and_picking_agree_with_what_is_built(case: Case) -> None:
    """The same points in the same order, as many as counted, each found by its number."""
    made, wanted = case.product(), case.built()
    assert list(made) == wanted
    assert made.total == len(wanted)
    assert [made.nth(number) for number in range(made.total)] == wanted


@given(cases(), st.data())
@settings(deadline=None)
def test_a_part_is_counted_as_if_built(case: Case, data: st.DataObject) -> None:
    """Any levels of any axes, also levels that nothing has."""
    axes = data.draw(st.sets(st.sampled_from(range(len(case.sizes))))) if case.sizes else set()
    at = {axis: data.draw(st.integers(0, case.sizes[axis] + 1)) for axis in axes}
    counted = Counter(
        part for part, point in case.built() if all(point[axis] == level for axis, level in at.items())
    )
    regions = case.product().regions
    assert [region.at(at).total for region in regions] == [counted[part] for part in range(len(regions))]


def test_a_thousand_million_points_are_counted_and_walked_without_being_built() -> None:
    """The diagram of their boxes has as many nodes as boxes ask for, and both ends are at hand."""
    excludes = [((0, frozenset({0})), (2, frozenset({5}))), ((1, frozenset({7, 8})),)]
    includes = [tuple(range(level, level + 1) for level in (1000, 7, 5))]
    made = Product((1000, 1000, 1000), excludes, includes)
    assert made.total == 10**9 - 2 * 10**6 - 998 + 1
    assert list(itertools.islice(made, 4, 7)) == [(0, (0, 0, 4)), (0, (0, 0, 6)), (0, (0, 0, 7))]
    assert made.nth(made.total - 2) == (0, (999, 999, 999))
    assert made.nth(made.total - 1) == (1, (1000, 7, 5))


def test_an_axis_without_end_is_walked_without_being_kept() -> None:
    """Its levels are no list: one of 10^12 would not fit."""
    made = Product((2, 10**12, 3), [((0, frozenset({0})),)])
    assert made.total == 3 * 10**12
    assert list(itertools.islice(made, 2, 5)) == [(0, (1, 0, 2)), (0, (1, 1, 0)), (0, (1, 1, 1))]
    assert made.nth(3 * 10**12 - 1) == (0, (1, 10**12 - 1, 2))


def test_what_is_taken_out_is_passed_over() -> None:
    """The one combination that is left of 10^9 is found without looking at the others."""
    everything_but_one = [((axis, frozenset(range(999))),) for axis in range(3)]
    assert list(Product((1000, 1000, 1000), everything_but_one)) == [(0, (999, 999, 999))]
    one = ((0, frozenset({3})), (1, frozenset({4})), (2, frozenset({5})))
    sizes = (10**12, 10**12, 10**12)
    brought_back = Product(sizes, [one], [tuple(map(range, sizes))])
    assert list(brought_back.regions[1]) == [(3, 4, 5)]


def test_boxes_that_ask_for_the_same_share_their_nodes(monkeypatch: pytest.MonkeyPatch) -> None:
    """10,000 entries on two axes need a handful of nodes, not one each."""
    monkeypatch.setattr(product, "MAX_NODES", 4)
    excludes = [((0, frozenset({level})), (2, frozenset({0}))) for level in range(10_000)]
    assert Product((20_000, 5, 10), excludes).total == 20_000 * 50 - 10_000 * 5


def test_boxes_that_overlap_in_too_many_ways_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Counting them could take for ever."""
    monkeypatch.setattr(product, "MAX_NODES", 50)
    excludes = [((axis, frozenset({0})), (axis + 6, frozenset({0}))) for axis in range(6)]
    with pytest.raises(Entangled):
        Product((2,) * 12, excludes)


@given(st.integers(0, 300), st.integers(1, 40), st.integers(0, 40), st.integers(-5, 5))
@settings(deadline=None)
def test_a_larger_draw_keeps_the_smaller_one(total: int, count: int, more: int, seed: int) -> None:
    """Different numbers, in order, all below the total."""
    small, large = drawn(total, count, seed), drawn(total, count + more, seed)
    assert set(small) <= set(large) <= set(range(total))
    assert len(small) == min(count, total)
    assert large == sorted(set(large))


@given(st.integers(1, 60), st.integers(1, 80), st.integers(0, 5))
@settings(deadline=None)
def test_a_draw_is_a_shuffle_of_which_only_the_beginning_is_kept(total: int, count: int, seed: int) -> None:
    """As if all numbers were there and changed places."""
    source, numbers = random.Random(seed), list(range(total))
    for index in range(min(count, total)):
        other = source.randrange(index, total)
        numbers[index], numbers[other] = numbers[other], numbers[index]
    assert drawn(total, count, seed) == sorted(numbers[:count])


def test_draws_stay_what_they_are() -> None:
    """A sample that changed with a release would be paid for again."""
    assert drawn(10**9, 5, 1) == [144272509, 611178003, 820096757, 861425551, 909925049]
    assert drawn(10, 4, 0) == [2, 5, 6, 7]


def test_every_combination_is_as_likely_as_any_other() -> None:
    """Chi-square over 40 combinations that excludes left, at a fixed seed: far from the 1-in-1,000 bound."""
    excludes = [((0, frozenset({0})), (1, frozenset({0, 1}))), ((2, frozenset({2})),)]
    made = Product((4, 6, 3), excludes, [(range(4, 5), range(6), range(2))])
    assert made.total == 56
    seen = Counter(made.nth(number) for seed in range(4000) for number in drawn(made.total, 7, seed))
    expected = 4000 * 7 / made.total
    chi_square = sum((seen[made.nth(number)] - expected) ** 2 / expected for number in range(made.total))
    assert 30 < chi_square < 93  # 55 degrees of freedom: 93.2 is passed by one in a thousand


def test_an_include_is_only_held_against_earlier_ones_that_it_can_meet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands that differ in one axis would take quadratic time otherwise."""
    asked: list[int] = []
    clipped = product._clipped

    def counting(boxes: Iterable[Box], ranges: Ranges) -> frozenset[product.Box]:
        listed = list(boxes)
        asked.append(len(listed))
        return clipped(listed, ranges)

    monkeypatch.setattr(product, "_clipped", counting)
    includes = [(range(n, n + 1), range(2)) for n in range(5, 55)]
    made = Product((1, 2), (), [*includes, *includes, (range(1), range(2))])
    assert (made.total, max(asked)) == (102, 1)
