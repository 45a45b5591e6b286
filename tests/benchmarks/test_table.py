"""The table of all benchmarks: what a line says, and that no failure is its end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from benchmarks import __main__ as runner
from benchmarks import registry
from benchmarks.lines import Benchmark, Line, Scale, Verdict, at_least, at_most, not_measured, noted
from benchmarks.registry import ENTRIES, Entry
from benchmarks.table import Table, line_text

_TOP = Path(__file__).parents[2]


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
    runner.alone(Entry("nowhere", "what is not here", 60.0), Scale.QUICK, told)
    (line,) = runner.read_lines(told)
    assert (line.verdict, line.note) == (Verdict.NOT_MEASURED, "benchmarks.nowhere is not here")


def test_a_benchmark_without_lines_is_a_line(tmp_path: Path) -> None:
    """`walk` is there and measures nothing."""
    told = tmp_path / "lines.json"
    runner.alone(Entry("walk", "no figures", 60.0), Scale.QUICK, told)
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
    broken = Broken("broken", "what breaks", 60.0)

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
    assert runner._carried_out(words, os.environ, 0.2).startswith("cut off after 0.2 s")


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


def test_the_table_ends_when_it_is_said_to() -> None:
    """However busy the machine is, and each benchmark may take a part of it."""
    assert all(one.longest_s > 0 for one in ENTRIES)
    assert registry.AT_MOST_S == sum(one.longest_s for one in ENTRIES) <= 90 * 60
    for said in (runner.__doc__ or "", (_TOP / "CONTRIBUTING.md").read_text(encoding="utf-8")):
        assert "an hour and a half at most" in " ".join(said.split())


def test_what_a_benchmark_took_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Beside its title, for all of it at the end, and for programs."""
    clock = iter((10.0, 130.0))
    monkeypatch.setattr("benchmarks.__main__.time", SimpleNamespace(monotonic=lambda: next(clock)))
    monkeypatch.setattr(runner, "measured", lambda one, scale: [noted("a", 1.0, "s")])
    table = runner.table_of([Entry("one", "what takes long", 300.0)], Scale.FULL)
    said = capsys.readouterr().out
    assert "-- what takes long: 120 s" in said
    assert "1 no target; 2 min" in said
    assert table.as_json()["seconds"] == {"one": 120.0}


def test_what_was_told_before_the_bound_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a real process that is cut off: its lines, and then that there are no more."""
    began = subprocess.Popen
    script = (
        "import pathlib, sys, time; from benchmarks.__main__ import write_lines;"
        "from benchmarks.lines import noted; told = pathlib.Path(sys.argv[1]);"
        "write_lines(told, [noted('the first', 1.0, 's')]); print('told', flush=True); time.sleep(600)"
    )

    def popen(words: list[str], **how: Any) -> Any:
        process = began([sys.executable, "-c", script, words[words.index("--json") + 1]], **how)
        assert process.stdout is not None
        process.stdout.readline()
        return process

    monkeypatch.setattr(subprocess, "Popen", popen)
    first, last = runner.measured(Entry("row", "what never ends", 0.1), Scale.FULL)
    assert (first.name, first.verdict) == ("the first", Verdict.NO_TARGET)
    assert (last.name, last.verdict) == ("what never ends", Verdict.NOT_MEASURED)
    assert last.note.startswith("cut off after 0.1 s")


def test_each_benchmark_has_a_name_of_its_own() -> None:
    """By which it is asked for."""
    assert [registry.entry(one.name) for one in ENTRIES] == list(ENTRIES)
