"""The data folder is the service's own: made for its owner alone, and nothing in it leads elsewhere.

It may have come with an output folder from somebody else; a link in it would be written through.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

from nanobanana_batch.service.options import ServiceError

_FOLDERS = ("images", "uploads")


def make(data_dir: Path) -> None:
    """Raises ServiceError where it cannot be made, or holds what no service has put there."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _refuse_links(data_dir)
    except OSError as exc:
        raise ServiceError(f"cannot use the data folder {data_dir}: {exc.strerror}") from exc


def open_own(path: str | Path, flags: int) -> int:
    """For the owner alone, and never through a link."""
    return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)


def open_log(path: Path) -> IO[bytes]:
    return open(path, "ab", opener=open_own)


def _refuse_links(data_dir: Path) -> None:
    for folder in (data_dir, *(data_dir / name for name in _FOLDERS)):
        if not os.path.lexists(folder):
            continue
        is_top = folder == data_dir
        with os.scandir(folder) as entries:
            for entry in entries:
                _refuse_foreign(entry, is_folder=is_top and entry.name in _FOLDERS, is_written=is_top)


def _refuse_foreign(entry: os.DirEntry[str], *, is_folder: bool, is_written: bool) -> None:
    """`is_written`: in its place, so that another name of the same file would be written through as well."""
    found = entry.stat(follow_symlinks=False)
    if not (stat.S_ISDIR if is_folder else stat.S_ISREG)(found.st_mode):
        wanted = "folder" if is_folder else "file"
        raise ServiceError(f"{entry.path} is no {wanted} of the service's; remove it, or use another folder")
    if is_written and not is_folder and found.st_nlink > 1:
        raise ServiceError(f"{entry.path} has another name somewhere else; put a copy in its place")
