"""How runs went, for a program: the numbers of the report, and its page."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.api.values import several_folders

if TYPE_CHECKING:
    from nanobanana_batch.reports.value import Report


def report(folders: AnyPath | Iterable[AnyPath], *, out: AnyPath | None = None, page: bool = False) -> Report:
    """How the runs of one or many output folders went; also while they are going on.

    `out`: write the page into this file [no page]. `page`: write it without being told where, too, to
    report.html in the folder [False]. Where it was written is `Report.page`.

    Raises:
        UsageError: one is no output folder, none is named, or the page has no place.
        FolderRefused: a folder holds links or other things that no run makes.
        StateFailed: the state of one is gone or damaged, or of a newer version.
        DiskFailed: the page cannot be written.
    """
    from dataclasses import replace

    from nanobanana_batch.files.disk import Disk
    from nanobanana_batch.jobs.report import make_report, place_of, write_report

    paths = several_folders(folders)
    place = None if out is None else Path(out)
    if not page and place is None:
        return make_report(paths)
    place = place_of(paths, place)
    found = make_report(paths)
    write_report(found, place, Disk())
    return replace(found, page=place)
