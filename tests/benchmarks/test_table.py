"""The table of all benchmarks: what a line says, and that no failure is its end."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import __main__ as runner
from benchmarks import registry
from benchmarks.lines import Benchmark, Line, Scale, Verdict, at_least, at_most, not_measured, noted
from benchmarks.registry import ENTRIES, Entry
from benchmarks.table import Table, line_text


@pytest.mark.parametrize(
    ("line", "verdict"),
    [
        (at_most("a", 1.2, 1.2, "ms"), Verdict.MET),
        (at_most("a", 1.2, 1.21, "ms"), Verdict.MISSED),
        (at_least("a", 2.0, 2.0, "times"), Verdict.MET),
        (at_least("a", 2.0, 1.99, "times"), Verdict.MISSED),
        (noted("a", 5.0, "s"), Verdict.NO_TARGET),
        (not_measured("a", "why"), Verdict.NOT_MEASURED),
    ],
)
def test_a_figure_is_held_against_its_target(line: Line, verdict: Verdict) -> None:
    """The bound itself is within."""
    assert line.verdict is verdict


def test_small_sizes_judge_nothing() -> None:
    """What is neither met nor missed stays as it is."""
    met, told = at_most("a", 1.0, 0.5, "ms"), noted("a", 1.0, "s")
    assert runner.as_judged(met, Scale.QUICK).verdict is Verdict.NOT_JUDGED
    assert runner.as_judged(met, Scale.FULL) == met
    assert runner.as_judged(told, Scale.QUICK) == told


def test_a_line_says_target_figure_verdict_and_how() -> None:
    """In this order."""
    words = line_text(at_most("CPU of a row", 1.2, 3.14159, "ms", "by hand")).split("  ")
    told = [word.strip() for word in words if word.strip()]
    assert told == ["CPU of a row", "≤ 1.2 ms", "3.14 ms", "missed", "by hand"]


def test_a_benchmark_that_is_not_here_is_a_line(tmp_path: Path) -> None:
    """It says what is missing."""
    told = tmp_path / "lines.json"
    runner.alone(Entry("nowhere", "what is not here"), Scale.QUICK, told)
    (line,) = runner.read_lines(told)
    assert (line.verdict, line.note) == (Verdict.NOT_MEASURED, "benchmarks.nowhere is not here")


def test_a_benchmark_without_lines_is_a_line(tmp_path: Path) -> None:
    """`walk` is there and measures nothing."""
    told = tmp_path / "lines.json"
    runner.alone(Entry("walk", "no figures"), Scale.QUICK, told)
    (line,) = runner.read_lines(told)
    assert (line.verdict, line.note) == (Verdict.NOT_MEASURED, "benchmarks.walk gives no lines")


class Broken(Entry):
    """One that breaks after its first line."""

    def load(self) -> Benchmark:
        """See `Entry`."""
        return self._lines

    def _lines(self, scale: Scale) -> Iterator[Line]:
        yield noted("the first", 1.0, "s")
        raise RuntimeError("it broke")


def test_what_was_measured_before_a_failure_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lines so far, and then why there are no more."""
    broken = Broken("broken", "what breaks")

    def carried_out(words: list[str], environment: object, longest_s: float) -> str:
        with pytest.raises(RuntimeError):
            runner.alone(broken, Scale.QUICK, Path(words[words.index("--json") + 1]))
        return "RuntimeError: it broke"

    monkeypatch.setattr(runner, "_carried_out", carried_out)
    first, last = runner.measured(broken, Scale.QUICK)
    assert (first.name, first.figure) == ("the first", 1.0)
    assert (last.name, last.verdict) == ("what breaks", Verdict.NOT_MEASURED)
    assert last.note == "RuntimeError: it broke"


def test_a_process_that_fails_says_why_last() -> None:
    """The last line of a traceback."""
    words = [sys.executable, "-c", "print(1); raise RuntimeError('it broke')"]
    assert runner._carried_out(words, os.environ, 60.0) == "RuntimeError: it broke"
    assert runner._carried_out([sys.executable, "-c", "print(1)"], os.environ, 60.0) == ""


def test_what_does_not_end_is_ended() -> None:
    """With everything that it has started, and the table goes on."""
    words = [sys.executable, "-c", "import os, time; os.fork(); time.sleep(600)"]
    assert runner._carried_out(words, os.environ, 0.2) == "it did not end within 0.2 s"


def test_the_table_is_json_too() -> None:
    """Each line with its benchmark, and what machine it was."""
    lines = [at_most("a", 1.0, 2.0, "ms"), not_measured("b", "why")]
    table = Table(Scale.FULL, "a machine", "now", "a commit", {"row": lines})
    told = json.loads(json.dumps(table.as_json()))
    assert [(line["benchmark"], line["name"], line["verdict"]) for line in told["lines"]] == [
        ("row", "a", "missed"),
        ("row", "b", "not measured"),
    ]
    assert (told["machine"], told["scale"]) == ("a machine", "full")
    assert table.summary == "1 missed, 1 not measured"


@pytest.mark.parametrize("one", ENTRIES, ids=lambda one: one.name)
def test_each_benchmark_gives_lines_or_is_not_here(one: Entry) -> None:
    """An entry that nobody makes lines of would never be measured."""
    try:
        assert callable(one.load())
    except ModuleNotFoundError as error:
        assert error.name == one.module, "something that it needs is missing"  # noqa: PT017


def test_each_benchmark_has_a_name_of_its_own() -> None:
    """By which it is asked for."""
    assert [registry.entry(one.name) for one in ENTRIES] == list(ENTRIES)
