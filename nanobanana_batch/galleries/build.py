"""A gallery of output folders, built so that who looks sees the old one or the new one, whole.

Data stand in a folder that is named by its content; the page that names it is replaced last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.collection.entries import Collection
from nanobanana_batch.collection.measures import read_measures
from nanobanana_batch.collection.selection import Selection, read_selection
from nanobanana_batch.collection.spent import spent
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk, as_disk_failure, write_atomically
from nanobanana_batch.files.folder import GALLERY_FOLDER
from nanobanana_batch.galleries import pages
from nanobanana_batch.galleries.choices import choices_before
from nanobanana_batch.galleries.gathering import Gathered, Progress, TooManyItems, gather
from nanobanana_batch.galleries.place import (
    DATA,
    INDEX_NAME,
    PAGE,
    THUMBS,
    gallery_folder,
    link,
    refuse_other_file,
)
from nanobanana_batch.galleries.scripts import IN_A_BLOCK, IN_A_CHUNK, call, data_files
from nanobanana_batch.galleries.spool import Spool
from nanobanana_batch.galleries.thumbs import LONGEST_SIDE, Thumbs

MOST_IN_ONE_FILE = 500
"""Items; with their thumbnails some 10 MB."""
_VERSION = 1
"""Of the data."""
_DIGITS = 16
_AT_ONCE = 1 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be built."""

    folders: tuple[Path, ...]
    out: Path | None = None
    only: tuple[str, ...] = ()
    where: tuple[str, ...] = ()
    one_file: bool = False


@dataclass(frozen=True, slots=True)
class GalleryMade:
    """What was built."""

    path: Path
    """The page to open."""
    rows: int
    """How many are shown, with an image or without."""
    images: int
    thumbnails_made: int
    thumbnails_kept: int
    not_readable: int
    """Images that cannot be shown; the page says why."""
    remarks: tuple[str, ...] = ()
    """Of values of `where` that nothing has: probably a slip."""


def build(order: Order, progress: Progress = lambda done, total: None) -> GalleryMade:
    """Make or renew it.

    Raises:
        UsageError: a folder is no output folder, nothing can be written there, the selection is none or
            takes nothing in the place of a gallery of before, or there is too much for one file.
        FolderRefused: a folder holds links or other things that no run makes.
        FolderInUse: another process builds it just now.
        StateFailed: a folder's state is gone or damaged, or of a newer version.
        DiskFailed: the disk is full or refuses.
    """
    collection = Collection(order.folders)
    checks = [name for folder in collection.folders for name in read_measures(folder.path).columns]
    selection = read_selection(order.only, order.where, collection.variables, checks)
    out = _place(order, collection)
    if order.one_file:
        return _in_one_file(order, collection, selection, out, progress)
    with gallery_folder(out), Spool() as spool:
        thumbs = Thumbs(out)
        found = gather(collection, selection, out, thumbs, spool, None, progress)
        _refuse_nothing(order, found, selection, out / INDEX_NAME)
        data = _write_data(out, found, _summary(order, collection, found))
        for name, content in pages.assets():
            _write(out / PAGE / name, content)
        _write(out / INDEX_NAME, pages.page(f"{DATA}/{data}", spool.count))
        _remove_other_data(out / DATA, data)
        thumbs.keep_only(found.keys)
        return _made(out / INDEX_NAME, found, selection)


def _place(order: Order, collection: Collection) -> Path:
    if order.out is not None:
        return order.out
    if len(collection.folders) > 1:
        raise UsageError("Of several folders nobody knows where the gallery belongs: give --out PATH.")
    name = f"{GALLERY_FOLDER}.html" if order.one_file else GALLERY_FOLDER
    return collection.folders[0].path / name


def _in_one_file(
    order: Order, collection: Collection, selection: Selection, out: Path, progress: Progress
) -> GalleryMade:
    refuse_other_file(out, pages.HEAD)
    with tempfile.TemporaryDirectory(prefix="gallery-") as name, Spool() as spool:
        thumbs = Thumbs(Path(name))
        try:
            found = gather(collection, selection, out.parent, thumbs, spool, MOST_IN_ONE_FILE, progress)
        except TooManyItems as error:
            raise UsageError(
                f"One file holds at most {MOST_IN_ONE_FILE} images, and there are more.",
                hint="Leave out --one-file, or select some with --only or --where.",
            ) from error
        _refuse_nothing(order, found, selection, out)
        summary = {**_summary(order, collection, found), "inline": True}
        scripts = [content for _, content in data_files(_linked(found, out.parent), found.columns)]
        pictures = {
            key: file
            for key in sorted(key.hex() for key in found.keys)
            if (file := thumbs.file(key)).is_file()
        }
        content = pages.one_file([call("summary", 0, summary), *scripts], pictures)
        _write(out, content)
        return _made(out, found, selection)


