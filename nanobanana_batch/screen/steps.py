"""How far a piece of work on this machine is: a bar on a terminal, nothing elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tqdm import tqdm

_BAR = "{desc}{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} {unit} [{elapsed}<{remaining}]"


@contextmanager
def steps(unit: str, *, shown: bool) -> Iterator[Callable[[int, int], None]]:
    """Gives what is to be called with how many are done, and how many there are."""
    if not (shown and sys.stderr.isatty()):
        yield lambda done, total: None
        return
    with tqdm(total=0, unit=unit, bar_format=_BAR, dynamic_ncols=True, leave=False) as bar:

        def progress(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield progress
