"""A bar for work on many things of one kind, on a terminal only."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm


@contextmanager
def counted_bar(unit: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """What is called with how many of how many are done; it draws ten times a second at most."""
    if not shown or not sys.stderr.isatty():
        yield lambda done, total: None
        return
    bar: tqdm[Any]
    with tqdm(unit=unit, dynamic_ncols=True, leave=False, file=sys.stderr) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
