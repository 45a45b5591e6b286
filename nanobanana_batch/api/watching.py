"""Who watches a run: a terminal, a notebook, the caller's own function, or nobody but the logger.

Showing never ends a run and never holds it up: it is done by a thread of its own, about once a second.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TYPE_CHECKING

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.live.snapshot import Live
from nanobanana_batch.live.watch import Watch
from nanobanana_batch.visible import visible

if TYPE_CHECKING:
    Progress = bool | Callable[[Live], object] | AbstractContextManager[Tally]
    """True: as on the command line, in a notebook as a bar. A function gets a look at the run at most once a
    second. A context manager gives the tally of the run itself, and hears by it all that is announced."""

LOGGER = logging.getLogger("nanobanana_batch")
_TICK_S = 1.0
_LAST_LOOK_S = 5.0
"""How long a run that has ended waits for the last look at it."""
_WARNING = "warning: "


@contextmanager
def watched(progress: Progress) -> Iterator[Tally]:
    """The tally of a run, shown as the caller wants it for the length of the block."""
    if isinstance(progress, AbstractContextManager):
        with progress as tally:
            yield tally
    elif callable(progress):
        with _told(_Called(progress), _log) as tally:
            yield tally
    elif not progress:
        yield Tally(announce=_log)
    else:
        with _on_screen() as tally:
            yield tally


@contextmanager
def _on_screen() -> Iterator[Tally]:
    from nanobanana_batch.screen.notebook import notebook_bar
    from nanobanana_batch.screen.progress import progress

    bar = notebook_bar()
    if bar is None:
        with progress(shown=True) as tally:
            yield tally
        return
    try:
        with _told(bar.show, _print) as tally:
            yield tally
    finally:
        with suppress(Exception):
            bar.close()


class _Called:
    """The caller's function; after an error in it, which is logged, it is not called any more."""

    def __init__(self, function: Callable[[Live], object]) -> None:
        self._function: Callable[[Live], object] | None = function

    def __call__(self, live: Live) -> None:
        try:
            if self._function is not None:
                self._function(live)
        except Exception:
            LOGGER.exception("The function given as progress fails, and is not called any more.")
            self._function = None


@contextmanager
def _told(show: Callable[[Live], None], say: Callable[[str], None]) -> Iterator[Tally]:
    """Shown each second, and once more at the end."""

    def say_or_not(text: str) -> None:
        with suppress(Exception):
            say(text)

    tally = Tally(announce=say_or_not)
    watch, is_over = Watch(tally), threading.Event()

    def go_on() -> None:
        while True:
            is_last = is_over.wait(_TICK_S)
            with suppress(Exception):
                show(watch.look())
            if is_last:
                return

    clock = threading.Thread(target=go_on, daemon=True)
    clock.start()
    try:
        yield tally
    finally:
        is_over.set()
        clock.join(_LAST_LOOK_S)


def _log(text: str) -> None:
    if text.startswith(_WARNING):
        LOGGER.warning("%s", text.removeprefix(_WARNING))
    else:
        LOGGER.info("%s", text)


def _print(text: str) -> None:
    print(visible(text), file=sys.stderr, flush=True)
