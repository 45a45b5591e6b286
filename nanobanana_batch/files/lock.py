"""One writer per output folder, for the life of the run; the lock goes with the process, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nanobanana_batch.commands import FolderCommands
from nanobanana_batch.errors import FolderInUse, UsageError
from nanobanana_batch.files.plain import open_own, second_name

LOCK_NAME = ".run.lock"
_TRIES = 20
_LOOK_S = 0.01
"""Longer than a look by `is_held` takes."""


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The descriptor is closed on exec, so no child keeps it.

    Raises:
        FolderInUse: another process holds it; without waiting for it.
        UsageError: this user may not write there.
        FolderRefused: the lock is the same file as another one, whose run would be held up, too.
    """
    try:
        fd = open_own(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT)
    except OSError as error:
        if error.errno == errno.EMLINK:
            raise second_name(folder / LOCK_NAME) from error
        raise UsageError(f"{folder} cannot be an output folder: {error.strerror}.") from error
    try:
        _lock(fd, folder)
        yield
    finally:
        os.close(fd)


@contextmanager
def only_changer(folder: Path) -> Iterator[None]:
    """Change a file of a folder that people have open in several places: each waits for the one before.

    No run is held up by it, and none holds it up. A file system that cannot do that is done without.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with suppress(OSError):
            fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def is_held(folder: Path) -> bool:
    """Whether a run is working on the folder just now."""
    try:
        fd = open_own(folder / LOCK_NAME)
    except OSError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def _lock(fd: int, folder: Path) -> None:
    for tries_left in reversed(range(_TRIES)):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError as error:
            if not tries_left:
                raise FolderInUse(
                    f"Another run is working on {folder}; nothing was sent.",
                    hint=f"Wait for it, or look with {FolderCommands(folder).status()}.",
                ) from error
            time.sleep(_LOOK_S)  # it may be somebody who only looks
