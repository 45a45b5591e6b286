"""The samples of one export, as often as a format wants to walk through them; they are kept on disk.

What is read of a picture is compared with what was saved: a file that has changed meanwhile is left out.
"""

from __future__ import annotations

import hashlib
import os
import pickle
from array import array
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryFile

from nanobanana_batch.collection.entries import Entry, Picture
from nanobanana_batch.exports.columns import Column
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.exports.watch import Watch
from nanobanana_batch.files.disk import as_disk_failure
from nanobanana_batch.files.plain import open_own


class Samples:
    """Those that were chosen, in the order of the manifests.

    for sample in samples:                  # or samples.of("train"), for one part
        with samples.written(sample):       # counts it; or, on LeftOut, why not
            data = samples.read(sample)
            ...
    """

    def __init__(
        self,
        spool: Spool,
        sides: bytes,
        splits: Sequence[str],
        columns: tuple[Column, ...],
        tally: Tally,
        watch: Watch,
        folders: Sequence[Path] = (),
        change: Callable[[bytes, Sample], bytes] = lambda data, sample: data,
    ) -> None:
        self.change = change
        """What becomes of a picture's bytes on their way into the export."""
        self._spool = spool
        self._sides = sides
        self._watch = watch
        self.folders = tuple(folders)
        """All output folders, also those of which nothing was chosen."""
        self._names = tuple(splits)
        self.splits = tuple(name for number, name in enumerate(splits) if number in sides)
        """The names of the parts that have samples; only those are written."""
        self.columns = columns
        """What is told of each sample, with the same types in all parts."""
        self.tally = tally

    def __len__(self) -> int:
        return len(self._sides)

    def planned(self, split: str) -> int:
        """How many there are of a part, before any is found to be unfit."""
        return self._sides.count(self._names.index(split))

    def __iter__(self) -> Iterator[Sample]:
        """Each of them; may be done several times."""
        for side, (key, entry, picture) in zip(self._sides, self._spool, strict=True):
            yield Sample(key, entry, picture, self._names[side])

    def of(self, split: str) -> Iterator[Sample]:
        """Those of one part."""
        return (sample for sample in self if sample.split == split)

    def read(self, sample: Sample) -> bytes:
        """The bytes of its picture as they go into the export.

        Raises:
            LeftOut: they are not those that were saved, or cannot be read.
        """
        return self.change(read_picture(sample.picture), sample)

    @contextmanager
    def written(self, sample: Sample) -> Iterator[None]:
        """In the block a sample is written: it is counted, or left out where the block says `LeftOut`."""
        try:
            yield
        except LeftOut as left:
            self.tally.left_out[left.why] += 1
        else:
            self.tally.write(sample)
        self._watch.step()


def read_picture(picture: Picture) -> bytes:
    """The bytes of a picture, which are those that were saved.

    Raises:
        LeftOut: they are not, or cannot be read.
    """
    try:
        with os.fdopen(open_own(picture.file), "rb") as file:
            data = file.read(picture.size_bytes + 1)
    except FileNotFoundError:
        raise LeftOut(Why.MISSING) from None
    except OSError:
        raise LeftOut(Why.UNREADABLE) from None
    if len(data) != picture.size_bytes or hashlib.sha256(data).hexdigest() != picture.sha256:
        raise LeftOut(Why.CHANGED)
    return data


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
