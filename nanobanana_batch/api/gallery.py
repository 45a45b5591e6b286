"""`gallery`: a page that shows what output folders hold."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.api.options import AnyPath
from nanobanana_batch.api.values import several_folders, several_texts

if TYPE_CHECKING:
    from nanobanana_batch.galleries.build import GalleryMade


def gallery(
    folders: AnyPath | Iterable[AnyPath],
    *,
    out: AnyPath | None = None,
    only: str | Iterable[str] = (),
    where: str | Iterable[str] = (),
    one_file: bool = False,
    progress: Callable[[int, int], object] | None = None,
) -> GalleryMade:
    """Build a gallery of one or several output folders, or renew it; a run may be going on meanwhile.

    `out`: where it goes; for one folder it may be left out, then it is `gallery` in that folder. `only`,
    `where`: which rows and images, as on the command line (`only=["completed"]`, `where=["style=ink"]`).
    `one_file`: one HTML file with its thumbnails in it, of at most some hundred images. `progress` is called
    with how many rows of how many are done. The report of the same folders stands beside the page; nothing
    else is written.

    Raises:
        UsageError: a folder is no output folder, or the gallery cannot be made as asked.
        FolderRefused: a folder holds links or other things that no run makes.
        FolderInUse: another process is building that gallery.
        StateFailed: a folder's state is gone or damaged, or of a newer version.
        DiskFailed: the disk is full or refuses.
    """
    from nanobanana_batch.galleries.build import Order, build
    from nanobanana_batch.jobs.report import write_beside

    place = None if out is None else Path(out)
    order = Order(several_folders(folders), place, several_texts(only), several_texts(where), one_file)
    made = build(order) if progress is None else build(order, progress)
    if not one_file:
        write_beside(order.folders, made.path)
    return made
