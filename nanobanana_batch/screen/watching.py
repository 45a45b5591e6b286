"""`status --watch`: the same look again and again, until the run that is looked at has ended."""

from __future__ import annotations

import time
from collections.abc import Callable

from nanobanana_batch.results import Standing
from nanobanana_batch.visible import visible

_EVERY_S = 2.0
_LINE_EVERY_S = 60.0
_HOME, _REST = "\x1b[H", "\x1b[J"
"""To the first column of the first line; away with what is below."""
_LINE_END = "\x1b[K\n"


def watch(
    look: Callable[[], Standing],
    text: Callable[[Standing], str],
    show: Callable[[str], None],
    *,
    is_terminal: bool,
    dress: Callable[[str], str] = str,
    pause: Callable[[float], None] = time.sleep,
) -> None:
    """Look every other second and draw it in the same place; each minute where that is no terminal.

    It ends with the run, or at once where none is going on. Nothing flickers: lines are written over.
    `dress`: breaks and paints what is drawn, as other texts on a terminal are.
    """
    if is_terminal:
        show("\x1b[2J")
    while True:
        standing = look()
        told = dress(visible(text(standing))) + "\n"
        show(_HOME + told.replace("\n", _LINE_END) + _REST if is_terminal else told)
        if not standing.is_running:
            return
        pause(_EVERY_S if is_terminal else _LINE_EVERY_S)
