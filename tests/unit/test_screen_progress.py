"""The progress line on a terminal goes on by itself, and says what holds the run up."""

from __future__ import annotations

import codecs
import os
import pty
import queue
import sys
import termios
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.screen import progress as module
from nanobanana_batch.screen.progress import progress

Next = Callable[[], str]


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a second."""
    monkeypatch.setattr(module, "_TICK_S", 0.01)


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Tally, Next]]:
    """A run's tally, and a look at the next line that the terminal shows."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 160))
    shown, decoder = "", codecs.getincrementaldecoder("utf-8")()
    written: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        """All the time: a terminal that nobody reads lets nobody write."""
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                written.put(piece)

    def next_line() -> str:
        nonlocal shown
        while "\r" not in shown.strip("\r"):
            shown += decoder.decode(written.get(timeout=30))
        line, _, shown = shown.strip("\r").partition("\r")
        return line

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            with progress(shown=True) as tally:
                yield tally, next_line
    finally:
        reader.join()
        os.close(ours)


def until(next_line: Next, wanted: Callable[[str], bool]) -> str:
    """The first of the next lines that is as wanted."""
    return next(line for line in (next_line() for _ in range(2000)) if wanted(line))


def test_the_line_is_shown_anew_though_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still looks like a program that hangs; also after a time of many rows a second."""
    with on_a_terminal(monkeypatch) as (tally, next_line):
        tally.total = 10**9
        for _ in range(50_000):
            tally.completed += 1
            tally.changed()
        for _ in range(3):
            until(next_line, lambda line: "50000/1000000000" in line)


def test_what_holds_the_run_up_stands_in_the_line_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one line, short, and gone when all is well."""
    with on_a_terminal(monkeypatch) as (tally, next_line):
        tally.total = 12
        tally.trouble("the provider is\nunreachable " + "x" * 300)
        line = until(next_line, lambda line: "0/12" in line and "unreachable" in line)
        assert "the provider is unreachable" in line
        assert "x" * 100 not in line
        tally.all_well()
        until(next_line, lambda line: "0/12" in line and "unreachable" not in line)


def test_many_credits_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads 1.23457e+06."""
    with on_a_terminal(monkeypatch) as (tally, next_line):
        tally.total, tally.credits = 12, 1_234_567.0
        assert "1,234,567 credits" in until(next_line, lambda line: "0/12" in line)


def test_counts_do_not_suffer_from_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows that end while the line is being shown are counted once."""
    monkeypatch.setattr(module, "_TICK_S", 0.0)
    with on_a_terminal(monkeypatch) as (tally, next_line):
        tally.total = 3000
        for _ in range(3000):
            tally.completed += 1
            tally.changed()
        until(next_line, lambda line: "3000/3000" in line)


def test_where_nobody_looks_there_is_no_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Only what is announced, each on a line of its own."""
    with progress(shown=True) as tally:
        tally.total = 3
        tally.changed()
        tally.announce("the provider is unreachable")
    assert capsys.readouterr().err == "the provider is unreachable\n"
