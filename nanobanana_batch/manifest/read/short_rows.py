"""Rows as spreadsheets write them: without their last empty cells, or with empty ones behind the last column.

A row that has cells where no column is stays an error, since its cells may all be shifted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from nanobanana_batch.errors import Problem
from nanobanana_batch.problems import Places, ProblemLog
from nanobanana_batch.wording import counted

_PLACES = 5


class ShortRows:
    """Fits the cells of rows to the columns that have names."""

    def __init__(self, file: str, is_broken: Callable[[list[str]], bool] = lambda _: False) -> None:
        self._file = file
        self._is_broken = is_broken
        self._place = file
        self._header: list[str] = []
        self._wanted: list[int] | None = None
        self._unnamed: list[int] = []
        self._is_index = False
        self._short = Places(_PLACES)
        self._notes: Sequence[str] = ()
        self.names: list[str] = []
        """Of the columns that have one."""

    @staticmethod
    def named(names: Sequence[str]) -> list[str]:
        """A spreadsheet writes empty columns, too; what has no name and no cell is none."""
        return [name for name in names if name] or list(names)

    def begin(self, header: list[str], place: str) -> None:
        """Take the columns; a first one without a name is an index that pandas wrote."""
        self._header = header
        self._place = place
        self.names = [name for name in header if name]
        self._is_index = False
        self._notes = ()
        self._short = Places(_PLACES)
        self._unnamed = [index for index, name in enumerate(header) if not name]
        self._wanted = [index for index, name in enumerate(header) if name] if self._unnamed else None

    @property
    def fitting(self) -> int | None:
        """Rows of so many cells are as `fitted` gives them; None: each has to be looked at."""
        return len(self._header) if self._wanted is None else None

    def fitted(self, place: str, cells: list[str], log: ProblemLog) -> list[str] | None:
        """One cell for each column; `None` for a row that is really ragged, which is reported."""
        width = len(self._header)
        if len(cells) != width:
            if not any(cell.strip() for cell in cells):
                return None
            if any(cell.strip() for cell in cells[width:]) or self._is_broken(cells):
                log.add(
                    Problem(place, f"{len(cells)} cells, but the header has {width}{self._advice(cells)}")
                )
                return None
            if len(cells) < width:
                self._note(place, cells, width)
            cells = (cells + [""] * (width - len(cells)))[:width]
        if self._wanted is None:
            return cells
        for index in self._unnamed:
            if cells[index].strip():
                if index:
                    log.add(Problem(self._place, f"column {index + 1} has no name, and it has cells"))
                    return None
                self._is_index = True
        return [cells[index] for index in self._wanted]

    def _note(self, place: str, cells: list[str], width: int) -> None:
        if any(self._header[index] for index in range(len(cells), width)):
            self._short.add(place)

    def _advice(self, cells: list[str]) -> str:
        if self._is_broken(cells):
            return (
                "; the file seems to be quoted like a spreadsheet export, and tab-separated files have no"
                " quotes: save it as CSV"
            )
        return (
            "; put a cell that has the separator in it in double quotes (in tab-separated files: take it out)"
        )

    def take_notes(self, notes: Sequence[str]) -> None:
        """Take what somebody else has found who has fitted the rows."""
        self._notes = notes

    def notes(self) -> Iterator[str]:
        """What a person should know of the rows that were fitted."""
        yield from self._notes
        if self._is_index:
            message = "column 1 has no name and is left out (pandas writes its index so)"
            yield str(Problem(self._file, message))
        if self._short.total:
            rows = f"{counted(self._short.total, 'row')} with fewer cells than the header"
            yield f"{rows}; the missing last ones are taken for empty: {self._short}"
