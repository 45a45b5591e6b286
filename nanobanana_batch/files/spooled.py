"""Long sequences that a command makes once and tells once: beyond some length they are kept in a file.

It has no name, and goes with the sequence: only who wrote it reads it.
"""

from __future__ import annotations

import os
import pickle
import weakref
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import Generic, TypeVar, overload

from nanobanana_batch.files.disk import as_temporary_failure

_MOST_IN_MEMORY = 5_000
_AT_ONCE = 500

T = TypeVar("T")


def spooled(things: Iterable[T]) -> Sequence[T]:
    """All of them, in their order: a tuple of few, and of more than 5,000 what reads them from a file.

    Raises:
        DiskFailed: the disk for temporary files is full or refuses.
    """
    coming = iter(things)
    first = tuple(islice(coming, _MOST_IN_MEMORY + 1))
    return first if len(first) <= _MOST_IN_MEMORY else _Spooled(chain(first, coming))


class _Spooled(Sequence[T], Generic[T]):
    """So many of them in memory as are written and read at once."""

    def __init__(self, things: Iterator[T]) -> None:
        self._ends, self._count = array("q", [0]), 0
        try:
            file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed with this
            weakref.finalize(self, file.close)
            self._fd = file.fileno()
            while some := list(islice(things, _AT_ONCE)):
                data = pickle.dumps(some, pickle.HIGHEST_PROTOCOL)
                written = 0
                while written < len(data):
                    written += os.write(self._fd, memoryview(data)[written:])
                self._ends.append(self._ends[-1] + len(data))
                self._count += len(some)
        except OSError as error:
            raise as_temporary_failure(error, "keeping what was found") from error

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[T]:
        for number in range(len(self._ends) - 1):
            yield from self._block(number)

    @overload
    def __getitem__(self, index: int) -> T: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...

    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return tuple(self[each] for each in range(*index.indices(self._count)))
        place = range(self._count)[index]
        return self._block(place // _AT_ONCE)[place % _AT_ONCE]

    def _block(self, number: int) -> list[T]:
        begin, end = self._ends[number], self._ends[number + 1]
        found: list[T] = pickle.loads(os.pread(self._fd, end - begin, begin))
        return found
