"""A run on the screen: a bar with a few lines on a terminal, a line a minute where there is none.

Showing never raises and hardly waits: it is the event loop of paid work that would. All drawing is done by
a thread of its own, once a second; the work only leaves its counts in the tally.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Never, ParamSpec

from tqdm import tqdm

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.live.snapshot import Live
from nanobanana_batch.live.watch import Watch
from nanobanana_batch.screen.live_text import block, log_line
from nanobanana_batch.visible import visible
from nanobanana_batch.wording import clock_text

Words = ParamSpec("Words")

_TICK_S = 1.0
_LINE_EVERY_S = 60.0
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} rows [{elapsed}]"
_LINES = 5
"""Below the bar: two of how it stands, three of what went wrong last."""


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
        if time.monotonic() >= self._next_at:
            self._next_at += _LINE_EVERY_S
            _print(log_line(live), timed=True)


def _print(text: str, *, timed: bool) -> None:
    """With the time of day in front where a log of a night is to be understood."""
    now = time.time()
    head = f"{clock_text(now, now, seconds=True)} " if timed else ""
    print(visible(head + text), file=sys.stderr, flush=True)


@contextmanager
def _block(tally: Tally) -> Iterator[None]:
    bar = tqdm(total=0, unit="row", bar_format=_BAR, dynamic_ncols=True, leave=True, delay=0.1, smoothing=0)
    lines = [
        tqdm(total=0, bar_format="{desc}", dynamic_ncols=True, leave=False, position=number + 1)
        for number in range(_LINES)
    ]
    watch = Watch(tally)

    def tick() -> None:
        _draw(bar, lines, watch.look())

    # Under the lock that tqdm draws under: a line of its own must not fall into the middle of the block.
    tally.announce = _quietly(lambda text: bar.write(visible(text), file=sys.stderr))
    try:
        with _every(_TICK_S, _quietly(tick)):
            yield
    finally:
        _quietly(tick)()
        for each in (*reversed(lines), bar):
            _quietly(each.close)()


def _draw(bar: tqdm[Never], lines: list[Any], live: Live) -> None:
    bar.total, bar.n = live.rows, live.ended
    bar.refresh()
    texts = block(live)
    for number, line in enumerate(lines):
        line.set_description_str(visible(texts[number]) if number < len(texts) else "", refresh=False)
        line.refresh()


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
