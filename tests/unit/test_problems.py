"""Problems are told once for each kind, with every place, in bounded memory."""

from __future__ import annotations

import tracemalloc

import pytest

from nanobanana_batch.errors import ManifestError, Problem
from nanobanana_batch.problems import ProblemLog


def told(*problems: Problem) -> list[str]:
    """The lines that a person sees."""
    log = ProblemLog("rows.csv")
    log.extend(problems)
    with pytest.raises(ManifestError) as caught:
        log.raise_if_any()
    return str(caught.value).splitlines()


def wrong(line: int, value: str = "8K", file: str = "rows.csv") -> Problem:
    """A value that is not allowed."""
    return Problem(f"{file}:{line}", f"{value!r} is not allowed", "resolution", ("1K", "2K"), "2K")


def test_one_problem_is_one_line_with_its_place() -> None:
    """Field, message, what is allowed, what was meant."""
    assert told(wrong(3)) == [
        "rows.csv: 1 problem; nothing was sent.",
        "rows.csv:3: resolution: '8K' is not allowed; did you mean '2K'? Allowed: 1K 2K",
    ]


def test_the_same_mistake_is_told_once_with_all_places() -> None:
    """Neighbouring lines are a range, other files and columns are named."""
    lines = [*range(2, 10), 14, 15, 20]
    problems = [*map(wrong, lines), wrong(4, file="m.yaml:7"), wrong(9, file="m.yaml:7"), wrong(3, "9K")]
    assert told(*problems) == [
        "rows.csv: 14 problems of 2 kinds; nothing was sent.",
        "resolution: '8K' is not allowed; did you mean '2K'? Allowed: 1K 2K",
        "  rows.csv:2-9, 14-15, 20, m.yaml:7:4, 7:9",
        "rows.csv:3: resolution: '9K' is not allowed; did you mean '2K'? Allowed: 1K 2K",
    ]


def test_rows_that_are_numbered_otherwise_are_ranges_too() -> None:
    """As those of a Parquet file; a row that has a name is named."""
    places = ["t.parquet row 7", "t.parquet row 8", "outputs/first row tokyo", "outputs/first row 3-d"]
    assert told(*(Problem(place, "no image", "images") for place in places))[2:] == [
        "  t.parquet row 7-8, outputs/first row tokyo, outputs/first row 3-d"
    ]


def test_kinds_come_in_the_order_of_their_first_places() -> None:
    """Files in the order in which they were met, the manifest as a whole before its lines."""
    found = [Problem("m.yaml:9:1", "b"), Problem("t.csv:4", "d"), Problem("m.yaml:2:7", "a")]
    assert told(*found, Problem("t.csv:3", "c"), Problem("m.yaml", "whole"))[1:] == [
        "m.yaml: whole",
        "m.yaml:2:7: a",
        "m.yaml:9:1: b",
        "t.csv:3: c",
        "t.csv:4: d",
    ]


def test_a_problem_that_is_found_again_is_one_problem() -> None:
    """What stands at the top is read once for each block."""
    assert told(wrong(3), wrong(3), wrong(3))[0] == "rows.csv: 1 problem; nothing was sent."


def test_a_path_stands_before_the_message_and_the_field_where_the_path_does_not_say_it() -> None:
    """Neither is said twice."""
    inside = Problem("m.yaml:4:7", "expected a text", "style", path="matrix.style[0]")
    row = Problem("m.yaml:4", "no prompt", "prompt", path="rows[1]")
    assert told(inside, row)[1:] == [
        "m.yaml:4: rows[1]: prompt: no prompt",
        "m.yaml:4:7: matrix.style[0]: expected a text",
    ]


def test_long_lists_are_cut_and_counted() -> None:
    """Kinds, places, and values that are allowed: nobody reads thousands, and the total stays exact."""
    many = tuple(f"v{number}" for number in range(100))
    kinds = [Problem("t.csv:2", "no", "f", many), *(wrong(line, f"{line}K") for line in range(3, 2000))]
    lines = told(*kinds, *(wrong(2 * line, "one") for line in range(2000, 2500)), *kinds)
    assert lines[0] == "rows.csv: 2,498 problems of more than 1,000 kinds; nothing was sent."
    assert lines[1].endswith("v28 v29 and 70 more")
    assert lines[-1] == "... and 2,448 more; they are told when these are mended"
    assert len(lines) == 1 + 50 + 1
    beside = Problem("t.csv:2", "no", "f", many, "v70")
    assert beside.what.startswith("f: no; did you mean 'v70'? Allowed: v0 ")
    assert beside.what.endswith(" v9 and 90 more")
    places = " ".join(told(*(wrong(2 * line) for line in range(1000)))[2:])
    assert places.count(",") == 199
    assert places.endswith("398 and 800 more")


def test_memory_does_not_grow_with_problems() -> None:
    """A million of one kind are one range; of many kinds the first are kept, and all are counted."""
    log = ProblemLog()
    for line in range(20_000):
        log.add(wrong(line, str(line)))
    tracemalloc.start()
    for line in range(20_000, 60_000):
        log.add(wrong(line, str(line)))
        log.add(wrong(line))
    grown_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert log.total == 100_000
    assert grown_bytes < 1_000_000


def test_what_follows_from_something_else_is_left_out_backwards_and_forwards() -> None:
    """And neither kept nor counted."""
    log = ProblemLog()
    log.extend([wrong(2), wrong(3, "9K"), wrong(4, "9K")])
    log.leave_out(lambda problem: "9K" in problem.message)
    log.extend([wrong(5, "9K"), wrong(6)])
    assert log.total == 2
    assert [problem.source for problem in log] == ["rows.csv:2", "rows.csv:6"]
    assert "9K" not in str(log.as_error())
