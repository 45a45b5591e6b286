"""CSV and TSV. CSV has quotes, TSV has none: a prompt may begin with a quote character.

CSV is separated by what its header uses: spreadsheets write semicolons where people write decimal commas.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import BadLine, BadLines, Lines, Unusable
from nanobanana_batch.manifest.read.short_rows import ShortRows
from nanobanana_batch.manifest.read.table import CHANGED, Header, most_lines, named_header, opened
from nanobanana_batch.manifest.words.names import ROW_NAMES, as_name, slip_of
from nanobanana_batch.problems import ProblemLog

if TYPE_CHECKING:
    from _csv import Reader

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab"}
_OTHERS = {**SEPARATORS, "|": "bar"}
_LINES_LOOKED_AT = 100
_DECLARATION = re.compile(r'"?sep=(.)"?\r?\n?')


class TextTable:
    """A CSV or TSV file; the first line names its columns."""

    def __init__(self, path: Path, file: str, *, tabs: bool) -> None:
        self.file = file
        self.row_prefix = f"{file}:"
        self.path = path
        self._tabs = tabs
        self._short = ShortRows(file, self._is_broken)

    def header(self) -> Header:
        """The columns that the first line names."""
        log = ProblemLog()
        records = self._records(log)
        for line, cells in records:
            if log:
                break
            header = self._header([cell.strip() for cell in cells], f"{self.file}:{line}")
            return replace(
                header, warnings=tuple(self._of_spaces(itertools.islice(records, _LINES_LOOKED_AT)))
            )
        empty = Problem(self.file, "the table is empty; its first line has to name the columns")
        return Header(problems=tuple(log) or (empty,))

    def _header(self, names: list[str], place: str) -> Header:
        if len(names) == 1:
            for mark, name in _OTHERS.items():
                if mark in names[0]:
                    wanted = "tabs" if self._tabs else "commas, semicolons or tabs"
                    message = f"the columns seem to be separated by {name}s; this kind of file needs {wanted}"
                    return Header(problems=(Problem(place, message),))
        return named_header(ShortRows.named(names), place)

    def _of_spaces(self, records: Iterable[tuple[int, list[str]]]) -> Iterator[str]:
        begin = [any(c.startswith(" ") and c.strip() for c in cells[1:]) for _, cells in records]
        if not self._tabs and sum(begin) * 2 > len(begin):
            message = "cells begin with a space, which is taken as written; leave it out behind the separator"
            yield str(Problem(self.file, message))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int, list[str]]]:
        """The line at which each row begins, and its cells."""
        records, before = self._records(log), log.total
        first = next(records, None)
        line, header = first or (1, [])
        self._short.begin([as_name(cell.strip()) for cell in header], f"{self.file}:{line}")
        if first is None or self._short.names != list(names):
            if log.total == before:
                log.add(Problem(self.file, CHANGED))
            return
        width = self._short.fitting
        for line, cells in records:
            if not any(cells):
                continue
            if len(cells) == width:
                yield line, cells
                continue
            found = self._short.fitted(f"{self.file}:{line}", cells, log)
            if found is not None and any(found):
                yield line, found

    def most_rows(self) -> int | None:
        """A number that they do not exceed, found faster than by reading them; None: it cannot be read."""
        return most_lines(self.path)

    def notes(self) -> Iterator[str]:
        """What was made of rows that do not fit the header."""
        return self._short.notes()

    def take_notes(self, notes: Sequence[str]) -> None:
        """Take those of another process, which has read the rows."""
        self._short.take_notes(notes)

    def _is_broken(self, cells: list[str]) -> bool:
        """Whether a quote that means nothing here has been meant to go on in the next cell or line."""
        return self._tabs and any(cell.startswith('"') and cell.count('"') % 2 for cell in cells)

    def _records(self, log: ProblemLog) -> Iterator[tuple[int, list[str]]]:
        try:
            with opened(self.path) as stream, closing(Lines(stream)) as lines:
                yield from self._read(lines, log)
        except Unusable as error:
            log.add(Problem(self.file, str(error)))
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))

    def _read(self, lines: Lines, log: ProblemLog) -> Iterator[tuple[int, list[str]]]:
        try:
            records: _TabRecords | Reader = _TabRecords(lines) if self._tabs else _csv_records(lines)
        except BadLine as error:
            log.add(Problem(f"{self.file}:{lines.number}", str(error)))
            return
        bad = BadLines(self.file, log.add)
        while True:
            line = lines.number + records.line_num + 1
            try:
                for cells in records:
                    if cells:
                        yield line, cells
                    line = lines.number + records.line_num + 1
                return
            except BadLine as error:
                bad.add(lines.number + records.line_num, error)
            except csv.Error as error:
                log.add(Problem(f"{self.file}:{line}", _csv_fault(error)))


class _TabRecords:
    """Records as `csv.reader` gives them."""

    line_num = 0
    """All lines are counted by who gives them."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        return _tab_cells(next(self._lines))


def _tab_cells(line: str) -> list[str]:
    line = line.removesuffix("\n").removesuffix("\r")
    if "\r" in line:
        raise BadLine("a carriage return inside the line; end lines with LF or CRLF")
    return line.split("\t") if line else []


def _csv_records(lines: Lines) -> Reader:
    first = next((line for line in lines if line.strip()), "")
    declared = _DECLARATION.fullmatch(first)
    mark = declared[1] if declared else _separator(first)
    if mark not in SEPARATORS:
        raise BadLine(f"{mark!r} cannot separate columns; commas, semicolons and tabs can")
    if first and not declared:
        lines.again(first)
    return csv.reader(lines.quick(), delimiter=mark, strict=True)


def _separator(header: str) -> str:
    bare = re.sub('"[^"]*"?', "", header)
    present = [mark for mark in SEPARATORS if mark in bare]
    if len(present) < 2:
        return present[0] if present else ","
    known = {mark: _known_names(header, mark) for mark in present}
    best = max(present, key=known.__getitem__)
    if not known[best]:
        kinds = " and ".join(f"{SEPARATORS[mark]}s" for mark in present)
        message = f"the header has {kinds}, so that it cannot be told which of them separate the columns"
        raise BadLine(message + "; say it in a line of its own above: `sep=,` or `sep=;`")
    return best


def _known_names(header: str, mark: str) -> int:
    try:
        names = next(csv.reader([header], delimiter=mark), [])
    except csv.Error:
        return 0
    return sum(name.strip() in ROW_NAMES or slip_of(name) is not None for name in names)


def _csv_fault(error: csv.Error) -> str:
    said = str(error)
    if "expected after" in said:
        return (
            'a quote inside a quoted cell; write it twice (""), and quote the whole cell'
            ' ("a sign that says ""open""")'
        )
    if "unexpected end" in said or "field larger" in said:
        return "a quote that is opened in this row is never closed"
    if "new-line" in said:
        return "a carriage return outside of quotes; end lines with LF or CRLF"
    return f"not valid CSV: {said}"
