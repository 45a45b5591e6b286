"""One line on stderr while a run is going; nothing at all when nobody is looking."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Never

from tqdm import tqdm

from nanobanana_batch.engine.work import Tally

_FORMAT = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]"


@contextmanager
def progress(*, shown: bool) -> Iterator[Tally]:
    """A tally whose changes are shown as they come, if stderr is a terminal."""
    tally = Tally()
    if not shown or not sys.stderr.isatty():
        tally.announce = lambda text: print(text, file=sys.stderr, flush=True)
        yield tally
        return
    with tqdm(total=0, unit="row", bar_format=_FORMAT, dynamic_ncols=True, leave=True, delay=0.1) as bar:
        tally.changed = lambda: _show(bar, tally)
        tally.announce = lambda text: bar.write(text, file=sys.stderr)
        yield tally
        _show(bar, tally)


def _show(bar: tqdm[Never], tally: Tally) -> None:
    if bar.total != tally.total:
        bar.total, bar.initial = tally.total, tally.completed + tally.failed
    parts = [f"{tally.in_flight} in flight", f"{tally.credits:g} credits"]
    if tally.failed:
        parts.insert(0, f"{tally.failed} failed")
    if tally.unknown:
        parts.insert(0, f"{tally.unknown} unknown")
    bar.set_postfix_str(", ".join(parts), refresh=False)
    bar.update(tally.completed + tally.failed - bar.n)
