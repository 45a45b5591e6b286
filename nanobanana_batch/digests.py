"""Many digests in little memory: a set of Python's keeps some hundred bytes beside each."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_FIRST = 1 << 10


class Digests:
    """Digests of one length, numbered from 0 as they come: their bytes, and 6 to 12 more for each."""

    def __init__(self, length: int, size: int = _FIRST) -> None:
        """`length`: of each, in bytes, at least 8. `size`: of the table at first, a power of 2."""
        self._length = length
        self._digests = bytearray()
        self._slots = _empty(size)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[bytes]:
        return map(self._at, range(self._count))

    def __contains__(self, digest: object) -> bool:
        return isinstance(digest, bytes) and self._slots[self._slot(digest)] != 0

    def add(self, digest: bytes) -> tuple[int, bool]:
        """Its number, and whether it is a new one."""
        slot = self._slot(digest)
        if known := self._slots[slot]:
            return known - 1, False
        self._digests += digest
        self._count += 1
        self._slots[slot] = self._count
        if self._count * 3 > len(self._slots) * 2:
            self._grow()
        return self._count - 1, True

    def _at(self, number: int) -> bytes:
        return bytes(self._digests[number * self._length : (number + 1) * self._length])

    def _slot(self, digest: bytes) -> int:
        """Where its number stands, or belongs."""
        slots, last, length, known = self._slots, len(self._slots) - 1, self._length, self._digests
        slot = int.from_bytes(digest[:8], "big") & last
        while number := slots[slot]:
            if known[(number - 1) * length : number * length] == digest:
                break
            slot = (slot + 1) & last
        return slot

    def _grow(self) -> None:
        self._slots = _empty(2 * len(self._slots))
        for number in range(self._count):
            self._slots[self._slot(self._at(number))] = number + 1


def _empty(size: int) -> array[int]:
    return array("I", bytes(array("I").itemsize * size))
