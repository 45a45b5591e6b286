"""What was chosen for an export, kept on disk in a file without a name: only who wrote it reads it.

Formats that read pictures want whole rows again, as often as they walk through them. A table wants lines,
which are made while rows are chosen: nothing else of a row has to be kept.
"""

from __future__ import annotations

import os
import pickle
from abc import ABC, abstractmethod
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.errors import DiskFailed
from nanobanana_batch.exports.columns import Value
from nanobanana_batch.exports.packing import packed, unpacked
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.files.disk import as_disk_failure

LINES_AT_ONCE = 1000
"""So many are made of rows at a time, and written."""


class Spooled(ABC):
    """Pieces in such a file, one behind the other."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        except OSError:  # nobody may write there, which is told of the export, if it is to be written
            self._file = TemporaryFile()  # noqa: SIM115
        self._ends = array("q", [0])

    @abstractmethod
    def add(self, sample: Sample, told: Sequence[Value]) -> None:
        """One more sample, and what is told of it, column by column.

        Raises:
            DiskFailed: the disk is full or refuses.
        """

    def close(self) -> None:
        """Give the disk its room back."""
        with suppress(OSError):  # what is still to be written has failed before
            self._file.close()

    def _append(self, data: bytes) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            raise _failed(error) from error
        self._ends.append(self._ends[-1] + len(data))

    def _pieces(self, is_wanted: Callable[[int], bool] = lambda number: True) -> Iterator[tuple[int, bytes]]:
        """Those that are wanted, and their numbers; several walks do not disturb each other."""
        try:
            self._file.flush()
        except OSError as error:
            raise _failed(error) from error
        for number, (begin, end) in enumerate(pairwise(self._ends)):
            if is_wanted(number):
                yield number, os.pread(self._file.fileno(), end - begin, begin)


def _failed(error: OSError) -> DiskFailed:
    return as_disk_failure(error, "keeping what was chosen")


class Spool(Spooled):
    """Whole samples."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._folders: list[tuple[Path, str]] = []

    def add(self, sample: Sample, told: Sequence[Value] = ()) -> None:
        """One more; what is told of it can be told again.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        entry, found = sample.entry, sample.found
        at = None if found is None else entry.pictures.index(found)
        values = (sample.key, at, self._number_of(entry), *packed(entry))
        self._append(pickle.dumps(values, pickle.HIGHEST_PROTOCOL))

    def walk(self, names: Sequence[str], sides: bytes, side: int | None = None) -> Iterator[Sample]:
        """All samples from the first on, or those of one side.

        `sides`: of each sample, as a number among the `names` of the parts.
        """
        for number, data in self._pieces(lambda number: side is None or sides[number] == side):
            key, at, folder, *values = pickle.loads(data)
            path, name = self._folders[folder]
            entry = unpacked(path, name, values)
            yield Sample(key, entry, None if at is None else entry.pictures[at], names[sides[number]])

    def _number_of(self, entry: Entry) -> int:
        """That of its folder: there are few, and their rows stand together."""
        if not self._folders or self._folders[-1][0] is not entry.folder:
            self._folders.append((entry.folder, entry.folder_name))
        return len(self._folders) - 1


class Lines(Spooled):
    """Finished lines, as `make` makes them of what is told of many samples."""

    def __init__(self, folder: Path, make: Callable[[Sequence[Sequence[Value]]], bytes]) -> None:
        super().__init__(folder)
        self._make = make
        self._waiting: list[Sequence[Value]] = []
        self._counts = array("l")

    def add(self, sample: Sample, told: Sequence[Value]) -> None:
        """One more.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        self._waiting.append(told)
        if len(self._waiting) == LINES_AT_ONCE:
            self._keep()

    def walk(self) -> Iterator[tuple[bytes, int]]:
        """The lines in their order, many at a time, and how many.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        self._keep()
        yield from zip((data for _, data in self._pieces()), self._counts, strict=True)

    def _keep(self) -> None:
        if self._waiting:
            self._append(self._make(self._waiting))
            self._counts.append(len(self._waiting))
            self._waiting.clear()
