"""A table is read line by line, never whole, and a damaged line costs that row and nothing else.

CSV has quotes, TSV has none: a prompt may begin with a quote character. Lines are decoded one by one,
so that an error names its line.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from nanobanana_batch.errors import Problem, ProblemLog

ENDINGS = (".csv", ".tsv", ".tab")
MAX_LINE = 1 << 20

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


class _BadLine(Exception):
    """This line cannot be used; the next one may be."""


class _Unusable(Exception):
    """The file as a whole is no text table."""


class _Lines:
    """Decoded lines of a file; an error leaves the iterator usable."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self.number = 0

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        data = self._stream.readline(MAX_LINE)
        if not data:
            raise StopIteration
        self.number += 1
        if self.number == 1:
            if data.startswith((b"\xff\xfe", b"\xfe\xff")):
                raise _Unusable("the file is UTF-16; save it as UTF-8")
            data = data.removeprefix(b"\xef\xbb\xbf")
        if len(data) >= MAX_LINE - 3 and not data.endswith(b"\n"):
            self._skip_line()
            raise _BadLine("the line is longer than 1 MiB")
        try:
            text = data.decode()
        except UnicodeDecodeError as error:
            raise _BadLine("not UTF-8 text; save the file as UTF-8") from error
        odd = _CONTROL.search(text)
        if odd:
            raise _BadLine(f"the control character {odd[0]!r} is not allowed; remove it")
        return text

    def _skip_line(self) -> None:
        while True:
            data = self._stream.readline(MAX_LINE)
            if not data or data.endswith(b"\n"):
                return


class Table:
    """A CSV or TSV file with a header; may be read several times."""

    def __init__(self, path: Path, file: str) -> None:
        self.path = path
        self.file = file
        self._tabs = path.suffix.lower() in (".tsv", ".tab")

    def header(self) -> tuple[list[str], list[Problem]]:
        """The column names, and what is wrong with them."""
        log = ProblemLog()
        for line, cells in self._records(log):
            names = [cell.strip() for cell in cells]
            return names, list(log) or self._header_problems(names, line)
        return [], list(log) or [
            Problem(self.file, "the table is empty; its first line has to name the columns")
        ]

    def _header_problems(self, names: list[str], line: int) -> list[Problem]:
        source = f"{self.file}:{line}"
        if len(names) == 1:
            for mark, name in ((";", "semicolons"), ("\t", "tabs"), ("|", "bars"), (",", "commas")):
                if mark in names[0]:
                    wanted = "tabs" if self._tabs else "commas"
                    message = f"the columns seem to be separated by {name}; this kind of file needs {wanted}"
                    return [Problem(source, message)]
        problems = [
            Problem(source, f"column {number} has no name")
            for number, name in enumerate(names, 1)
            if not name
        ]
        twice = dict.fromkeys(name for name in names if name and names.count(name) > 1)
        return problems + [Problem(source, f"the column {name!r} stands there twice") for name in twice]

    def rows(self, width: int, log: ProblemLog) -> Iterator[tuple[int, list[str]]]:
        """The line at which each row begins, and its cells; rows that cannot be used go to `log`."""
        records = self._records(log)
        next(records, None)
        for line, cells in records:
            if len(cells) == width:
                if any(cells):
                    yield line, cells
            elif any(cell.strip() for cell in cells):
                log.add(Problem(f"{self.file}:{line}", self._ragged(cells, width)))

    def _ragged(self, cells: list[str], width: int) -> str:
        message = f"{len(cells)} cells, but the header has {width}"
        if self._tabs:
            if any(cell.startswith('"') and cell.count('"') % 2 for cell in cells):
                return message + (
                    "; the file seems to be quoted like a spreadsheet export, and tab-separated files have no"
                    " quotes: save it as CSV"
                )
            return message
        if len(cells) > width:
            return message + "; put a cell that has a comma in it in double quotes"
        return message

    def _records(self, log: ProblemLog) -> Iterator[tuple[int, list[str]]]:
        try:
            with self.path.open("rb") as stream:
                lines = _Lines(stream)
                records = _tab_records(lines) if self._tabs else csv.reader(lines, strict=True)
                yield from self._recovering(lines, iter(records), log)
        except OSError as error:
            log.add(Problem(self.file, f"cannot be read: {error.strerror or error}"))

    def _recovering(
        self, lines: _Lines, records: Iterator[list[str]], log: ProblemLog
    ) -> Iterator[tuple[int, list[str]]]:
        while True:
            line = lines.number + 1
            try:
                cells = next(records)
            except StopIteration:
                return
            except _Unusable as error:
                log.add(Problem(self.file, str(error)))
                return
            except _BadLine as error:
                log.add(Problem(f"{self.file}:{lines.number}", str(error)))
                continue
            except csv.Error as error:
                log.add(Problem(f"{self.file}:{line}", _csv_fault(error)))
                continue
            if cells:
                yield line, cells


class _TabRecords:
    def __init__(self, lines: _Lines) -> None:
        self._lines = lines

    def __iter__(self) -> Iterator[list[str]]:
        return self

    def __next__(self) -> list[str]:
        line = next(self._lines).removesuffix("\n").removesuffix("\r")
        if "\r" in line:
            raise _BadLine("a carriage return inside the line; end lines with LF or CRLF")
        return line.split("\t") if line else []


def _tab_records(lines: _Lines) -> Iterator[list[str]]:
    return _TabRecords(lines)


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
