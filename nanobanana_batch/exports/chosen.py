"""What was chosen for an export: kept on disk while it is written, as often as a format walks through it."""

from __future__ import annotations

import os
import pickle
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.files.disk import as_disk_failure


class Spool:
    """Chosen samples on disk, in a file without a name: only who wrote it reads it."""

    def __init__(self, folder: Path) -> None:
        try:
            self._file = TemporaryFile(dir=folder)  # noqa: SIM115 - closed by `close`
        except OSError:  # nobody may write there, which is told of the export, if it is to be written
            self._file = TemporaryFile()  # noqa: SIM115
        self._ends = array("q", [0])

    def add(self, key: str, entry: Entry, picture: Picture | None) -> None:
        """One more.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        data = pickle.dumps((key, entry, picture), pickle.HIGHEST_PROTOCOL)
        with self._failing():
            self._file.write(data)
        self._ends.append(self._ends[-1] + len(data))

    def __iter__(self) -> Iterator[tuple[str, Entry, Picture | None]]:
        """All, from the first on; several walks do not disturb each other."""
        with self._failing():
            self._file.flush()
        for begin, end in pairwise(self._ends):
            yield pickle.loads(os.pread(self._file.fileno(), end - begin, begin))

    def close(self) -> None:
        """Give the disk its room back."""
        with suppress(OSError):  # what is still to be written has failed before
            self._file.close()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise as_disk_failure(error, "keeping what was chosen") from error


@dataclass(frozen=True, slots=True)
class Chosen:
    """What was chosen, in the order of the manifests, and into which part each of it goes."""

    spool: Spool
    parts: tuple[str, ...]
    """The names of the parts that were asked for."""
    sides: bytes
    """Of each sample, as a number among the parts."""
    plan: str
    """A hash of all that is to be in the export: the same plan makes the same bytes."""
    placeholders: int
    picture_bytes: int

    @property
    def filled(self) -> tuple[str, ...]:
        """The parts that have samples."""
        return tuple(name for number, name in enumerate(self.parts) if number in self.sides)

    def count(self, part: str) -> int:
        """How many samples a part has."""
        return self.sides.count(self.parts.index(part))

    def samples(self) -> Iterator[Sample]:
        """Each of them; may be done several times."""
        for side, (key, entry, picture) in zip(self.sides, self.spool, strict=True):
            yield Sample(key, entry, picture, self.parts[side])
