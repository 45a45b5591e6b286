"""A run in a notebook: a bar of widgets, with how it stands beside it."""

from __future__ import annotations

import sys
from typing import Any

from nanobanana_batch.live.snapshot import Live
from nanobanana_batch.screen.live_text import log_line
from nanobanana_batch.visible import visible_line

_FORMAT = "{bar} {desc} [{elapsed}]"


def notebook_bar() -> Bar | None:
    """A bar in the cell that is being carried out; None where there is no notebook, or no widgets in it."""
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if type(shell).__name__ != "ZMQInteractiveShell":
        return None
    try:
        return Bar()
    except Exception:  # without ipywidgets, or with such as do not fit together
        return None


class Bar:
    """Make and close it in the thread that carries out the cell; any thread may show with it."""

    def __init__(self) -> None:
        from tqdm.notebook import tqdm

        self._bar = tqdm(total=1, bar_format=_FORMAT, mininterval=0)
        self._rows, self._end = 1, ""

    def show(self, live: Live) -> None:
        """Draw how the run stands."""
        if live.rows and live.rows != self._rows:
            self._rows = live.rows
            self._bar.reset(live.rows)
        self._bar.n = live.ended
        self._bar.set_description_str(visible_line(log_line(live)), refresh=False)
        self._end = f"{live.completed:,} of {live.rows:,} done"
        self._bar.refresh()

    def close(self) -> None:
        """Leave it with what has come of the run."""
        self._bar.set_description_str(self._end)
        self._bar.close()
