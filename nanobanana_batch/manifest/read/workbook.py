"""A sheet of an Excel workbook, row by row. No other file knows openpyxl, an extra loaded when needed.

A workbook is a ZIP file of XML: how much it unpacks to is looked at before any of it is read. Numbers become
the text that a person would write for them, which is part of what identifies a row.
"""

from __future__ import annotations

import datetime
import math
import re
import warnings
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import MAX_LINE, Unusable, control_fault
from nanobanana_batch.manifest.read.short_rows import ShortRows
from nanobanana_batch.manifest.read.table import CHANGED, Header, named_header, opened
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.problems import Places, ProblemLog
from nanobanana_batch.wording import closest, counted, shown

_NEEDS = "an Excel workbook needs openpyxl: `pip install 'nanobanana-batch[excel]'`"
_MOST_OF_TEXTS = 256 << 20
"""The texts of all sheets stand in one part, and are read into memory."""
_MOST_OF_A_PART = 1 << 30
_FEW_BYTES = 128 << 20
_MOST_SWOLLEN = 200
"""No text packs so well, except where it is little."""
_MOST_PARTS = 10_000
_MOST_COLUMNS = 1000
_MOST_ROWS = 1 << 20
"""A spreadsheet has no more, and of one that says so each would be made."""
_PIECE_BYTES = 1 << 20
_NOT_CALCULATED = re.compile(rb"(?:</f>|<f[^>]*/>)(?:<v\s*/>|<v></v>)?</c>")
_LONGEST_FORMULA_END = 1 << 10
_ERRORS = frozenset({"#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A"})
_PLACES = 5
_ESCAPE = re.compile("_x([0-9A-Fa-f]{4})_")
_TEXTS = "xl/sharedstrings.xml"


