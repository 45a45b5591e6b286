"""One axis for all charts: buckets of one length, and breaks where nothing was going on."""

from __future__ import annotations

import pytest

from nanobanana_batch.reports import charts
from nanobanana_batch.reports.timeline import Span, joined, timeline

DAY = 86400.0


def test_nights_stand_side_by_side_and_the_days_between_are_not_drawn() -> None:
    """Each to the same scale; the gap says how long it was."""
    line = timeline([Span(n * DAY, n * DAY + 3600) for n in range(3)])
    assert len(line.stretches) == 3
    assert {one.buckets for one in line.stretches} == {line.stretches[0].buckets}
    assert [round(gap.length_s / 3600) for gap in line.gaps] == [23, 23]


def test_a_short_pause_is_drawn() -> None:
    """Ten minutes between two runs are part of the story."""
    assert len(timeline([Span(0, 600), Span(1200, 1800)]).stretches) == 1


def test_many_stretches_are_joined_until_they_can_be_looked_at() -> None:
    """The shortest gaps are drawn first."""
    line = timeline([Span(n * 2 * 3600.0, n * 2 * 3600 + 60) for n in range(200)])
    assert 1 <= len(line.stretches) <= 8


@pytest.mark.parametrize("length_s", [1, 59, 3600, 40 * DAY, 4000 * DAY])
def test_there_are_enough_buckets_and_not_too_many(length_s: float) -> None:
    """Of a second at least, whatever the length."""
    line = timeline([Span(BEGAN, BEGAN + length_s)])
    assert 1 <= line.buckets <= 112
    numbers = list(line.numbers())
    assert int(BEGAN // line.bucket_s) in numbers


def test_a_clock_that_jumped_far_is_a_stretch_of_its_own() -> None:
    """The others keep their scale."""
    line = timeline([Span(0.0, 10.0), Span(BEGAN, BEGAN + 3600), Span(1e11, 1e11 + 10)])
    assert len(line.stretches) == 3
    assert line.bucket_s <= 60


def test_centuries_are_drawn_with_as_many_marks_as_have_room() -> None:
    """A folder may hold any times; a page is made of it all the same."""
    line = timeline([Span(0.0, 1e10)])
    drawn = charts.stacked(line, [charts.Series("images", {0: 1}, "c-image")], [], "a chart", "images")
    assert drawn.count("<text") < 100


def test_nothing_has_happened_yet() -> None:
    """There is no axis."""
    line = timeline([])
    assert (line.stretches, line.gaps, line.buckets) == ((), (), 0)


def test_short_spans_become_few_long_ones() -> None:
    """Two minutes without an event are no gap."""
    assert list(joined([0, 1, 5, 100, 101], 10)) == [Span(0, 60), Span(1000, 1020)]


BEGAN = 1_795_000_000.0
