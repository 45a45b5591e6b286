"""Where this user keeps what can be made again."""

from __future__ import annotations

import os
from pathlib import Path

_FOLDER = "nanobanana-batch"


def cache_folder() -> Path | None:
    """Our folder of the user's cache; None where this user has none at all."""
    home = os.environ.get("HOME", "")
    given = os.environ.get("XDG_CACHE_HOME", "")
    # A relative one is to be ignored, says the XDG specification.
    base = Path(given) if os.path.isabs(given) else Path(home, ".cache") if os.path.isabs(home) else None
    return None if base is None else base / _FOLDER
