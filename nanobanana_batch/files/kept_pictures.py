"""Pictures that stand in a table become files, since only files are uploaded: in the user's cache.

A picture is written once, whole and private, and called by its content. One that somebody has deleted is
made again by the next reading.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

from nanobanana_batch.files.plain import OWN_FOLDER
from nanobanana_batch.user_folders import cache_folder

_BEGINNINGS = ((b"\x89PNG", ".png"), (b"\xff\xd8\xff", ".jpg"), (b"RIFF", ".webp"))


def pictures_folder() -> Path | None:
    """Where they are kept; None where this user has no cache."""
    base = cache_folder()
    return None if base is None else base / "pictures"


def keep_picture(data: bytes, folder: Path) -> Path:
    """The file with this content; raises `OSError` where it cannot be kept."""
    ending = next((ending for mark, ending in _BEGINNINGS if data.startswith(mark)), ".bin")
    path = folder / f"{hashlib.sha256(data).hexdigest()}{ending}"
    try:
        if path.lstat().st_size == len(data):
            return path
    except FileNotFoundError:
        folder.mkdir(mode=OWN_FOLDER, parents=True, exist_ok=True)
    fd, name = tempfile.mkstemp(dir=folder)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    return path
