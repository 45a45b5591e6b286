"""A bar for work that is done piece by piece: on a terminal only, and never in the way."""

from __future__ import annotations

import io
import sys

import pytest

from nanobanana_batch.screen.bar import bar, counted_bar


class Terminal(io.StringIO):
    """Somebody looks."""

    def isatty(self) -> bool:
        return True


def test_on_a_terminal_it_says_what_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """And goes when the work is done."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar(shown=True) as watch:
        assert watch is not None
        watch.begin("written", 2)
        watch.step()
    assert "written" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")


@pytest.mark.parametrize(("stream", "shown"), [(io.StringIO, True), (Terminal, False)])
def test_where_nobody_looks_there_is_none(
    monkeypatch: pytest.MonkeyPatch, stream: type[io.StringIO], shown: bool
) -> None:
    """Neither in a log nor with -q."""
    said = stream()
    monkeypatch.setattr(sys, "stderr", said)
    with bar(shown=shown) as watch:
        assert watch is None
    assert said.getvalue() == ""


def test_a_terminal_that_takes_nothing_stops_no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may have been closed."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with bar(shown=True) as watch:
        assert watch is not None
        watch.begin("written", 2)
        terminal.close()
        for _ in range(2):
            watch.step()


def test_work_that_counts_by_itself_has_the_same_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its total from the start, and what is counted."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with counted_bar("rows", shown=True) as tell:
        assert terminal.getvalue() == ""
        tell(3, 12)
        tell(12, 12)
    assert "rows:   0%" in terminal.getvalue()
    assert "/12 [" in terminal.getvalue()
    assert terminal.getvalue().endswith("\r")
    with counted_bar("rows", shown=False) as tell:
        tell(1, 12)
