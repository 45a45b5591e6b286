"""Looks at every picture of output folders, compares all of them, and writes what it found to checks.csv.

Pictures are decoded on all cores: Pillow lets other threads go on meanwhile. Of each only its line, on disk,
and 64 bits are kept until all of them can be compared.
"""

from __future__ import annotations

import os
import pickle
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Protocol

from PIL import ImageOps

from nanobanana_batch.checks import likeness, scores, table
from nanobanana_batch.checks.pixels import FileIs, Seen, in_8_bits, look_at, opened
from nanobanana_batch.checks.profiles import Profile
from nanobanana_batch.checks.report import Checked, Counts, Group, Kind
from nanobanana_batch.checks.scores import Scorer
from nanobanana_batch.checks.table import Line
from nanobanana_batch.collection.entries import Collection, Entry, Picture
from nanobanana_batch.defaults import NEAR_BITS
from nanobanana_batch.errors import UsageError
from nanobanana_batch.fidelity import unlike
from nanobanana_batch.files.disk import Disk, as_disk_failure, write_atomically
from nanobanana_batch.files.folder import CHECKS_NAME
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.files.standing import Stands
from nanobanana_batch.model import RowStatus

_GROUPS_TOLD, _OTHERS_TOLD = 5, 3
_AHEAD = 8
"""Pictures a thread may be ahead of the one whose turn it is."""


class Watch(Protocol):
    """Who is told how far a check is: a bar on a screen, or nobody."""

    def begin(self, what: str, total: int) -> None:
        """So many steps begin."""

    def step(self) -> None:
        """One of them is done."""


@dataclass(frozen=True, slots=True)
class _Look:
    """A picture on its way."""

    entry: Entry
    picture: Picture
    row_number: int
    seen: Future[Seen] | Seen


def check(
    folders: Sequence[Path],
    near_bits: int = NEAR_BITS,
    scorers: Sequence[Scorer] = (),
    watch: Watch | None = None,
    disk: Disk | None = None,
) -> Checked:
    """Check the pictures of these folders together; a run may be going on in them.

    Raises:
        UsageError: one is no output folder, or cannot be written to.
        FolderRefused: one holds links or other things that no run makes.
        StateFailed: a state is gone or damaged.
        DiskFailed: checks.csv cannot be written.
    """
    collection = Collection(folders)
    for folder in collection.folders:
        if not os.access(folder.path, os.W_OK):
            raise UsageError(f"{folder.path / CHECKS_NAME} cannot be written there.")
    with _Check(collection, near_bits, scorers, watch) as work:
        work.look()
        return work.write(disk or Disk())


