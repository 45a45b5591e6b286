"""A CSV file that people open, change and save with whatever they have, and that we write again.

What a spreadsheet makes of such a file is read as what was meant: a mark at its beginning, `;` or tabs
between its cells, other line ends, other columns in another order. What cannot be understood is said with its
line; nothing is guessed, since a judgement that went to another picture would not be noticed.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nanobanana_batch.collection.named import Named
from nanobanana_batch.errors import UsageError
from nanobanana_batch.files.disk import Disk, write_atomically
from nanobanana_batch.files.plain import open_own
from nanobanana_batch.spreadsheets import guarded, unguarded

NAMES = ("id", "image", "row_key", "sha256")
_SEPARATORS = ",;\t"
_LINES_AT_ONCE = 1000
_LONGEST_HEADER = 1 << 20


@dataclass(frozen=True, slots=True)
class Line:
    """One line below the header, as it is in the file."""

    place: str
    """File and line, for a message."""
    cells: list[str]


class Sheet:
    """The header of such a file, and its lines."""

    def __init__(self, names: Sequence[str], separator: str = ",", lines: Iterable[Line] = ()) -> None:
        self.names = list(names)
        """The columns, as they are in the file."""
        self.separator = separator
        self.lines = lines
        """Once, from the file."""
        self._at = {_folded(name): at for at, name in reversed(list(enumerate(names)))}

    def has(self, name: str) -> bool:
        """Whether there is such a column."""
        return name in self._at

    def cell(self, line: Line, name: str) -> str:
        """What a line says there; empty where there is no such column."""
        at = self._at.get(name)
        return "" if at is None or at >= len(line.cells) else unguarded(line.cells[at])

    def named(self, line: Line, prefix: str = "") -> Named:
        """The picture that a line names, in the columns `id`, `image`, `row_key` and `sha256`."""
        return Named(*(self.cell(line, f"{prefix}{name}").strip() for name in NAMES))

    def line(self, values: Mapping[str, str]) -> Line:
        """A new one, that says this in these columns."""
        made = Line("", [])
        self.put(made, values)
        return made

    def put(self, line: Line, values: Mapping[str, str]) -> None:
        """Change what a line says in these columns, which are there."""
        line.cells.extend([""] * (len(self.names) - len(line.cells)))
        for name, value in values.items():
            line.cells[self._at[name]] = guarded(value)

    def says_more(self, line: Line, than: Sequence[str]) -> bool:
        """Whether a line says something in columns that are none of these."""
        known = {self._at.get(name) for name in than}
        return any(cell for at, cell in enumerate(line.cells) if at not in known)

    def with_columns(self, wanted: Sequence[str]) -> Sheet:
        """The same, with those of these columns that it lacks behind its own."""
        missing = [name for name in wanted if not self.has(name)]
        return Sheet([*self.names, *missing], self.separator, self.lines)

    def with_lines(self, lines: Iterable[Line]) -> Sheet:
        """The same with other lines."""
        return Sheet(self.names, self.separator, lines)


def read_sheet(path: Path, some_of: Sequence[str]) -> Sheet | None:
    """A file with at least one of these columns; None: there is none, or it is empty. Read its lines once.

    Raises:
        UsageError: it cannot be read, or it is no such file; also while its lines are read.
    """
    try:
        with _opened(path) as file:
            first = file.readline(_LONGEST_HEADER)
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error
    if not first:
        return None
    names, separator = _header(first, set(map(_folded, some_of)))
    if not names:
        wanted = ", ".join(some_of)
        raise UsageError(f"{path}:1: the first line has to name the columns, and none is called {wanted}.")
    return Sheet(names, separator, _lines(path, names, separator))


def write_sheet(disk: Disk, path: Path, sheet: Sheet) -> None:
    """Write it whole, with the mark by which a spreadsheet knows UTF-8.

    Raises:
        DiskFailed: the disk is full or refuses; the old file is untouched.
    """
    cells: Iterator[Sequence[str]] = itertools.chain([sheet.names], (line.cells for line in sheet.lines))
    pieces = iter(lambda: _written(list(itertools.islice(cells, _LINES_AT_ONCE)), sheet.separator), b"")
    write_atomically(disk, path, itertools.chain([codecs.BOM_UTF8], pieces))


def _header(line: str, wanted: set[str]) -> tuple[list[str], str]:
    """The names of the columns and what separates them; no names if none of them is wanted."""
    found = [(next(csv.reader([line], delimiter=one), []), one) for one in _SEPARATORS]
    names, separator = max(found, key=lambda each: len(wanted.intersection(map(_folded, each[0]))))
    return (names if wanted.intersection(map(_folded, names)) else []), separator


def _lines(path: Path, names: Sequence[str], separator: str) -> Iterator[Line]:
    begins = 2
    try:
        with _opened(path) as file:
            reader = csv.reader(file, delimiter=separator, strict=True)
            next(reader)
            begins = reader.line_num + 1
            for cells in reader:
                place = f"{path}:{begins}"
                begins = reader.line_num + 1
                if any(cells[len(names) :]):
                    raise UsageError(
                        f"{place}: there are more cells than the first line names.",
                        hint=f'A text with {separator!r} in it stands in quotes: "so{separator} and so".',
                    )
                if any(cells):
                    yield Line(place, cells)
    except csv.Error as error:
        raise UsageError(f"{path}:{begins}: {error}; is there a quote that nothing ends?") from error
    except (OSError, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _opened(path: Path) -> TextIO:
    return os.fdopen(open_own(path), encoding="utf-8-sig", newline="")


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> UsageError:
    if isinstance(error, OSError):
        return UsageError(f"{path} cannot be read: {error.strerror}.")
    return UsageError(f"{path} is not UTF-8.", hint='Save it as "CSV UTF-8" in the spreadsheet.')


def _written(rows: Sequence[Sequence[str]], separator: str) -> bytes:
    buffer = io.StringIO(newline="")
    plain = csv.writer(buffer, delimiter=separator, lineterminator="\n")
    # Before Python 3.13 the writer leaves a lone carriage return unquoted, and readers end the row there.
    quoting = csv.writer(buffer, delimiter=separator, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoting if any("\r" in cell for cell in row) else plain).writerow(row)
    return buffer.getvalue().encode()


def _folded(name: str) -> str:
    return name.strip().casefold()
