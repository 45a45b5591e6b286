"""One writer per output folder, for the life of the run; the lock goes with the process, however it ends."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nanobanana_batch.errors import FolderInUse, UsageError

LOCK_NAME = ".run.lock"


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The descriptor is closed on exec, so no child keeps it.

    Raises:
        FolderInUse: another process holds it; at once, without waiting.
        UsageError: this user may not write there.
    """
    try:
        fd = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise UsageError(f"{folder} cannot be an output folder: {error.strerror}.") from error
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderInUse(
                f"Another run is working on {folder}; nothing was sent.",
                hint="Wait for it, or look with `status`.",
            ) from error
        yield
    finally:
        os.close(fd)