def _refuse_nothing(order: Order, found: Gathered, selection: Selection, page: Path) -> None:
    """A selection that takes nothing may be a slip, for which no gallery of before is given up."""
    if page.exists() and not found.spool.count and (order.only or order.where):
        raise UsageError(
            f"There is nothing to show: no row is selected. {page} was left as it is.",
            hint=" ".join([*selection.idle(), "Look at --only and --where."]),
        )


def _summary(order: Order, collection: Collection, found: Gathered) -> dict[str, Any]:
    items, money = found.spool.count, spent(collection.folders)
    return {
        "version": _VERSION,
        "title": ", ".join(collection.names),
        "folders": collection.names,
        "as_of": round(time.time()),
        "going_on": money.is_running,
        "spent": asdict(money),
        "rows_in_all": collection.rows,
        "selected_by": [
            *(f"--only {kind}" for kind in order.only),
            *(f"--where {text}" for text in order.where),
        ],
        "items": items,
        "in_a_chunk": IN_A_CHUNK,
        "in_a_block": IN_A_BLOCK,
        "thumbs": f"{THUMBS}/{LONGEST_SIDE}",
        "columns": found.columns.told(),
        "variables": found.columns.variables,
        "totals": found.totals.told(),
        **choices_before(collection),
    }


def _linked(found: Gathered, page_folder: Path) -> Iterator[dict[str, Any]]:
    """Every record; the pictures that it names lead to their rows, or to their files."""
    places = _places(found, page_folder)
    for record in found.spool:
        for source in record.get("sources", ()):
            source.update(places.get(source.get("sha256"), {}))
        yield record


def _places(found: Gathered, page_folder: Path) -> Mapping[str | None, dict[str, Any]]:
    if not found.sources:
        return {}
    places: dict[str | None, dict[str, Any]] = {
        sha: {"thumb": sha, "url": link(Path(path), page_folder)} for sha, path in found.sources.items()
    }
    for number, record in enumerate(found.spool):
        if (sha := record.get("thumb")) in places and "item" not in places[sha]:
            places[sha] = {"thumb": sha, "url": record["url"], "item": number}
    return places


def _write_data(out: Path, found: Gathered, summary: dict[str, Any]) -> str:
    """The name of the folder with the data; it is whole before it has that name."""
    temporary = out / DATA / f".new.{os.getpid()}"
    digest = hashlib.sha256()
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        for name, content in data_files(_linked(found, out), found.columns):
            (temporary / name).write_bytes(content)
            digest.update(content)
        name = digest.hexdigest()[:_DIGITS]
        final = out / DATA / name
        if not _is_same(final, temporary):
            if os.path.lexists(final):
                shutil.rmtree(final)
            temporary.rename(final)
    except OSError as error:
        raise as_disk_failure(error, f"writing {out / DATA}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _write(final / "summary.js", call("summary", 0, summary))
    return name


def _is_same(there: Path, new: Path) -> bool:
    """Whether a folder has these very data: its name alone is a promise of whoever made it.

    What stands in it runs in the page, and a served page may write.
    """
    if there.is_symlink() or not there.is_dir():
        return False
    names = os.listdir(new)
    if set(os.listdir(there)) - {"summary.js"} != set(names):
        return False
    return all(_is_plain(there / name) and _equal(there / name, new / name) for name in names)


def _is_plain(path: Path) -> bool:
    return stat.S_ISREG(path.lstat().st_mode)


def _equal(one: Path, other: Path) -> bool:
    with one.open("rb") as first, other.open("rb") as second:
        while (piece := first.read(_AT_ONCE)) == second.read(_AT_ONCE):
            if not piece:
                return True
    return False


def _remove_other_data(folder: Path, kept: str) -> None:
    """Of earlier builds; a page that is still open says that it has to be loaded anew."""
    for entry in list(os.scandir(folder)):
        if entry.name != kept and entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(exist_ok=True)
    except OSError as error:
        raise as_disk_failure(error, f"writing {path}") from error
    write_atomically(Disk(), path, [content])


def _made(path: Path, found: Gathered, selection: Selection) -> GalleryMade:
    told: Mapping[str, Any] = found.totals.told()
    images = found.totals.images
    broken, remarks = found.totals.not_readable, tuple(selection.idle())
    return GalleryMade(path, told["rows"], images, found.made, found.kept, broken, remarks)
