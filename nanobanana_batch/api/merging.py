"""Several output folders told as one, for a program."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.api.values import several_folders

if TYPE_CHECKING:
    from nanobanana_batch.jobs.merge import Merged


def merge(folders: AnyPath | Iterable[AnyPath], *, out: AnyPath | None = None, provider: str = "") -> Merged:
    """Write the results of several output folders into one results.csv, and say how all of them stand.

    Shards of one manifest are in its order. `out`: the folder for the table [the one in which all of them
    stand]. `provider`: its profile file, where the folders do not lead to a built-in one.

    Raises:
        UsageError: one is no output folder, a row was paid for in two of them, or the table has no place.
        FolderRefused: a folder holds links or other things that no run makes.
        StateFailed: the state of one is gone or damaged.
        DiskFailed: the table cannot be written.
    """
    from nanobanana_batch.jobs.connection import Connection
    from nanobanana_batch.jobs.merge import merge as make

    return make(several_folders(folders), None if out is None else Path(out), Connection(provider))
