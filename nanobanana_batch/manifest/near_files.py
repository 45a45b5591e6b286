"""A path that leads nowhere was probably meant to be another one of its folder."""

from __future__ import annotations

import os
from pathlib import Path

from nanobanana_batch.wording import closest

_NAMES_READ = 10_000


def near_file(folder: Path, name: str) -> str:
    """The file or folder that this path, relative to a folder, was probably meant to lead to; or nothing."""
    before, last = os.path.split(name)
    try:
        with os.scandir(folder / before) as entries:
            names = [entry.name for _, entry in zip(range(_NAMES_READ), entries, strict=False)]
    except (OSError, ValueError):
        return ""
    near = closest(last, sorted(names))
    return os.path.join(before, near) if near else ""
