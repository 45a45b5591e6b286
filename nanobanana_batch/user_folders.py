"""Where this user keeps what belongs to no project."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = "nanobanana-batch"


def user_folder(variable: str, below_home: str) -> Path | None:
    """Our folder there, by an XDG variable or else below HOME; None where this user has no such place."""
    home = os.environ.get("HOME", "")
    given = os.environ.get(variable, "")
    # A relative one is to be ignored, says the XDG specification.
    base = Path(given) if os.path.isabs(given) else Path(home, below_home) if os.path.isabs(home) else None
    return None if base is None else base / _FOLDER


def cache_folder() -> Path | None:
    """For what can be made again."""
    return user_folder("XDG_CACHE_HOME", ".cache")
