"""One line on stderr while a run is going; nothing at all when nobody is looking."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Never, ParamSpec

from tqdm import tqdm

from nanobanana_batch.cli.streams import impatient
from nanobanana_batch.engine.work import Tally
from nanobanana_batch.visible import visible, visible_line
from nanobanana_batch.wording import amount

Words = ParamSpec("Words")

_TICK_S = 1.0
_MOST_TROUBLE_CHARS = 70
_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


@contextmanager
def progress(*, shown: bool) -> Iterator[Tally]:
    """A tally whose changes are shown as they come, if stderr is a terminal.

    Showing never raises and hardly waits: it is the event loop of paid work that would.
    """
    tally = Tally()
    with impatient():
        if shown and sys.stderr.isatty():
            with _line(tally):
                yield tally
            return
        tally.announce = _quietly(lambda text: print(visible(text), file=sys.stderr, flush=True))
        yield tally


@contextmanager
def _line(tally: Tally) -> Iterator[None]:
    with tqdm(
        total=0, unit="row", bar_format=_FORMAT, dynamic_ncols=True, leave=True, delay=0.1, smoothing=0
    ) as bar:

        def tick() -> None:
            _show(bar, tally)
            bar.refresh()

        tally.changed = _quietly(lambda: _show(bar, tally))
        tally.announce = _quietly(lambda text: bar.write(visible(text), file=sys.stderr))
        with _every_second(_quietly(tick)):
            yield
        tally.changed()


def _quietly(tell: Callable[Words, None]) -> Callable[Words, None]:
    """Whatever happens to who tells people something, the work does not hear of it."""

    def tell_or_not(*words: Words.args, **named: Words.kwargs) -> None:
        with suppress(Exception):
            tell(*words, **named)

    return tell_or_not


@contextmanager
def _every_second(tick: Callable[[], None]) -> Iterator[None]:
    """The clock goes on when nothing else does: in an outage the line is all that there is to see."""
    is_over = threading.Event()

    def go_on() -> None:
        while not is_over.wait(_TICK_S):
            tick()

    clock = threading.Thread(target=go_on, daemon=True)
    clock.start()
    try:
        yield
    finally:
        is_over.set()
        clock.join()


def _show(bar: tqdm[Never], tally: Tally) -> None:
    if bar.total != tally.total:
        bar.total, bar.initial = tally.total, tally.completed + tally.failed
    parts = [f"{tally.in_flight} in flight", f"{amount(tally.credits)} credits"]
    if tally.failed:
        parts.insert(0, f"{tally.failed} failed")
    if tally.unknown:
        parts.insert(0, f"{tally.unknown} unknown")
    if what := tally.held_up_by or tally.allowed:
        parts.append(visible_line(what)[:_MOST_TROUBLE_CHARS])
    bar.set_postfix_str(", ".join(parts), refresh=False)
    bar.n = tally.completed + tally.failed  # not as a difference: the clock's thread comes here too
    bar.update(0)
