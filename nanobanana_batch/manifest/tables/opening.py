"""Which kind of table a file is, and what reads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from nanobanana_batch.manifest.tables.jsonl import JsonLines
from nanobanana_batch.manifest.tables.parquet import ParquetTable
from nanobanana_batch.manifest.tables.table import Table
from nanobanana_batch.manifest.tables.text import TextTable

_ENDINGS = {
    "csv": (".csv",),
    "tsv": (".tsv", ".tab"),
    "jsonl": (".jsonl", ".ndjson"),
    "parquet": (".parquet",),
}
_SPREADSHEETS = (".xlsx", ".xlsm", ".xlsb", ".xls", ".ods", ".numbers")
KINDS = tuple(_ENDINGS)
ENDINGS = tuple(ending for endings in _ENDINGS.values() for ending in endings)

_OPENERS: dict[str, Callable[[Path, str], Table]] = {
    "csv": lambda path, file: TextTable(path, file, tabs=False),
    "tsv": lambda path, file: TextTable(path, file, tabs=True),
    "jsonl": JsonLines,
    "parquet": ParquetTable,
}


def kind_of(name: str) -> str | None:
    """The kind of table that a file of this name is; `None` when its ending does not say."""
    lower = name.lower()
    return next((kind for kind, endings in _ENDINGS.items() if lower.endswith(endings)), None)


def export_hint(name: str) -> str:
    """What to do with a spreadsheet, which is read by what makes it; nothing for other files."""
    is_spreadsheet = name.lower().endswith(_SPREADSHEETS)
    return "save it as CSV (UTF-8) in the spreadsheet program" if is_spreadsheet else ""


def open_table(path: Path, file: str, kind: str) -> Table:
    """The table at this path, called `file` in messages; nothing is read yet."""
    return _OPENERS[kind](path, file)
