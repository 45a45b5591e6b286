"""One walk over all rows: their records, their thumbnails, and the sums; memory does not grow with them."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.collection.selection import Selection
from nanobanana_batch.digests import Digests
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.galleries.records import columns_of, record
from nanobanana_batch.galleries.spool import Spool
from nanobanana_batch.galleries.thumbs import Thumb, Thumbs, bombs_refused
from nanobanana_batch.galleries.totals import Totals
from nanobanana_batch.galleries.values import Columns

Progress = Callable[[int, int], object]
"""Is told how many rows of how many are done."""
_SHA256_BYTES = 32
_AHEAD = 16
"""So many pictures a worker wait in line."""


@dataclass
class Gathered:
    """What the walk has found."""

    spool: Spool
    columns: Columns
    totals: Totals = field(default_factory=Totals)
    made: int = 0
    kept: int = 0
    keys: Digests = field(default_factory=lambda: Digests(_SHA256_BYTES))
    """Of all thumbnails that are to stay, also of pictures that this page leaves out."""
    sources: dict[str, str] = field(default_factory=dict)
    """Of pictures that requests name: where each was, by its content."""

    def keep(self, key: str) -> None:
        """Do not remove the thumbnail of this content."""
        self.keys.add(bytes.fromhex(key))

    def count(self, thumb: Thumb) -> None:
        """One more thumbnail that is there, or not."""
        self.made += thumb.is_new
        self.kept += thumb.key is not None and not thumb.is_new
        if thumb.key:
            self.keep(thumb.key)


def gather(
    collection: Collection,
    selection: Selection,
    page_folder: Path,
    thumbs: Thumbs,
    spool: Spool,
    most_items: int | None,
    progress: Progress,
) -> Gathered:
    """Everything of the rows that are selected.

    Raises:
        TooManyItems: there are more than `most_items`.
        DiskFailed: a thumbnail cannot be saved.
    """
    variables = columns_of(collection.variables)
    found = Gathered(spool, Columns(list(variables.values())))
    workers = len(os.sched_getaffinity(0))
    with bombs_refused(), ThreadPoolExecutor(workers, "thumbnails") as pool:
        line: deque[tuple[dict[str, Any], Future[Thumb] | None]] = deque()
        try:
            for number, entry in enumerate(collection.entries(), 1):
                for picture in _shown(entry, selection, found):
                    line.append(
                        (
                            record(entry, picture, variables, page_folder),
                            pool.submit(_thumb_of, thumbs, picture) if picture else None,
                        )
                    )
                while len(line) > workers * _AHEAD:
                    _take(found, *line.popleft())
                if most_items is not None and spool.count + len(line) > most_items:
                    raise TooManyItems
                progress(number, collection.rows)
            while line:
                _take(found, *line.popleft())
            _draw_sources(found, thumbs, pool)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


class TooManyItems(Exception):
    """More than fit into what is to be made."""


def _shown(entry: Entry, selection: Selection, found: Gathered) -> Iterator[Picture | None]:
    """The pictures of a row that are wanted; None for a row without one."""
    wanted = [each for each in (entry.pictures or (None,)) if selection.takes(entry, each)]
    for picture in entry.pictures:
        if picture not in wanted:
            found.keep(picture.sha256)
    if wanted:
        found.totals.row(entry)
        for file in entry.request.files:
            found.sources.setdefault(file.sha256, file.path)
    yield from wanted


def _thumb_of(thumbs: Thumbs, picture: Picture) -> Thumb:
    is_known = picture.stands is Stands.AS_SAVED
    return thumbs.of(picture.file, picture.sha256 if is_known else None)


def _take(found: Gathered, told: dict[str, Any], drawn: Future[Thumb] | None) -> None:
    if drawn is not None:
        thumb = drawn.result()
        found.count(thumb)
        if told.get("stands") == Stands.NOT_LOOKED_AT and thumb.key:  # it was, just now
            told["stands"] = Stands.CHANGED.value
            if thumb.key == told["sha256"]:
                del told["stands"]
        told |= {"thumb": thumb.key} if thumb.key else {"problem": thumb.problem}
        ratio = told["width"] / max(told["height"], 1)
        found.totals.picture(ratio, is_broken=thumb.key is None)
    found.columns.see(told)
    found.spool.append(told)


def _draw_sources(found: Gathered, thumbs: Thumbs, pool: ThreadPoolExecutor) -> None:
    """Of those that no row shown here has made; only if they are what they were."""
    missing = {sha: path for sha, path in found.sources.items() if bytes.fromhex(sha) not in found.keys}
    line = [(sha, pool.submit(thumbs.of_source, Path(path), sha)) for sha, path in missing.items()]
    for sha, drawn in line:
        thumb = drawn.result()
        found.count(thumb)
        if thumb.key is None:
            del found.sources[sha]
