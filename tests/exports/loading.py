"""How `datasets` is asked in tests: without a network, and with a cache that goes with the test."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"


def datasets_from(kind: str, folder: Path | None, cache: Path, **how: Any) -> Any:
    """What `load_dataset` makes of a folder."""
    import datasets

    place = {"data_dir": str(folder)} if folder else {}
    return datasets.load_dataset(kind, cache_dir=str(cache / "cache"), **place, **how)
