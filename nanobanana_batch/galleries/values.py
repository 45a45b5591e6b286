"""Which values each column has: what can be chosen among, and what is a number."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from nanobanana_batch.collection.columns import OF_CHECK, Cell
from nanobanana_batch.collection.judgements import MOST_STARS, Verdict
from nanobanana_batch.model import RowStatus

MOST_CHOICES = 2000
"""Of a column with more different values nobody picks one from a list."""
_FEW = 12
"""So many different numbers are rather picked than bounded."""
CHOICES = (
    "status",
    "rating",
    "verdict",
    "folder",
    "model",
    "aspect_ratio",
    "resolution",
    "output_format",
    "thinking_level",
    "web_search",
    "image_search",
    "variant",
    "image_number",
    "media_type",
    "provider",
    "error_code",
    "note",
    "rating_note",
    "duplicate_of",
)
"""Of what every row has, what is picked from a list."""
NUMBERS = ("credits", "seconds", "attempts", "width", "height", "size_bytes", "saved_at")
_GIVEN: Mapping[str, tuple[str, ...]] = {
    "rating": tuple(str(stars) for stars in range(1, MOST_STARS + 1)),
    "verdict": tuple(Verdict),
    "status": tuple(RowStatus),
}
"""Known beforehand, since a page changes them, or their order means something."""
_YES = "yes"
_WHETHER = ("rating_note", "duplicate_of")
"""Of these a list says only whether there is one."""


class Column:
    """What was seen in one column; values in the order in which they came."""

    def __init__(self, name: str, missed: int = 0) -> None:
        self.name = name
        self._codes: dict[str, int] = {value: code for code, value in enumerate(_GIVEN.get(name, ()), 1)}
        self._counts = [missed, *([0] * len(self._codes))]
        self._is_full = False
        self._is_numeric = True
        self._low, self._high = math.inf, -math.inf

    def see(self, value: Cell) -> None:
        """One more cell."""
        if value is None:
            self._counts[0] += 1
            return
        self._see_number(value)
        text = self._text(value)
        code = self._codes.get(text)
        if code is None and len(self._codes) >= MOST_CHOICES:
            self._is_full = True
        elif code is None:
            self._codes[text] = len(self._counts)
            self._counts.append(1)
        else:
            self._counts[code] += 1

    @property
    def kind(self) -> str:
        """`choice`, `number`, or nothing: it cannot be filtered by."""
        if self.name in NUMBERS:
            return "number" if self._high >= self._low else ""
        many = self._is_full or len(self._codes) > _FEW
        if self.name not in CHOICES and self._is_numeric and many:
            return "number"
        return "" if self._is_full else "choice"

    def told(self) -> dict[str, Any]:
        """For the page."""
        about: dict[str, Any] = {"name": self.name, "kind": self.kind}
        if self.kind == "choice":
            return about | {"values": list(self._codes), "counts": self._counts}
        return about | {"low": self._low, "high": self._high}

    def coded(self, value: Cell) -> int | float | None:
        """A cell in the index: 0 for none and n for the n-th value, or the number itself."""
        if self.kind == "number":
            return _number(value)
        return 0 if value is None else self._codes[self._text(value)]

    def _text(self, value: Cell) -> str:
        return _YES if self.name in _WHETHER else str(value)

    def _see_number(self, value: Cell) -> None:
        if not self._is_numeric:
            return
        number = _number(value)
        if number is None:
            self._is_numeric = False
        else:
            self._low, self._high = min(self._low, number), max(self._high, number)


class Columns:
    """All that a page can filter, sort and lay out by."""

    def __init__(self, variables: Sequence[str]) -> None:
        self.variables = tuple(variables)
        """By the names of their columns."""
        self._columns = {name: Column(name) for name in (*CHOICES, *NUMBERS, *variables)}
        self._seen = 0

    def see(self, record: Mapping[str, Any]) -> None:
        """One more record; columns of checks begin with the first that has one."""
        for name in record:
            if name.startswith(OF_CHECK) and name not in self._columns:
                self._columns[name] = Column(name, self._seen)
        for name, column in self._columns.items():
            column.see(record.get(name))
        self._seen += 1

    def told(self) -> list[dict[str, Any]]:
        """For the page: those that it has, of variables first."""
        return [column.told() for column in self._ordered() if column.kind]

    def block(self) -> Coded:
        """Of the index; only when all records were seen."""
        return Coded([column for column in self._ordered() if column.kind])

    def _ordered(self) -> list[Column]:
        first = ("status", "rating", "verdict", "model", *self.variables)
        return [self._columns[name] for name in dict.fromkeys((*first, *self._columns))]


class Coded:
    """A block of the index by columns; it keeps the cells of a record, and not the record."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._cells: list[tuple[Column, list[int | float | None]]] = [(column, []) for column in columns]

    def add(self, record: Mapping[str, Any]) -> None:
        """The next record."""
        for column, cells in self._cells:
            cells.append(column.coded(record.get(column.name)))

    def told(self) -> dict[str, list[int | float | None] | int | float | None]:
        """For the page; one value alone: all have it."""
        return {
            column.name: cells[0] if cells and all(each == cells[0] for each in cells) else cells
            for column, cells in self._cells
        }


def _number(value: Cell) -> float | int | None:
    if isinstance(value, int | float):
        return value if math.isfinite(value) else None
    try:
        number = float(value or "")
    except ValueError:
        return None
    return number if math.isfinite(number) else None
