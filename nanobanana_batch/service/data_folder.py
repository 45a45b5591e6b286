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
        with os.scandir(folder) as entries:
            for entry in entries:
                mode = entry.stat(follow_symlinks=False).st_mode
                if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
                    raise ServiceError(f"{entry.path} is no file, but a link or a device; remove it")