class Workbook:
    """One sheet: the first that is shown, or the one named; its first row with cells names the columns."""

    def __init__(self, path: Path, file: str, sheet: str | None = None) -> None:
        self.file = file
        self.row_prefix = f"{file} row "
        self._path = path
        self._sheet = sheet
        self._others: list[str] = []
        self._formulas = 0
        self._errors = Places(_PLACES)
        self._short = ShortRows(file)

    def header(self) -> Header:
        """The columns that the first row names."""
        try:
            with self._rows(counts_formulas=True) as rows:
                number, names = next(((n, cells) for n, cells in rows if any(cells)), (0, []))
        except Unusable as error:
            return Header(problems=(Problem(self.file, str(error)),))
        if not number:
            empty = Problem(self.file, "the sheet is empty; its first row has to name the columns")
            return Header(problems=(empty,))
        place = f"{self.row_prefix}{number}"
        header = named_header(self._short.named([name.strip() for name in names]), place)
        return replace(header, warnings=tuple(self._of_the_sheet()))

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int, list[str]]]:
        """The number of each row as the spreadsheet counts, and its cells."""
        try:
            with self._rows() as rows:
                number, first = next(((n, cells) for n, cells in rows if any(cells)), (1, []))
                self._short.begin([as_name(name.strip()) for name in first], f"{self.row_prefix}{number}")
                if self._short.names != list(names):
                    raise Unusable(CHANGED)
                self._errors = Places(_PLACES)
                for number, cells in rows:
                    cells += [""] * (len(first) - len(cells))
                    place = f"{self.row_prefix}{number}"
                    found = self._short.fitted(place, cells, log) if any(cells) else None
                    if found is None or not any(found):
                        continue
                    if not _ERRORS.isdisjoint(found):
                        self._errors.add(place)
                    fault = control_fault("\n".join(found))
                    if fault or max(map(len, found)) > MAX_LINE:
                        log.add(Problem(place, fault or f"a cell is longer than {MAX_LINE >> 20} MiB"))
                    else:
                        yield number, found
        except Unusable as error:
            log.add(Problem(self.file, str(error)))

    def notes(self) -> Iterator[str]:
        """A column without a name, and rows with a formula that has failed."""
        yield from self._short.notes()
        if self._errors.total:
            rows = counted(self._errors.total, "row")
            yield f"{rows} with an error of a formula, such as #REF!, which is taken as text: {self._errors}"

    def _of_the_sheet(self) -> Iterator[str]:
        if self._formulas:
            message = (
                f"{counted(self._formulas, 'cell')} with a formula that was never calculated give nothing"
            )
            yield str(
                Problem(self.file, f"{message}; open the workbook in a spreadsheet program and save it")
            )
        if self._others and self._sheet is None:
            names = ", ".join(map(shown, self._others[:10]))
            message = f"only its first sheet is read; `sheet:` of a YAML manifest names another: {names}"
            yield str(Problem(self.file, message))

    @contextmanager
    def _rows(self, *, counts_formulas: bool = False) -> Iterator[Iterator[tuple[int, list[str]]]]:
        try:
            from openpyxl import load_workbook
        except ImportError:
            raise Unusable(_NEEDS) from None
        try:
            with opened(self._path) as stream, warnings.catch_warnings():
                _refuse_swollen(zipfile.ZipFile(stream))
                warnings.simplefilter("ignore")  # of styles and the like, which give no text
                with closing(load_workbook(stream, read_only=True, data_only=True)) as book:
                    sheet = self._sheet_of(book)
                    if counts_formulas:
                        with sheet._get_source() as part:
                            self._formulas = _not_calculated(part)
                    yield self._cells(sheet)
        except Unusable:
            raise
        except OSError as error:
            raise Unusable(f"cannot be read: {error.strerror or error}") from error
        except Exception as error:  # openpyxl has no errors of its own for most that can be wrong
            said = str(error).partition("\n")[0]
            raise Unusable(f"damaged, or no Excel workbook: {said}") from error

    def _sheet_of(self, book: Any) -> Any:
        sheets = {sheet.title: sheet for sheet in book.worksheets}
        if not sheets:
            raise Unusable("the workbook has no sheet of cells")
        shown_first = sorted(sheets, key=lambda title: sheets[title].sheet_state != "visible")
        name = shown_first[0] if self._sheet is None else self._sheet
        if name not in sheets:
            near = closest(name, sheets)
            hint = f"did you mean {near!r}?" if near else f"it has {', '.join(map(shown, sheets))}"
            raise Unusable(f"there is no sheet {shown(name)}; {hint}")
        self._others = [each for each in sheets if each != name]
        return sheets[name]

    def _cells(self, sheet: Any) -> Iterator[tuple[int, list[str]]]:
        sheet.reset_dimensions()  # what a sheet says of its own size is often wrong
        for number, values in enumerate(sheet.iter_rows(values_only=True), 1):
            cells = [_text(value) for value in values]
            while cells and not cells[-1]:
                cells.pop()
            if number > _MOST_ROWS:
                raise Unusable(f"more than {_MOST_ROWS:,} rows; no spreadsheet has so many")
            if len(cells) > _MOST_COLUMNS:
                raise Unusable(f"{counted(len(cells), 'column')} in row {number}; at most {_MOST_COLUMNS}")
            yield number, cells


def _refuse_swollen(archive: zipfile.ZipFile) -> None:
    """Nothing is read of a workbook that would take much more memory than one of people does."""
    parts = archive.infolist()
    if len(parts) > _MOST_PARTS:
        raise Unusable(f"a workbook of {len(parts):,} parts; at most {_MOST_PARTS:,} are read")
    for part in parts:
        most = _MOST_OF_TEXTS if part.filename.lower() == _TEXTS else _MOST_OF_A_PART
        if part.file_size > most or part.file_size > max(_FEW_BYTES, _MOST_SWOLLEN * part.compress_size):
            size = f"{part.file_size >> 20:,} MiB in {part.compress_size >> 20:,}"
            raise Unusable(f"{shown(part.filename)} in it holds {size}; save the sheet as CSV (UTF-8)")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "" if math.isnan(value) else repr(value).removesuffix(".0")
    if isinstance(value, datetime.datetime):
        is_day = value.time() == datetime.time()
        return value.date().isoformat() if is_day else value.isoformat(" ")
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    # So a workbook writes what XML cannot hold, which often is a carriage return.
    return _unescaped(value).replace("\r\n", "\n") if isinstance(value, str) else str(value)


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda found: chr(int(found[1], 16)), text)


def _not_calculated(part: IO[bytes]) -> int:
    """How many cells of a sheet have a formula and no value; other programs than spreadsheets write such."""
    found, rest = 0, b""
    while piece := part.read(_PIECE_BYTES):
        text, end = rest + piece, 0
        for match in _NOT_CALCULATED.finditer(text):
            found, end = found + 1, match.end()
        rest = text[max(end, len(text) - _LONGEST_FORMULA_END) :]
    return found
