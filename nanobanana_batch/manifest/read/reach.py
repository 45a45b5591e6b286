"""Which files a manifest may draw in: those beside it, in the working directory, and where a person says.

What it reads becomes prompts and uploads, and so leaves the machine; a manifest may be somebody else's.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from nanobanana_batch.wording import closest, shown

OPTION = "--allow-outside"
_NAMES_READ = 10_000


class Reach:
    """The folders that files may stand in, links resolved; a hidden file or folder below them is not meant.

    Who runs a manifest in a home folder does not want to lend it `.ssh`.
    """

    def __init__(self, folder: Path, allowed: Iterable[Path] = ()) -> None:
        self._roots = [os.path.realpath(root) for root in (folder, Path(), *allowed)]
        self._read: dict[str, str] = {}
        self._resolved = lru_cache(10_000)(os.path.realpath)

    @property
    def read(self) -> tuple[str, ...]:
        """The files and runs that were drawn in, as the manifest names them; images apart."""
        return tuple(f"{name} ({remark})" if remark else name for name, remark in self._read.items())

    def note(self, name: str, remark: str = "") -> None:
        """Something is read, with what is worth saying of it."""
        self._read[name] = remark

    def lend(self, folder: Path) -> None:
        """What we have put into this folder is within reach, too."""
        self._roots.append(os.path.realpath(folder))

    def add_run(self, folder: Path, name: str) -> None:
        """The images of a run that the manifest names are within reach, too."""
        self._roots.append(os.path.realpath(folder / "images"))
        self.note(name)

    def fault(self, path: Path, name: str) -> str:
        """What keeps a file from being read; nothing when it may be."""
        try:
            place = self._place(path)
        except ValueError:  # a name that no file can have, which is told where it is read
            return ""
        if any(_is_open_below(root, place) for root in self._roots):
            return ""
        folder = os.path.dirname(place)
        if any(_is_below(root, place) for root in self._roots):
            return f"{shown(name)} is hidden, or in a hidden folder; `{OPTION} {folder}` lets it be read"
        return (
            f"{shown(name)} leads out of the manifest's folder and the working directory;"
            f" `{OPTION} {folder}` lets it be read"
        )

    def _place(self, path: Path) -> str:
        """Links resolved; folders are looked at once."""
        if path.name in ("", "..") or os.path.islink(path):
            return os.path.realpath(path)
        return os.path.join(self._resolved(path.parent), path.name)


def _is_below(root: str, place: str) -> bool:
    return place == root or place.startswith(root.rstrip(os.sep) + os.sep)


def _is_open_below(root: str, place: str) -> bool:
    return _is_below(root, place) and not any(
        part.startswith(".") for part in place[len(root) :].split(os.sep)
    )


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
