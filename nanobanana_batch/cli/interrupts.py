"""SIGTERM and SIGHUP end a command as Ctrl-C does: in order, with exit code 130.

While a run is at work `engine/signals.py` hears them, and collects what is paid for first.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

_ENDING = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def like_ctrl_c(*, is_last: bool) -> Iterator[None]:
    """For the length of the block they interrupt; what is ignored (`nohup`) stays ignored.

    `is_last`: the process ends with it. Then no signal changes its exit code any more.
    """
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, *_ENDING)}
    for number in _ENDING:
        if before[number] is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_IGN if is_last else handler)


def once_more_ends_at_once() -> None:
    """An interrupt that is being carried out is not interrupted again: the next signal kills."""
    for number in (signal.SIGINT, *_ENDING):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt
