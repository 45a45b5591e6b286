"""Which pictures are nearly the same: each belongs to the first one of the run that it is nearly like.

So every member of a group is as near to its first as was asked for; a chain of pictures that each resemble
the next makes no group of strangers. Fingerprints are compared in blocks that fit a processor's cache:
100,000 of them are five thousand million pairs, and take seconds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy
from numpy.typing import NDArray

Fingerprints = NDArray[numpy.uint64]
_ROWS, _COLUMNS = 64, 4096
"""2 MiB of differences at a time."""


def firsts(fingerprints: Sequence[int], most_bits: int) -> list[int]:
    """For each the index of the first that it differs from in so many bits at most, or its own."""
    every = numpy.array(fingerprints, dtype=numpy.uint64)
    different, where, which = numpy.unique(every, return_index=True, return_inverse=True)
    order = numpy.argsort(where, kind="stable")
    places = where[order]
    rank = numpy.empty_like(order)
    rank[order] = numpy.arange(len(order))
    groups = _Groups(len(order), most_bits)
    ordered = different[order]
    found = numpy.concatenate(
        [groups.take(ordered[at : at + _ROWS]) for at in range(0, len(ordered), _ROWS)]
        or [numpy.empty(0, dtype=numpy.int64)]
    )
    return [int(places[index]) for index in found[rank[which]]]


class _Groups:
    """The first of each group so far, in the order in which they came."""

    def __init__(self, most: int, most_bits: int) -> None:
        self._firsts = numpy.empty(most, dtype=numpy.uint64)
        self._index = numpy.empty(most, dtype=numpy.int64)
        self._count = 0
        self._seen = 0
        self._most_bits = most_bits

    def take(self, block: Fingerprints) -> NDArray[numpy.int64]:
        """For each of the next fingerprints, the index of the first of its group."""
        found = self._among_earlier(block)
        for place in numpy.flatnonzero(found < 0):
            if found[place] < 0:
                near = numpy.bitwise_count(block[place:] ^ block[place]) <= self._most_bits
                found[place:][near & (found[place:] < 0)] = self._seen + place
                self._firsts[self._count] = block[place]
                self._index[self._count] = self._seen + place
                self._count += 1
        self._seen += len(block)
        return found

    def _among_earlier(self, block: Fingerprints) -> NDArray[numpy.int64]:
        found = numpy.full(len(block), -1, dtype=numpy.int64)
        for at in range(0, self._count, _COLUMNS):
            open_ = numpy.flatnonzero(found < 0)
            firsts = self._firsts[at : min(at + _COLUMNS, self._count)]
            near = numpy.bitwise_count(block[open_, None] ^ firsts) <= self._most_bits
            hit = near.any(axis=1)
            found[open_[hit]] = self._index[at + near[hit].argmax(axis=1)]
        return found