class _Check:
    """One check: first each picture by itself, then all together."""

    def __init__(
        self, collection: Collection, near_bits: int, scorers: Sequence[Scorer], watch: Watch | None
    ) -> None:
        self._collection = collection
        self._near_bits = near_bits
        self._scorers = scorers
        self._watch = watch
        self._rows_done = 0
        self._counts = Counts()
        self._fingerprints: list[int] = []
        self._spools = [_Spool() for _ in collection.folders]
        self._spool_of = dict(zip((each.path for each in collection.folders), self._spools, strict=True))
        self._measured = 0

    def __enter__(self) -> _Check:
        return self

    def __exit__(self, *_: object) -> None:
        for spool in self._spools:
            spool.close()

    def look(self) -> None:
        """At each picture, in the order of the manifests."""
        if self._watch is not None:
            self._watch.begin("rows", self._collection.rows)
        for look in self._looks():
            seen = look.seen.result() if isinstance(look.seen, Future) else look.seen
            self._measured += isinstance(look.seen, Future)
            line = self._line(look.entry, look.picture, seen)
            self._spool_of[look.entry.folder].add(line)
            self._count(line, self._name(look.entry, look.picture.path))
            if _is_compared(seen):
                self._fingerprints.append(seen.fingerprint or 0)
            self._show(look.row_number)
        self._show(self._collection.rows)
        for scorer in self._scorers:
            if scorer.failed:
                self._counts.add(Kind.SCORE, f"{scorer.spec}: {scorer.first_failure}", scorer.failed)

    def _show(self, rows: int) -> None:
        """That so many are done."""
        if self._watch is not None:
            for _ in range(rows - self._rows_done):
                self._watch.step()
            self._rows_done = rows

    def write(self, disk: Disk) -> Checked:
        """Compare all, and write each folder's table."""
        firsts = likeness.firsts(self._fingerprints, self._near_bits)
        sizes = Counter(firsts)
        groups = {first: _Group() for first, size in sizes.items() if size > 1}
        indexes = iter(range(len(firsts)))
        tables = []
        for folder, name, spool in zip(
            self._collection.folders, self._collection.names, self._spools, strict=True
        ):
            path = folder.path / CHECKS_NAME
            compared = self._compared(spool, name, indexes, firsts, sizes, groups)
            write_atomically(disk, path, table.written(compared, spool.others))
            tables.append(str(path))
        return Checked(
            images=sum(map(len, self._spools)),
            measured=self._measured,
            findings=self._counts.findings(),
            groups=_largest(groups, sizes),
            tables=tuple(tables),
        )

    def _compared(
        self,
        spool: _Spool,
        folder_name: str,
        indexes: Iterator[int],
        firsts: Sequence[int],
        sizes: Counter[int],
        groups: dict[int, _Group],
    ) -> Iterator[tuple[Line, str, int]]:
        """Each line with the first of its group, and how many that has."""
        names = {scorer.spec: scorer.names for scorer in self._scorers}
        for line in spool:
            for spec in line.unscored:  # what an earlier check said is no answer any more
                line.scores.update(dict.fromkeys(names[spec], ""))
            if not _is_compared(line.seen):
                yield line, "", 0
                continue
            index = next(indexes)
            group = groups.get(firsts[index])
            if group is None:
                yield line, "", 0
                continue
            told = f"{folder_name}/{line.image}" if len(self._spools) > 1 else line.image
            first = group.joined(folder_name, line.image, told)
            if first:
                self._counts.add(Kind.NEAR_DUPLICATE, f"{told} as {group.told}")
            yield line, first, sizes[firsts[index]]

    def _looks(self) -> Iterator[_Look]:
        """In order, while threads look at those to come."""
        threads = os.cpu_count() or 1
        with ThreadPoolExecutor(threads) as pool, ExitStack() as stack:
            stack.callback(pool.shutdown, wait=False, cancel_futures=True)
            coming: deque[_Look] = deque()
            pictures = self._pictures(pool)
            coming.extend(islice(pictures, threads * _AHEAD))
            while coming:
                yield coming.popleft()
                coming.extend(islice(pictures, 1))

    def _pictures(self, pool: ThreadPoolExecutor) -> Iterator[_Look]:
        for number, entry in enumerate(self._collection.entries(), 1):
            if entry.status is RowStatus.RUNNING and entry.note:
                self._counts.add(Kind.MISSING, self._name(entry, entry.id))
            for picture in entry.pictures:
                yield _Look(entry, picture, number, _seen(picture, pool))

    def _line(self, entry: Entry, picture: Picture, seen: Seen) -> Line:
        others, scored, unscored = table.other_columns(picture), "", frozenset[str]()
        if self._scorers and seen.fingerprint is not None:
            others, scored, unscored = self._scored(entry, picture, seen, others)
        elif seen.file is FileIs.AS_SAVED:
            scored = picture.measures.get("scored", "")
        is_like = seen.fingerprint is None
        return Line(
            id=entry.id,
            image=picture.path,
            sha256=picture.sha256,
            seen=seen,
            unlike="" if is_like else unlike(entry.request, seen.width, seen.height),
            is_placeholder=entry.is_practice,
            scores=others,
            scored=scored,
            unscored=unscored,
        )

    def _scored(
        self, entry: Entry, picture: Picture, seen: Seen, others: dict[str, str]
    ) -> tuple[dict[str, str], str, frozenset[str]]:
        row = scores.row_of(entry, picture)
        asked, before = {scorer.spec for scorer in self._scorers}, picture.measures.get("scored", "")
        kept = [told for told in before.split() if told.split("=")[0] not in asked]
        is_same, unscored = seen.file is FileIs.AS_SAVED, list[Scorer]()
        for scorer in self._scorers:
            found = scores.remembered(scorer, picture, row) if is_same else None
            if found is None:
                found = _asked(scorer, picture, row, self._name(entry, picture.path))
            others |= found or {}
            unscored += [] if found else [scorer]
            if found and is_same:
                kept.append(scores.memory(scorer, picture, row))
        return others, " ".join(filter(None, kept)), frozenset(scorer.spec for scorer in unscored)

    def _count(self, line: Line, name: str) -> None:
        seen, add = line.seen, self._counts.add
        if seen.file is not FileIs.AS_SAVED:
            add(Kind(seen.file.value), f"{name}: {seen.detail}" if seen.detail else name)
        if seen.blank:
            add(Kind.BLANK, f"{name}: {seen.blank}")
        if line.unlike:
            add(Kind.SIZE, f"{name}: {line.unlike}")
        if seen.profile is Profile.BROKEN:
            add(Kind.PROFILE, name)
        if line.is_placeholder:
            add(Kind.PLACEHOLDER, name)

    def _name(self, entry: Entry, path: str) -> str:
        return f"{entry.folder_name}/{path}" if len(self._spools) > 1 else path


