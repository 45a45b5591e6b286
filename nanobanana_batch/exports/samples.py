"""The samples of one export, as often as a format wants to walk through them; they are kept on disk.

What is read of a picture is compared with what was saved: a file that has changed meanwhile is left out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nanobanana_batch.collection.entries import Picture
from nanobanana_batch.exports.columns import Column
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.exports.spool import Lines, Spool, Spooled
from nanobanana_batch.exports.tally import Tally
from nanobanana_batch.exports.watch import Watch
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
        spool: Spooled,
        sides: bytes,
        splits: Sequence[str],
        columns: tuple[Column, ...],
        tally: Tally,
        watch: Watch,
        folders: Sequence[Path] = (),
        change: Callable[[bytes, Sample], bytes] = lambda data, sample: data,
        media_types: frozenset[str] = frozenset(),
    ) -> None:
        self.change = change
        """What becomes of a picture's bytes on their way into the export."""
        self.media_types = media_types
        """Which kinds of pictures there are among them."""
        self._spool = spool
        self._sides = sides
        self._watch = watch
        self.folders = tuple(folders)
        """All output folders, also those of which nothing was chosen."""
        self._names = tuple(splits)
        # Some ask for each sample, and to count takes longer the more there are.
        self._planned = {name: sides.count(number) for number, name in enumerate(splits)}
        self.splits = tuple(name for name, count in self._planned.items() if count)
        """The names of the parts that have samples; only those are written."""
        self.columns = columns
        """What is told of each sample, with the same types in all parts."""
        self.tally = tally

    def __len__(self) -> int:
        return len(self._sides)

    def planned(self, split: str) -> int:
        """How many there are of a part, before any is found to be unfit."""
        return self._planned[split]

    def __iter__(self) -> Iterator[Sample]:
        """Each of them; may be done several times."""
        return self._samples().walk(self._names, self._sides)

    def of(self, split: str) -> Iterator[Sample]:
        """Those of one part."""
        return self._samples().walk(self._names, self._sides, self._names.index(split))

    def lines(self) -> Iterator[bytes]:
        """All of them as the lines of a format that has only these; they are counted as written."""
        assert isinstance(self._spool, Lines), "a format without lines walks through the samples"
        (split,) = self.splits
        for data, count in self._spool.walk():
            yield data
            self.tally.written[split] += count
            for _ in range(count):
                self._watch.step()

    def _samples(self) -> Spool:
        assert isinstance(self._spool, Spool), "of a format of lines nothing else is kept"
        return self._spool

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
