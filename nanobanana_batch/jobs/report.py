"""A report over some output folders, with what they stand for in money; and its page, written whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nanobanana_batch.collection.entries import names_of
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.folder import REPORT_NAME, find
from nanobanana_batch.files.plain import refuse_foreign
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.reports.gather import Looked, gather
from nanobanana_batch.reports.page import pieces
from nanobanana_batch.reports.value import Report


def make_report(paths: Sequence[Path]) -> Report:
    """How the runs of these folders went; may be called while they are going on, and changes nothing.

    Raises:
        UsageError, FolderRefused: one is no output folder.
        StateFailed: the state of one is gone or damaged.
    """
    once: dict[Path, Path] = {}
    for path in paths:
        once.setdefault(path.resolve(), path)
    folders = [find(path) for path in once.values()]
    names = names_of([folder.path for folder in folders])
    looked = [
        Looked(folder, name, priced_standing(folder)) for folder, name in zip(folders, names, strict=True)
    ]
    return gather(looked)


def place_of(paths: Sequence[Path], out: Path | None) -> Path:
    """Where the page belongs: where it was said, else in the folder, if it is one.

    Raises:
        UsageError: it is not known where it belongs, there is no such folder, or one is in the way.
        FolderRefused: a link or a pipe bears its name in the folder.
    """
    if out is None and len(set(paths)) > 1:
        raise UsageError(
            "A report of several folders belongs to none of them.", hint="Say where: --out FILE."
        )
    if out is None:
        refuse_foreign(paths[0], (REPORT_NAME,))
    place = paths[0] / REPORT_NAME if out is None else out
    if place.is_dir():
        raise UsageError(f"{place} is a folder, where the report belongs.", hint="Name a file: --out FILE.")
    if out is not None and not place.parent.is_dir():
        raise UsageError(f"There is no folder {place.parent}.")
    if place.parent.is_dir() and not os.access(place.parent, os.W_OK | os.X_OK):
        raise UsageError(
            f"This user may not write to {place.parent}.", hint="--out FILE puts the report elsewhere."
        )
    return place


def write_beside(paths: Sequence[Path], gallery: Path) -> None:
    """Write the page beside that of a gallery of the same folders, each with a link to the other.

    Raises:
        UsageError, FolderRefused, StateFailed: as `make_report`.
        DiskFailed: it cannot be written; an older one is untouched.
    """
    write_report(make_report(paths), gallery.with_name(REPORT_NAME), Disk(), gallery.name)


def write_report(report: Report, place: Path, disk: Disk, gallery: str = "") -> None:
    """Write the page; `gallery` is the name of one beside it.

    Raises:
        DiskFailed: it cannot be written; an older one is untouched.
    """
    write_atomically(disk, place, (piece.encode("utf-8", "replace") for piece in pieces(report, gallery)))
