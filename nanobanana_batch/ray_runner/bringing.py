"""A shard's folder is brought where it outlives its machine, and fetched back by who goes on with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nanobanana_batch.errors import RunStopped, UsageError, system_words
from nanobanana_batch.files.disk import Disk, same_content, write_atomically
from nanobanana_batch.files.folder import STATE_NAME
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.object_storage import Storage, Use
from nanobanana_batch.wording import shown

_USE = Use("--bring-to", "folders")
_PIECE_BYTES = 1 << 20


def check(address: str) -> None:
    """Look at an address; nothing is asked yet.

    Raises:
        UsageError: it is none, or what reaches it is not installed.
    """
    if not address or "\0" in address:
        raise UsageError("--bring-to has to be a folder, or s3://BUCKET/NAME.")
    if "://" in address:
        Storage(address, _USE)


def bring(folder: Path, address: str, disk: Disk) -> int:
    """Send what is not there yet or was changed, the state last; returns how many files.

    Raises:
        RunStopped, UsageError: the place does not take it.
        DiskFailed: the disk there refuses.
    """
    names = sorted(_names(folder), key=lambda name: (name == STATE_NAME, name))
    if "://" not in address:
        return _copy(names, folder, Path(address) / folder.name, disk)
    storage = Storage(f"{address.rstrip('/')}/{folder.name}", _USE)
    there = storage.sizes()
    changed = [name for name in names if _may_have_changed(folder / name, name, there)]
    for name in changed:
        storage.send(name, folder / name)
    return len(changed)


def fetch_back(folder: Path, address: str, disk: Disk) -> int:
    """Where this machine has no state of the folder, all that was brought; returns how many files.

    Raises:
        RunStopped, UsageError: it cannot be had.
        DiskFailed: this disk refuses.
    """
    if (folder / STATE_NAME).exists():
        return 0
    if "://" not in address:
        source = Path(address) / folder.name
        names = sorted(_names(source), key=lambda name: (name == STATE_NAME, name)) if source.is_dir() else []
        return _copy(names, source, folder, disk)
    storage = Storage(f"{address.rstrip('/')}/{folder.name}", _USE)
    there = storage.sizes()
    if strange := next((name for name in there if not _is_plain(name)), ""):
        raise UsageError(f"{storage.address} holds {shown(strange)}, which no run has put there.")
    names = sorted(there, key=lambda name: (name == STATE_NAME, name))
    missing = [name for name in names if _may_have_changed(folder / name, name, there)]
    for name in missing:
        _make_room(folder / name, disk)
        write_atomically(disk, folder / name, storage.pieces(name, there[name]))
    return len(missing)


def _names(folder: Path) -> Iterator[str]:
    """What a run has made there; what is of this moment alone stays."""
    for above, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in names:
            path = Path(above, name)
            if not name.startswith(".") and not path.is_symlink() and path.is_file():
                yield path.relative_to(folder).as_posix()


def _is_plain(name: str) -> bool:
    return all(part and not part.startswith(".") for part in name.split("/")) and "\\" not in name


def _may_have_changed(path: Path, name: str, there: dict[str, int]) -> bool:
    """An image that is saved never changes its bytes; everything else may."""
    if not name.startswith("images/") or not path.exists():
        return True
    return there.get(name) != path.stat().st_size


def _copy(names: list[str], source: Path, target: Path, disk: Disk) -> int:
    try:
        return sum(_copied(source / name, target / name, disk) for name in names)
    except OSError as error:
        raise RunStopped(f"{source} could not be copied to {target}: {system_words(error)}.") from error


def _copied(source: Path, target: Path, disk: Disk) -> bool:
    if same_content(source, target):
        return False
    _make_room(target, disk)
    write_atomically(disk, target, _pieces(source))
    return True


def _make_room(path: Path, disk: Disk) -> None:
    disk.make_folder(path.parent, 0o700)


def _pieces(path: Path) -> Iterator[bytes]:
    with os.fdopen(open_own(path), "rb") as file:
        while piece := file.read(_PIECE_BYTES):
            yield piece
