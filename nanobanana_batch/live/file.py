"""A run leaves beside its state how it stands, every other second, for `status` and for anybody's script.

Nothing rests on it: what cannot be written is left out, and what is read may be old, damaged or anybody's.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanobanana_batch.engine.tally import Tally
from nanobanana_batch.files.folder import LIVE_NAME
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.live.snapshot import Live
from nanobanana_batch.live.watch import Watch

_EVERY_S = 2.0
_MOST_BYTES = 64 << 10
STALE_S = 30.0
"""What is older is no news: the run is stuck, or stopped by a signal."""


@contextmanager
def told_beside(state_folder: Path, tally: Tally) -> Iterator[None]:
    """For the length of the block the file says how the run stands; then it is gone."""
    path, is_over, watch = state_folder / LIVE_NAME, threading.Event(), Watch(tally)

    def go_on() -> None:
        while True:
            with suppress(Exception):
                _write(path, watch.look())
            if is_over.wait(_EVERY_S):
                return

    writer = threading.Thread(target=go_on, daemon=True)
    writer.start()
    try:
        yield
    finally:
        is_over.set()
        writer.join(_EVERY_S)
        with suppress(OSError):
            path.unlink()


def read_live(state_folder: Path) -> Live | None:
    """What a run says of itself that goes on just now; None where none does, or it says nothing of use."""
    try:
        with os.fdopen(open_own(state_folder / LIVE_NAME), "rb") as file:
            return Live.from_json(file.read(_MOST_BYTES).decode("utf-8", "replace"))
    except OSError:
        return None


def _write(path: Path, live: Live) -> None:
    """Under another name first: who reads sees all of it or the one before."""
    new = path.with_name(f"{path.name}.new")
    fd = open_own(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    with os.fdopen(fd, "wb") as file:
        file.write(live.as_json().encode())
    os.replace(new, path)
