"""Replies and results that hold images, kept as they came until each of their images is a file.

What is paid for stands on the disk before anyone writes down that it is there: after a kill between the two
it is found by the request's key.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.file_names import ANSWERS
from nanobanana_batch.files.disk import Disk, write_atomically


def answer_of(folder: Path, idempotency_key: str) -> str | None:
    """Its path in the output folder, with `/`, if it is there and whole."""
    path = _path(idempotency_key)
    return path if (folder / path).is_file() else None


def keep_answer(disk: Disk, folder: Path, idempotency_key: str, pieces: Iterable[bytes]) -> str:
    """Write it down, synced, and return its path in the output folder, with `/`.

    Raises:
        DiskFailed: the disk is full or refuses.
    """
    path = _path(idempotency_key)
    place = folder / ANSWERS
    try:
        place.mkdir(mode=0o700, exist_ok=True)
        disk.sync_folder(folder)
    except OSError as error:
        raise DiskFailed(f"{place} cannot be made: {error.strerror}.") from error
    write_atomically(disk, folder / path, pieces)
    return path


def forget_answer(disk: Disk, folder: Path, path: str) -> None:
    """All of its images are files, or will never be: it is needed no more."""
    with suppress(OSError):
        disk.remove(folder / path)


def _path(idempotency_key: str) -> str:
    return f"{ANSWERS}/{idempotency_key}"
