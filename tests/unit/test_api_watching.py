"""Who watches a run from Python: a function, a logger, a notebook, a terminal; none of them holds it up."""

from __future__ import annotations

import logging
import sys
import threading
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

import pytest

from nanobanana_batch.api import watching
from nanobanana_batch.api.watching import watched
from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.live.snapshot import Live


@pytest.fixture(autouse=True)
def fast_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody waits for a second."""
    monkeypatch.setattr(watching, "_TICK_S", 0.01)


def test_a_function_sees_the_run_go_on_and_end() -> None:
    """In a thread of its own; the last look is of the end."""
    seen, has_come = list[Live](), threading.Event()
    threads = set[threading.Thread]()

    def look(live: Live) -> None:
        threads.add(threading.current_thread())
        seen.append(live)
        has_come.set()

    with watched(look) as tally:
        tally.total = 3
        assert has_come.wait(60)
        tally.completed = 3
    assert (seen[-1].rows, seen[-1].completed) == (3, 3)
    assert threading.current_thread() not in threads
    assert len(threads) == 1


def test_a_function_that_fails_is_logged_once_and_not_called_again(caplog: pytest.LogCaptureFixture) -> None:
    """The run does not hear of it."""
    calls, has_come = list[Live](), threading.Event()

    def look(live: Live) -> None:
        calls.append(live)
        has_come.set()
        raise ZeroDivisionError("mine")

    with watched(look):
        assert has_come.wait(60)
    (record,) = caplog.records
    assert (record.name, record.levelname, len(calls)) == ("nanobanana_batch", "ERROR", 1)
    assert record.exc_info


def test_a_function_that_never_returns_does_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """What has come of the run is worth more than its last look."""
    monkeypatch.setattr(watching, "_LAST_LOOK_S", 0.01)
    has_come, may_go = threading.Event(), threading.Event()

    def look(live: Live) -> None:
        has_come.set()
        may_go.wait(60)

    with watched(look):
        assert has_come.wait(60)
    assert not may_go.is_set()
    may_go.set()


@pytest.mark.parametrize("progress", [False, lambda live: None], ids=["quiet", "function"])
def test_what_is_announced_goes_to_the_logger(
    progress: watching.Progress, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """And nowhere else: what a program prints is its own."""
    caplog.set_level(logging.INFO, "nanobanana_batch")
    with watched(progress) as tally:
        tally.announce("The provider answers again: 100 %s.")
        tally.announce("warning: the list is old")
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("INFO", "The provider answers again: 100 %s."),
        ("WARNING", "the list is old"),
    ]
    assert capfd.readouterr() == ("", "")


def test_whoever_wants_it_all_brings_the_tally() -> None:
    """As the command line does."""
    mine, left = Tally(), list[str]()

    @contextmanager
    def own() -> Iterator[Tally]:
        yield mine
        left.append("left")

    with watched(own()) as tally:
        assert tally is mine
        assert not left
    assert left == ["left"]


def test_where_no_notebook_is_it_is_shown_as_on_the_command_line(capfd: pytest.CaptureFixture[str]) -> None:
    """On standard error only."""
    with watched(True) as tally:
        tally.announce("the provider is \x1b[31munreachable")
    out, err = capfd.readouterr()
    assert out == ""
    assert "the provider is \\u001b[31munreachable" in err


def in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as this process can tell."""
    shell = type("ZMQInteractiveShell", (), {})()
    monkeypatch.setitem(sys.modules, "IPython", types.SimpleNamespace(get_ipython=lambda: shell))


@pytest.mark.parametrize("widgets", [None, types.SimpleNamespace(tqdm=lambda **how: 1 / 0)])
def test_a_notebook_without_widgets_that_work_is_told_in_text(
    widgets: object, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Never an exception."""
    in_a_notebook(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", widgets)
    with watched(True) as tally:
        tally.announce("unreachable")
    assert "unreachable" in capfd.readouterr().err


class Widget:
    """What is drawn on."""

    made: ClassVar[list[Widget]] = []

    def __init__(self, **how: object) -> None:
        self.total: object = how["total"]
        self.n = 0
        self.texts: list[str] = []
        self.is_closed = False
        self.drawn = threading.Event()
        self.made.append(self)

    def reset(self, total: int) -> None:
        """Another length."""
        self.total = total

    def set_description_str(self, text: str, refresh: bool = True) -> None:
        """Beside the bar."""
        self.texts.append(text)

    def refresh(self) -> None:
        """Draw it."""
        self.drawn.set()
        if self.n == 2:
            raise ConnectionError("the page is closed")

    def close(self) -> None:
        """The end."""
        self.is_closed = True
        raise ConnectionError("the page is closed")


def test_a_notebook_has_a_bar_and_whatever_happens_to_it_the_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It has the length of the run, says how it stands, and stays."""
    in_a_notebook(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm.notebook", types.SimpleNamespace(tqdm=Widget))
    Widget.made.clear()
    with watched(True) as tally:
        (bar,) = Widget.made
        tally.total, tally.completed = 3, 1
        assert bar.drawn.wait(60)
        tally.completed = 2
        tally.announce("unreachable")
    assert (bar.total, bar.n, bar.is_closed) == (3, 2, True)
    assert bar.texts[-2] == "starting: 2 of 3 done"
    assert bar.texts[-1] == "2 of 3 done"
    assert capfd.readouterr().err == "unreachable\n"
