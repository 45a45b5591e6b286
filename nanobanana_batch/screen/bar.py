"""A bar for work that is done piece by piece: on a terminal; elsewhere nothing."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
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

    def step(self, more: int = 1) -> None:
        """So many more are done."""
        if self._bar is not None:
            with suppress(Exception):
                self._bar.update(more)

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


@contextmanager
def counted_bar(what: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """The same for work that says how many of how many are done."""
    with bar(shown=shown) as found:
        known = 0

        def tell(done: int, total: int) -> None:
            nonlocal known
            if found is not None:
                if not known:
                    found.begin(what, total)
                found.step(done - known)
                known = done

        yield tell
