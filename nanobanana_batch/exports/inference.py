"""What a reader of JSON would take texts for: pyarrow, and so `datasets`, takes some for points in time.

It looks at ten megabytes at a time. Where every text of a column looks like a date there, the column becomes
one of dates, and no text any more; where there is no number at all, it becomes nothing. As long as one value
says otherwise, each is what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from nanobanana_batch.exports.columns import Column, Type, Value

_AT_ONCE = 10 << 20
_PERHAPS_A_TIME = re.compile(r"\s*\d{4}-\d\d-\d\d(?:[ T][0-9:.,ZzT+\- ]*)?\s*")


class Inference:
    """Of one file, line by line."""

    def __init__(self, columns: Iterable[Column]) -> None:
        self._texts = [column.name for column in columns if column.type is Type.TEXT]
        self._numbers = [column.name for column in columns if column.type in (Type.WHOLE, Type.NUMBER)]
        self._open: set[str] = set()
        self._size = 0
        self._is_mistaken = False

    def see(self, told: Mapping[str, Value], size: int) -> None:
        """A line, of so many bytes."""
        if not self._size:
            self._open = {*self._texts, *self._numbers}
        self._size += size
        if self._open:
            self._open -= {name for name in self._open if _is_plain(told[name])}
        if self._size > _AT_ONCE:
            self._close()

    def is_mistaken(self) -> bool:
        """Whether a reader would take a column for something else."""
        if self._size:
            self._close()
        return self._is_mistaken

    def _close(self) -> None:
        self._is_mistaken |= bool(self._open)
        self._size = 0


def _is_plain(value: Value) -> bool:
    if isinstance(value, str):
        return not _PERHAPS_A_TIME.fullmatch(value)
    return value is not None
