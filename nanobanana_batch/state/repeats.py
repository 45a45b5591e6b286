"""Whether two of very many rows are known by the same number, without an index over them.

To sort the numbers of a million rows takes a tenth of the time that SQLite needs for an index of them, and
most manifests have no two rows that ask for the same.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable

_IN_A_SET = 50_000
"""So few are looked at without loading numpy, which takes a tenth of a second."""
_MOST = 1_500_000
"""Of so many rows the numbers are kept: 16 MB a million, while they are looked at, too."""


class Numbers:
    """The numbers of all rows in one column, as they come; all fit into 64 bits."""

    def __init__(self) -> None:
        self._kept = array("q")
        self._is_full = False

    def extend(self, numbers: Iterable[int]) -> None:
        """Those of the next rows."""
        if self._is_full:
            return
        self._kept.extend(numbers)
        if len(self._kept) > _MOST:
            self._is_full = True
            del self._kept[:]

    def take_repeats(self) -> bool | None:
        """Whether two are the same; None: there were too many to tell. They are forgotten with that."""
        kept, self._kept = self._kept, array("q")
        if self._is_full:
            return None
        if len(kept) <= _IN_A_SET:
            return len(set(kept)) < len(kept)
        import numpy

        ordered = numpy.frombuffer(kept, dtype=numpy.int64)
        ordered.sort()
        return bool((ordered[1:] == ordered[:-1]).any())
