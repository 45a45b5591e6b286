"""On a terminal a block of lines goes on by itself; in a log there is a line a minute, and each event."""

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

Until = Callable[[str], str]
"""Waits for the next time that the terminal shows this, and gives what it has shown up to there."""


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a second."""
    monkeypatch.setattr(module, "_TICK_S", 0.01)


@contextmanager
def on_a_terminal(monkeypatch: pytest.MonkeyPatch, columns: int = 160) -> Iterator[tuple[Tally, Until]]:
    """A run's tally, and a look at what the terminal shows next."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, columns))
    shown, decoder = "", codecs.getincrementaldecoder("utf-8")()
    written: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def read() -> None:
        """All the time: a terminal that nobody reads lets nobody write."""
        with suppress(OSError):
            while piece := os.read(ours, 4096):
                written.put(piece)

    def until(wanted: str) -> str:
        nonlocal shown
        while wanted not in shown:
            shown += decoder.decode(written.get(timeout=30))
        before, _, shown = shown.partition(wanted)
        return before + wanted

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with os.fdopen(theirs, "w") as terminal, monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            with progress(shown=True) as tally:
                yield tally, until
    finally:
        reader.join()
        os.close(ours)


def test_the_block_is_shown_anew_though_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still looks like a program that hangs."""
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.total, tally.is_going = 10**9, True
        tally.completed = 50_000
        for _ in range(3):
            until("50000/1000000000")


def test_there_is_no_bar_before_there_is_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest with problems is told of on a clean screen."""
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.announce("looking through the files")
        assert "|" not in until("looking through the files")
        tally.total, tally.is_going = 12, True
        until("0/12")


def test_what_holds_the_run_up_stands_in_the_block_while_it_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """And that all is well when it is."""
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.total, tally.is_going = 12, True
        tally.trouble("the provider is unreachable")
        until("provider down since")
        tally.all_well()
        until("The provider answers again.")
        assert "provider down" not in until("sending").split("answers again")[-1].rpartition("0/12")[2]


def test_an_announcement_is_wrapped_at_words(monkeypatch: pytest.MonkeyPatch) -> None:
    """No word is torn by the edge of the terminal."""
    with on_a_terminal(monkeypatch, columns=40) as (tally, until):
        tally.announce("one two three four five six seven eight nine ten eleven twelve")
        shown = until("twelve")
        lines = [
            line.strip() for line in shown.replace("\r", "").split("\n") if "two" in line or "ten" in line
        ]
        assert len(lines) == 2
        assert all(len(line) < 40 for line in lines)


def test_many_credits_are_written_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody reads 1.23457e+06."""
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.total, tally.credits, tally.is_going = 12, 1_234_567.0, True
        until("1,234,567 credits")


def test_the_end_shows_the_last_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what came since the clock ticked last."""
    monkeypatch.setattr(module, "_TICK_S", 3600.0)
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.total, tally.completed, tally.is_going = 3000, 3000, True
    until("3000/3000")


def test_a_log_has_each_event_with_its_time(capsys: pytest.CaptureFixture[str]) -> None:
    """Between two runs of a night somebody has to find out what was when."""
    with progress(shown=True) as tally:
        tally.announce("the provider is unreachable")
    time, _, text = capsys.readouterr().err.partition(" ")
    assert [len(part) for part in time.split(":")] == [2, 2, 2]
    assert text == "the provider is unreachable\n"


def test_a_log_has_a_line_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Cron, pipes and CI see that it goes on, and how."""
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.0)
    with progress(shown=True) as tally:
        tally.total, tally.completed, tally.is_going, tally.in_flight = 300, 120, True, 4
        err = ""
        for _ in range(3000):
            err += capsys.readouterr().err
            if "120 of 300 done" in err:
                break
            threading.Event().wait(0.01)
    assert "sending: 120 of 300 done; 4 in flight" in err
    assert "\r" not in err


def test_who_wants_no_progress_sees_events_only(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As they are."""
    monkeypatch.setattr(module, "_LINE_EVERY_S", 0.0)
    with progress(shown=False) as tally:
        tally.total, tally.is_going = 3, True
        threading.Event().wait(0.1)
        tally.announce("the provider is unreachable")
    assert capsys.readouterr().err == "the provider is unreachable\n"


def test_a_screen_that_fails_is_no_matter_to_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the drawing of it runs into."""

    def fail(*_given: object) -> None:
        raise RuntimeError("no screen")

    monkeypatch.setattr(module, "block", fail)
    with on_a_terminal(monkeypatch) as (tally, until):
        tally.total, tally.is_going = 3, True
        until("0/3")
        tally.announce("still here")
        until("still here")
