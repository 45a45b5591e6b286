"""An export that is only counted: what would be written goes nowhere."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from nanobanana_batch.exports.options import Link
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.files.disk import Disk


class CountingPlace(Place):
    """Counts files and bytes."""

    def __init__(self, name: str) -> None:
        super().__init__(Path("."), name, Disk())
        self.sizes: dict[str, int] = {}
        self.pictures = 0
        self.picture_bytes = 0
        self.is_counting = True

    @contextmanager
    def file(self, name: str) -> Iterator[IO[bytes]]:
        """Its bytes are counted."""
        sink = _Sink()
        yield cast("IO[bytes]", sink)
        self.sizes[name] = sink.tell()

    def put(self, name: str, data: bytes) -> None:
        """Counted."""
        self.sizes[name] = len(data)

    def picture(self, name: str, sample: Sample, link: Link | None = None) -> None:
        """Counted as it was saved."""
        self.pictures += 1
        self.picture_bytes += sample.picture.size_bytes

    @property
    def files(self) -> int:
        """How many there would be."""
        return len(self.sizes) + self.pictures

    @property
    def bytes(self) -> int:
        """And how large, together."""
        return sum(self.sizes.values()) + self.picture_bytes


class _Sink(io.RawIOBase):
    def __init__(self) -> None:
        self._size = 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        size = memoryview(data).nbytes  # type: ignore[arg-type]
        self._size += size
        return size

    def tell(self) -> int:
        return self._size
