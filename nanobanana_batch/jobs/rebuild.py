"""A lost state, or an older copy of one, is replaced by one that is made of what was told of payments."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import StateFailed, UsageError
from nanobanana_batch.files.disk import Disk
from nanobanana_batch.files.folder import STATE_NAME, Folder, find, held, make
from nanobanana_batch.files.payments import PAYMENTS_NAME, Told, lines
from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.reader import open_reader
from nanobanana_batch.state.rebuild import copied, rebuild

_BESIDE = ("", "-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What the new state knows. `counts`: its paid requests, by the status of their rows."""

    folder: Path
    counts: Mapping[RowStatus, int]
    before: Path | None
    """Where the state of before is now, if there was one."""


def rebuild_folder(path: Path, disk: Disk) -> Rebuilt | None:
    """Make a state that knows all that was told; None where the state knows it already.

    Raises:
        UsageError: there is no such folder, or nothing is told in it.
        FolderInUse: a run works on it.
        StateFailed: what was told is damaged; nothing was changed.
    """
    if not path.is_dir():
        raise UsageError(f"{path} is no output folder.")
    folder = find(path)
    make(folder.state_folder, disk)  # it may have been lost as a whole
    with held(folder):
        if folder.told() is None:
            raise UsageError(
                f"{path} has no {PAYMENTS_NAME} that tells of payments; a state cannot be made.",
                hint="Bring back a copy of the state, or give another folder with --out.",
            )
        return None if knows_all(folder, folder.told()) else make_anew(folder, disk, {})


def make_anew(folder: Folder, disk: Disk, known: Mapping[str, str]) -> Rebuilt:
    """Make a state of what is told in the folder, in the place of what is there; hold its lock.

    `known`: what it remembers beside that.

    Raises:
        StateFailed: what was told is damaged; nothing was changed.
    """
    old = _copied(folder)
    new = folder.state.with_name(f".{STATE_NAME}.new")
    _remove(new)
    try:
        counts = rebuild(new, lines(folder.path), old, known)
    except BaseException:
        _remove(new)
        if old is not None:
            _remove(old)
        raise
    _remove(folder.state)
    disk.replace(new, folder.state)
    disk.sync_folder(folder.state_folder)
    return Rebuilt(folder.path, counts, old)


def knows_all(folder: Folder, told: Told | None) -> bool:
    """Whether the folder has a state that can be used, and knows all that was told."""
    if not folder.state.is_file() or not folder.state.stat().st_size:
        return False
    try:
        with open_reader(folder.state, told) as reader:
            reader.checked_version()
    except StateFailed:
        return False
    return True


def _copied(folder: Folder) -> Path | None:
    """The old state under a free name beside the new one, and all that is in its log; None: there is none."""
    old = folder.state
    if not old.is_file():
        return None
    number = 1
    while os.path.lexists(copy := old.with_name(f"state-before-rebuild-{number}.sqlite3")):
        number += 1
    if not copied(old, copy):  # no database any more: it is kept as it is
        _remove(copy)
        for part in _BESIDE:
            if os.path.lexists(f"{old}{part}"):
                shutil.copyfile(f"{old}{part}", f"{copy}{part}")
    return copy


def _remove(state: Path) -> None:
    for part in _BESIDE:
        Path(f"{state}{part}").unlink(missing_ok=True)
