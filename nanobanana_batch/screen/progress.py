"""A run on the screen: a bar with a few lines on a terminal, a line a minute where there is none.

Showing never raises and hardly waits: it is the event loop of paid work that would. All drawing is done by
a thread of its own, once a second; the work only leaves its counts in the tally.
"""

from __future__ import annotations

import os
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Never, ParamSpec

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.live.watch import Watch
from nanobanana_batch.screen.live_text import block, log_line
from nanobanana_batch.visible import visible
from nanobanana_batch.wording import clock_text

if TYPE_CHECKING:
    from tqdm import tqdm

Words = ParamSpec("Words")

_TICK_S = 1.0
_LINE_EVERY_S = 60.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}]"


@contextmanager
def progress(*, shown: bool) -> Iterator[Tally]:
    """A tally whose changes are shown as they come: live on a terminal, else events and a line a minute.

    Not `shown`: events only.
    """
    tally = Tally()
    if shown and sys.stderr.isatty():
        with _block(tally):
            yield tally
        return
    tally.announce = _quietly(lambda text: _print(text, timed=shown))
    if not shown:
        yield tally
        return
    watch = Watch(tally)
    with _every(_TICK_S, _quietly(_MinuteLine(watch))):
        yield tally


class _MinuteLine:
    """Prints a line a minute while there is work; the pace is measured each second."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._next_at = time.monotonic() + _LINE_EVERY_S

    def __call__(self) -> None:
        live = self._watch.look()
        if live.rows and time.monotonic() >= self._next_at:
            self._next_at += _LINE_EVERY_S
            _print(log_line(live), timed=True)


def _print(text: str, *, timed: bool) -> None:
    """With the time of day in front where a log of a night is to be understood."""
    now = time.time()
    head = f"{clock_text(now, now, seconds=True)} " if timed else ""
    print(visible(head + text), file=sys.stderr, flush=True)


class _Block:
    """A bar and the lines below it; there from when the work begins until it ends."""

    def __init__(self, tally: Tally) -> None:
        from tqdm import tqdm

        self._tqdm = tqdm
        self._tally = tally
        self._watch = Watch(tally)
        self._bar: tqdm[Never] | None = None
        self._lines: list[tqdm[Never]] = []

    def say(self, text: str) -> None:
        """A line of its own, above the block and never in the middle of it."""
        lines = visible(text).split("\n")
        wrapped = [
            textwrap.fill(line, _width(), break_long_words=False, break_on_hyphens=False) for line in lines
        ]
        self._tqdm.write("\n".join(wrapped), file=sys.stderr)

    def draw(self) -> None:
        """How it stands now."""
        live = self._watch.look()
        if self._bar is None:
            if not self._tally.is_going:
                return
            self._bar = self._tqdm(total=0, unit="row", bar_format=_BAR, dynamic_ncols=True, position=0)
        self._bar.total, self._bar.n = live.rows, live.ended
        self._bar.refresh()
        texts = block(live, _width())
        while len(self._lines) < len(texts):
            self._lines.append(self._line(len(self._lines) + 1))
        for number, line in enumerate(self._lines):
            line.set_description_str(visible(texts[number]) if number < len(texts) else "", refresh=False)
            line.refresh()

    def _line(self, position: int) -> tqdm[Never]:
        return self._tqdm(total=0, bar_format="{desc}", dynamic_ncols=True, leave=False, position=position)

    def end(self) -> None:
        """The lines go, the bar stays."""
        for line in reversed(self._lines):
            line.close()
        if self._bar is not None:
            self._bar.close()


@contextmanager
def _block(tally: Tally) -> Iterator[None]:
    shown = _Block(tally)
    tally.announce = _quietly(shown.say)
    try:
        with _every(_TICK_S, _quietly(shown.draw)):
            yield
    finally:
        _quietly(shown.draw)()
        _quietly(shown.end)()


def _width() -> int:
    """Columns that a line may take without being broken by the terminal."""
    try:
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    except (OSError, ValueError):
        columns = 0
    return max((columns or 80) - 1, 20)


def _quietly(tell: Callable[Words, None]) -> Callable[Words, None]:
    """Whatever happens to who tells people something, the work does not hear of it."""

    def tell_or_not(*words: Words.args, **named: Words.kwargs) -> None:
        with suppress(Exception):
            tell(*words, **named)

    return tell_or_not


@contextmanager
def _every(seconds: float, tick: Callable[[], None]) -> Iterator[None]:
    """The clock goes on when nothing else does: in an outage the screen is all that there is to see."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(seconds):
            tick()

    clock = threading.Thread(target=go_on, daemon=True)
    clock.start()
    try:
        yield
    finally:
        is_over.set()
        clock.join()
