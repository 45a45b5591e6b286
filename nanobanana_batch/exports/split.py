"""On which side of a split a sample is: what belongs together is never on both.

Samples belong together by their prompt, or, if they were made from another picture, by that picture, and by
their own bytes; and so do all that hang together by these, as a chain of edits does. On which side such a
group is follows from its content and the seed alone: neither from the order of rows nor from how many there
are, so that rows that are added later leave the others where they are, unless they join two groups.
"""

from __future__ import annotations

import hashlib
import weakref
from array import array
from collections import Counter
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import pairwise

from nanobanana_batch.exports.sample import Sample
from nanobanana_batch.files.temporary_database import temporary_database

_DIGEST = 16
_WHOLE = 1 << 64


class _Rank(IntEnum):
    """What a group goes by: the first of these that it has, since that changes least when rows are added."""

    PROMPT = 0
    """Of a picture that was made from no other."""
    SOURCE = 1
    PICTURE = 2
    FAMILY = 3


_TABLE = "CREATE TABLE names (digest BLOB, rank INTEGER, sample INTEGER)"
_AT_ONCE = 1_000
_IN_ORDER = "SELECT digest, rank, sample FROM names ORDER BY digest, rank"
_ANCHOR = 1 + _DIGEST
"""Bytes of what a group goes by: a rank, then a digest; the least of them counts."""


class Groups:
    """Samples that hang together, each known by sixteen bytes of what it hangs by.

    These are in a private temporary database, which SQLite spills to disk; 30 bytes of each sample are in
    memory, and only while `sides` finds out.
    """

    def __init__(self) -> None:
        self._db = temporary_database(check_same_thread=False)  # whoever throws this away closes it
        weakref.finalize(self, self._db.close)
        self._db.execute(_TABLE)
        self._db.execute("BEGIN")
        self._waiting: list[tuple[bytes, int, int]] = []
        self._count = 0

    def add(self, sample: Sample, family: str = "") -> None:
        """The next sample; `family`: what edits share that hang together by pictures which are no samples.

        The prompt of an edit says what to do with a picture: the same for many pictures binds none of them.
        """
        names = list(_sources(sample))
        for name in names:
            self._hang(f"image {name}", _Rank.SOURCE)
        if not names:
            self._hang(f"prompt {' '.join(sample.prompt.casefold().split())}", _Rank.PROMPT)
        if sample.found:
            self._hang(f"image {sample.found.sha256}", _Rank.PICTURE)
        if family:
            self._hang(f"family {family}", _Rank.FAMILY)
        self._count += 1
        if len(self._waiting) >= _AT_ONCE:
            self._keep()

    def sides(self, shares: Sequence[float], seed: int) -> bytes:
        """The side of each sample, in the order in which they were added."""
        families = self._families()
        roots = array("q", families.roots())
        places, sides = array("Q", bytes(8 * self._count)), bytearray(self._count)
        for root in roots:
            places[root] = _place(families.anchor(root), seed)
            sides[root] = _side(places[root], shares)
        _fill_empty(roots, sides, places, shares)
        for node in range(self._count):  # the root is the first of each family
            sides[node] = sides[families.root(node)]
        return bytes(sides)

    def _families(self) -> _Families:
        self._keep()
        families, last, first, anchor = _Families(self._count), b"", 0, b""
        for digest, rank, sample in self._db.execute(_IN_ORDER):
            if digest != last:
                last, first, anchor = digest, sample, bytes([rank]) + digest
            families.join(first, sample, anchor)
        return families

    def _hang(self, text: str, rank: _Rank) -> None:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
        self._waiting.append((digest, rank, self._count))

    def _keep(self) -> None:
        self._db.executemany("INSERT INTO names VALUES (?, ?, ?)", self._waiting)
        self._waiting.clear()


class _Families:
    """Which samples hang together, by the first of them, and what each family goes by."""

    def __init__(self, count: int) -> None:
        self._above = array("q", range(count))
        self._anchors = bytearray(b"\xff") * (_ANCHOR * count)

    def roots(self) -> Iterator[int]:
        """The first of each family."""
        return (node for node, above in enumerate(self._above) if node == above)

    def root(self, node: int) -> int:
        """The first of its family."""
        above = self._above
        while above[node] != node:
            above[node] = above[above[node]]
            node = above[node]
        return node

    def join(self, one: int, other: int, anchor: bytes) -> None:
        """Both are of one family from now on, which may go by this."""
        one, other = self.root(one), self.root(other)
        first, last = min(one, other), max(one, other)
        self._above[last] = first
        at = _ANCHOR * first
        self._anchors[at : at + _ANCHOR] = min(self.anchor(first), self.anchor(last), anchor)

    def anchor(self, root: int) -> bytes:
        """What a family goes by: the least digest of what stands for it best."""
        return bytes(self._anchors[_ANCHOR * root : _ANCHOR * (root + 1)])


def _sources(sample: Sample) -> Iterator[str]:
    request = sample.entry.request
    contents = {file.name: file.sha256 for file in request.files}
    yield from (contents.get(name, name) for name in request.images)


def _place(anchor: bytes, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:".encode() + anchor).digest()[:8], "big")


def _side(place: int, shares: Sequence[float]) -> int:
    upto = 0.0
    for number, share in enumerate(shares):
        upto += share
        if place < upto * _WHOLE:
            return number
    return len(shares) - 1


def _fill_empty(
    roots: Sequence[int], sides: bytearray, places: Sequence[int], shares: Sequence[float]
) -> None:
    """A part that was asked for gets at least one group, where there are as many: the nearest one."""
    bounds = [sum(shares[:number]) * _WHOLE for number in range(len(shares) + 1)]
    counts = Counter(sides[root] for root in roots)
    for number, (low, high) in enumerate(pairwise(bounds)):
        if counts[number]:
            continue
        others = (root for root in roots if counts[sides[root]] > 1)
        distances = ((max(low - places[root], places[root] - high), places[root], root) for root in others)
        if nearest := min(distances, default=None):
            counts[sides[nearest[-1]]] -= 1
            counts[number] += 1
            sides[nearest[-1]] = number
