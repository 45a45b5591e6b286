"""Which words and cells are refused: counted, with what chance leaves of it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from nanobanana_batch.jobs.report import make_report
from nanobanana_batch.reports.refusals import Refusals, refusals, wilson_low
from nanobanana_batch.state.sums import Judged
from tests.report.nights import bad_night

Told = tuple[bool, str, dict[str, str]]


def found(rows: Iterable[Told]) -> Refusals:
    """What is told of rows: refused or not, prompt, fields."""
    judged = [Judged(number, *row) for number, row in enumerate(rows)]
    return refusals(lambda only: [row for row in judged if row.is_refused or not only])


def test_the_least_that_a_share_may_be_is_wilsons() -> None:
    """Held beside published values: 8 of 10, 1 of 1, 0 of 5, 90 of 100."""
    assert wilson_low(8, 10) == pytest.approx(0.4902, abs=1e-3)
    assert wilson_low(1, 1) == pytest.approx(0.2065, abs=1e-3)
    assert wilson_low(0, 5) == 0.0
    assert wilson_low(90, 100) == pytest.approx(0.8256, abs=1e-3)


def test_a_word_that_is_refused_far_more_often_stands_out() -> None:
    """Words that are always together are told together; those that everybody has are not told."""
    rows: list[Told] = [(n < 18, "a battlefield at dawn", {}) for n in range(20)]
    rows += [(n == 0, f"a fox at noon {n}", {}) for n in range(80)]
    told = found(rows)
    assert [one.words for one in told.words] == [("battlefield", "dawn")]
    word = told.words[0]
    assert (word.count.refused, word.count.rows, word.others.refused, word.others.rows) == (18, 20, 1, 80)
    assert word.count.at_least == pytest.approx(wilson_low(18, 20))


def test_a_small_difference_of_many_rows_is_not_called_often() -> None:
    """13 of 100 beside 10 of 100 is more than chance where there are enough of them, and helps nobody."""
    rows: list[Told] = [(n % 100 < 13, "fox", {"a": "x"}) for n in range(20_000)]
    rows += [(n % 100 < 10, "hen", {"a": "y"}) for n in range(20_000)]
    told = found(rows)
    assert told.words == ()
    assert not any(one.is_high for one in told.values)


def test_one_refusal_makes_no_word_suspicious() -> None:
    """A single row says nothing of its words; two of two are few, and marked so."""
    rows: list[Told] = [(True, "sword", {}), *[(False, f"fox {n}", {}) for n in range(50)]]
    assert found(rows).words == ()
    rows = [(True, "sword", {}), (True, "sword", {}), *[(False, f"fox {n}", {}) for n in range(50)]]
    assert [(one.words, one.count.is_few) for one in found(rows).words] == [(("sword",), True)]


def test_each_cell_of_two_variables_has_its_counts(tmp_path: Path) -> None:
    """In any order of the variables; a cell that does not occur is none."""
    rows = [(n % 4 == 0, "p", {"b": "x", "a": str(n % 2)}) for n in range(8)]
    rows += [(False, "p", {"a": "0", "b": "y"})]
    (pair,) = found(rows).pairs
    cells = {
        (row, column): None if cell is None else (cell.refused, cell.rows)
        for row, line in zip(pair.row_values, pair.cells, strict=True)
        for column, cell in zip(pair.column_values, line, strict=True)
    }
    in_order = cells if pair.rows == "a" else {(column, row): cell for (row, column), cell in cells.items()}
    assert in_order == {("0", "x"): (2, 4), ("1", "x"): (0, 4), ("0", "y"): (0, 1), ("1", "y"): None}


def test_a_variable_that_differs_in_each_row_makes_no_table() -> None:
    """It is named as left out, and what it took of memory is given back."""
    rows = [(n % 9 == 0, "p", {"n": str(n), "a": str(n % 2), "b": str(n % 3)}) for n in range(2100)]
    told = found(rows)
    assert told.left_out == ("n",)
    assert {(pair.rows, pair.columns) for pair in told.pairs} == {("b", "a")}
    assert sum(cell.rows for line in told.pairs[0].cells for cell in line if cell) == 2100


def test_refused_rows_are_those_of_status(tmp_path: Path) -> None:
    """Of the rows that were made or refused; failures say nothing of the words."""
    report = make_report([bad_night(tmp_path)])
    assert report.refusals.all.refused == report.counts["refused"] == 11
    assert report.refusals.all.rows == 11 + 43 + 1  # and the one that was made and expired
    assert [one.words for one in report.refusals.words] == [("at", "battlefield", "dawn")]
    high = [(one.variable, one.value) for one in report.refusals.values if one.is_high]
    assert ("who", "war") in high


def test_no_refusal_is_told_as_that() -> None:
    """Rows are counted all the same."""
    told = found([(False, "p", {"a": "1"})] * 3)
    assert (told.all.refused, told.all.rows, told.words, told.pairs) == (0, 3, (), ())
