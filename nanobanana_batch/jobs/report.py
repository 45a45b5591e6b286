"""A report over some output folders, with what they stand for in money; and its page, written whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanobanana_batch.collection.entries import names_of
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.folder import REPORT_NAME, find
from nanobanana_batch.jobs.outlook import priced_standing
from nanobanana_batch.report.gather import Looked, gather
from nanobanana_batch.report.page import page
from nanobanana_batch.report.value import Report


def make_report(paths: Sequence[Path]) -> Report:
    """How the runs of these folders went; may be called while they are going on, and changes nothing.

    Raises:
        UsageError, FolderRefused: one is no output folder.
        StateFailed: the state of one is gone or damaged.
    """
    folders = [find(path) for path in dict.fromkeys(paths)]
    names = names_of([folder.path for folder in folders])
    return gather(
        [
            Looked(folder, name, priced_standing(folder))
            for folder, name in zip(folders, names, strict=True)
        ]
    )


def write_report(paths: Sequence[Path], out: Path | None, report: Report, disk: Disk) -> Path:
    """Write the page, and return where it is: in the folder, if it is one and nothing else was said.

    Raises:
        UsageError: it is not known where it belongs, or a folder is in the way.
        DiskFailed: it cannot be written; an older one is untouched.
    """
    if out is None and len(set(paths)) > 1:
        raise UsageError("A report of several folders belongs to none of them.", hint="Say where: --out FILE.")
    path = paths[0] / REPORT_NAME if out is None else out
    if path.is_dir():
        raise UsageError(f"{path} is a folder, where the report belongs.", hint="Name a file: --out FILE.")
    if not path.parent.is_dir():
        raise UsageError(f"There is no folder {path.parent}.")
    write_atomically(disk, path, (piece.encode("utf-8", "replace") for piece in page(report)))
    return path
