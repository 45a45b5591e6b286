"""The samples of one export, as a format walks through them and writes them.

What is read of a picture is compared with what was saved: a file that has changed meanwhile is left out.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from nanobanana_batch.collection.entries import Picture
from nanobanana_batch.exports.chosen import Chosen
from nanobanana_batch.exports.columns import Column
from nanobanana_batch.exports.embedding import Change
from nanobanana_batch.exports.leaving_out import LeftOut, Why
from nanobanana_batch.exports.sample import Sample
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
        chosen: Chosen,
        columns: tuple[Column, ...],
        tally: Tally,
        watch: Watch,
        folders: Sequence[Path],
        change: Change,
    ) -> None:
        self.change = change
        """What becomes of a picture's bytes on their way into the export."""
        self._chosen = chosen
        self._watch = watch
        self.folders = tuple(folders)
        """All output folders, also those of which nothing was chosen."""
        self.media_types = chosen.media_types
        """Which kinds of pictures there are among them."""
        # Some ask for each sample, and to count takes longer the more there are.
        self._planned = chosen.counts()
        self.splits = tuple(name for name, count in self._planned.items() if count)
        """The names of the parts that have samples; only those are written."""
        self.columns = columns
        """What is told of each sample, with the same types in all parts."""
        self.tally = tally

    def __len__(self) -> int:
        return len(self._chosen.sides)

    def planned(self, split: str) -> int:
        """How many there are of a part, before any is found to be unfit."""
        return self._planned[split]

    def __iter__(self) -> Iterator[Sample]:
        """Each of them; may be done several times."""
        return self._chosen.samples()

    def of(self, split: str) -> Iterator[Sample]:
        """Those of one part."""
        return self._chosen.samples(split)

    def lines(self) -> Iterator[bytes]:
        """All of them as the lines of a format that has only these; they are counted as written."""
        (split,) = self.splits
        for data, count in self._chosen.lines():
            yield data
            self.tally.written[split] += count
            for _ in range(count):
                self._watch.step()

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
