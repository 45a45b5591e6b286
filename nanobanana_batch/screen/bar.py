"""A bar for work that is done piece by piece: on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Never

from tqdm import tqdm

_EVERY_S = 0.2


class Bar:
    """The bar of the piece of work that is going on."""

    def __init__(self) -> None:
        self._bar: tqdm[Never] | None = None

    def begin(self, what: str, total: int) -> None:
        """Another piece of work begins; `what` is what is counted."""
        self.end()
        with suppress(Exception):  # nothing depends on what people see
            self._bar = tqdm(
                total=total,
                unit="",
                desc=what,
                dynamic_ncols=True,
                mininterval=_EVERY_S,
                file=sys.stderr,
                leave=False,
            )

    def step(self) -> None:
        """One more is done."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.update()

    def end(self) -> None:
        """The bar goes."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.close()
            self._bar = None


@contextmanager
def bar(*, shown: bool) -> Iterator[Bar | None]:
    """A bar while the block lasts; None where nobody looks."""
    if not shown or not sys.stderr.isatty():
        yield None
        return
    found = Bar()
    try:
        yield found
    finally:
        found.end()
