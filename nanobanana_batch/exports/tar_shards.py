"""WebDataset's shards: tar files in which the files of a sample stand behind each other and share a key.

The same samples give the same bytes: USTAR, in the order of the samples, with nobody's name and no date. A
name there is at most 100 characters long, and is read up to its first dot as the key.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from tarfile import BLOCKSIZE, RECORDSIZE, USTAR_FORMAT, TarInfo
from types import TracebackType
from typing import IO, Self

from nanobanana_batch.exports.columns import Column, Teller, Type, Value
from nanobanana_batch.exports.place import Place
from nanobanana_batch.exports.sample import Sample

MAX_BYTES = 1_000_000_000
"""Of a shard, where nothing is said."""
_MOST_NAME = 100
_MARK = 16
_EMPTY: Mapping[Type, Value] = {Type.TEXT: "", Type.WHOLE: 0, Type.NUMBER: 0.0, Type.TRUTH: False}


class Shards:
    """The shards of one part, each opened when it has a first sample. Use as a context manager."""

    def __init__(self, place: Place, split: str, max_bytes: int | None) -> None:
        self._place = place
        self._split = split
        self._max_bytes = max_bytes or MAX_BYTES
        self._open = ExitStack()
        self._file: IO[bytes] | None = None
        self._size = 0
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self._end()
        else:
            self._open.__exit__(kind, error, trace)

    def add(self, key: str, files: Mapping[str, bytes]) -> None:
        """One sample: its files by what follows the first dot of their names.

        Raises:
            DiskFailed: the disk is full or refuses.
        """
        size = sum(BLOCKSIZE + _padded(len(data), BLOCKSIZE) for data in files.values())
        if self._file is not None and self._size + size + 2 * BLOCKSIZE > self._max_bytes:
            self._end()
        file = self._file or self._begin()
        stem = _fitting(key, files)
        for ending, data in files.items():
            info = TarInfo(f"{stem}.{ending}")
            info.size = len(data)
            file.write(info.tobuf(USTAR_FORMAT, "ascii", "strict"))
            file.write(data)
            file.write(bytes(_padded(len(data), BLOCKSIZE) - len(data)))
        self._size += size

    def _begin(self) -> IO[bytes]:
        shard: AbstractContextManager[IO[bytes]] = self._place.file(f"{self._split}-{self.count:06d}.tar")
        self._file = self._open.enter_context(shard)
        self._size = 0
        self.count += 1
        return self._file

    def _end(self) -> None:
        if self._file is not None:
            whole = _padded(self._size + 2 * BLOCKSIZE, RECORDSIZE)
            self._file.write(bytes(whole - self._size))
            self._file = None
        self._open.close()


def teller_of(columns: Iterable[Column]) -> Teller:
    """Tells nothing that is null: `datasets` takes types from the first five samples.

    A number that is not known is 0, as of a picture that nobody has rated.
    """
    return Teller(columns, _EMPTY)


def as_json(sample: Sample, teller: Teller, also: Mapping[str, Value] | None = None) -> bytes:
    """What is told of a sample."""
    told = {**(also or {}), **teller.named(sample)}
    return json.dumps(told, ensure_ascii=False).encode()


def _padded(size: int, block: int) -> int:
    return -(-size // block) * block


def _fitting(key: str, endings: Iterable[str]) -> str:
    """A key with which all names are short enough; what is cut off is told apart by a hash."""
    room = _MOST_NAME - 1 - max(map(len, endings))
    if len(key) <= room:
        return key
    return f"{key[: room - _MARK - 1]}-{hashlib.sha256(key.encode()).hexdigest()[:_MARK]}"