def _seen(picture: Picture, pool: ThreadPoolExecutor) -> Future[Seen] | Seen:
    known = table.remembered(picture)
    if known is not None and picture.stands is Stands.AS_SAVED:
        return known
    return pool.submit(partial(look_at, picture.file, picture.sha256, known))


def _is_compared(seen: Seen) -> bool:
    """Blank pictures are all alike, and told as such."""
    return seen.fingerprint is not None and not seen.blank


def _asked(scorer: Scorer, picture: Picture, row: scores.Row, name: str) -> dict[str, str] | None:
    try:
        with os.fdopen(open_own(picture.file), "rb") as file, opened(file.read()) as image:
            upright = ImageOps.exif_transpose(in_8_bits(image)).convert("RGB")
        return scorer.score(upright, deepcopy(row))
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a person's own function may raise anything, and leave by `sys.exit`
        scorer.fail(name, error)
    return None


class _Group:
    """The pictures of one group, as they are written."""

    def __init__(self) -> None:
        self.told = ""
        self.others: list[str] = []
        self._folder = self._image = ""

    def joined(self, folder: str, image: str, told: str) -> str:
        """The group's first picture as one of this folder names it; empty for the first itself."""
        if not self.told:
            self._folder, self._image, self.told = folder, image, told
            return ""
        if len(self.others) < _OTHERS_TOLD:
            self.others.append(told)
        return self._image if folder == self._folder else self.told


def _largest(groups: dict[int, _Group], sizes: Counter[int]) -> tuple[Group, ...]:
    largest = sorted(groups, key=lambda first: (-sizes[first], first))[:_GROUPS_TOLD]
    return tuple(Group(groups[one].told, sizes[one], tuple(groups[one].others)) for one in largest)


class _Spool:
    """Lines of one folder on disk, in a file without a name, until they can be written."""

    def __init__(self) -> None:
        self._file: IO[bytes] = TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._count = 0
        self._others: dict[str, None] = {}

    def add(self, line: Line) -> None:
        """One more.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        with _failing():
            pickle.dump(line, self._file, pickle.HIGHEST_PROTOCOL)
        self._others.update(dict.fromkeys(line.scores))
        self._count += 1

    @property
    def others(self) -> tuple[str, ...]:
        """Columns that are not ours."""
        return tuple(self._others)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Line]:
        with _failing():
            self._file.seek(0)
        for _ in range(self._count):
            yield pickle.load(self._file)

    def close(self) -> None:
        """Give the disk its room back."""
        with suppress(OSError):  # what is still to be written has failed before
            self._file.close()


@contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise as_disk_failure(error, "keeping what was found") from error
