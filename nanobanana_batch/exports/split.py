"""On which side of a split a sample is: what belongs together is never on both.

Samples belong together by their prompt, by the picture that they were made from, and by their own bytes, and
so do all that hang together by these. On which side such a group is follows from its content and the seed
alone: neither from the order of rows nor from how many there are, so that rows that are added later leave the
others where they are, as long as they do not join two groups.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterator, Sequence
from enum import IntEnum

from nanobanana_batch.exports.sample import Sample

_DIGEST = 16
_WHOLE = 1 << 64


class _Rank(IntEnum):
    """What a group goes by: the first of these that it has, since that changes least when rows are added."""

    PROMPT = 0
    """Of a picture that was made from no other."""
    SOURCE = 1
    EDIT = 2
    PICTURE = 3


class Groups:
    """Samples that hang together, each known by sixteen bytes of what it hangs by."""

    def __init__(self) -> None:
        self._of: dict[bytes, int] = {}
        self._above = array("q")
        self._ranks = bytearray()
        self._samples = array("q")

    def add(self, sample: Sample, also: Sequence[str] = ()) -> None:
        """The next sample; `also`: whatever else it shares with others."""
        names = list(_sources(sample, also))
        prompt = " ".join(sample.prompt.casefold().split())
        first, *others = [
            self._node(f"prompt {prompt}", _Rank.EDIT if names else _Rank.PROMPT),
            *(self._node(f"image {name}", _Rank.SOURCE) for name in names),
            *(self._node(f"image {one.sha256}", _Rank.PICTURE) for one in [sample.found] if one),
        ]
        for other in others:
            self._join(first, other)
        self._samples.append(first)

    def sides(self, shares: Sequence[float], seed: int) -> bytes:
        """The side of each sample, in the order in which they were added."""
        anchors = self._group_anchors()
        places = {root: _place(anchor, seed) for root, anchor in anchors.items()}
        side_of = {root: _side(place, shares) for root, place in places.items()}
        _fill_empty(side_of, places, shares)
        return bytes(side_of[self._root(node)] for node in self._samples)

    def _node(self, text: str, rank: _Rank) -> int:
        digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_DIGEST).digest()
        number = self._of.setdefault(digest, len(self._above))
        if number == len(self._above):
            self._above.append(number)
            self._ranks.append(rank)
        self._ranks[number] = min(rank, self._ranks[number])
        return number

    def _root(self, node: int) -> int:
        while self._above[node] != node:
            self._above[node] = self._above[self._above[node]]
            node = self._above[node]
        return node

    def _join(self, one: int, other: int) -> None:
        one, other = self._root(one), self._root(other)
        self._above[max(one, other)] = min(one, other)

    def _group_anchors(self) -> dict[int, bytes]:
        """What each group goes by: the least digest of what stands for it best."""
        found: dict[int, bytes] = {}
        for node, digest in enumerate(self._of):
            root, anchor = self._root(node), bytes([self._ranks[node]]) + digest
            found[root] = min(anchor, found.get(root, anchor))
        return found


def _sources(sample: Sample, also: Sequence[str]) -> Iterator[str]:
    request = sample.entry.request
    contents = {file.name: file.sha256 for file in request.files}
    yield from (contents.get(name, name) for name in request.images)
    yield from also


def _place(anchor: bytes, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:".encode() + anchor).digest()[:8], "big")


def _side(place: int, shares: Sequence[float]) -> int:
    upto = 0.0
    for number, share in enumerate(shares):
        upto += share
        if place < upto * _WHOLE:
            return number
    return len(shares) - 1


def _fill_empty(side_of: dict[int, int], places: dict[int, int], shares: Sequence[float]) -> None:
    """A part that was asked for gets at least one group, where there are as many: the nearest one."""
    bounds = [sum(shares[:number]) * _WHOLE for number in range(len(shares) + 1)]
    for number in range(len(shares)):
        counts = [list(side_of.values()).count(side) for side in range(len(shares))]
        others = [root for root, side in side_of.items() if counts[side] > 1]
        if counts[number] or not others:
            continue
        low, high = bounds[number], bounds[number + 1]
        nearest = min(others, key=lambda root: (max(low - places[root], places[root] - high), places[root]))
        side_of[nearest] = number
