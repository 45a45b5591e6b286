"""Rows that come from Python become a manifest like one that is piped in: lines of JSON in a temporary file.

So they are read, checked and known again as those of a file are: the same rows have the same keys.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from nanobanana_batch.api.cells import NoCell, plain
from nanobanana_batch.errors import Problem, UsageError
from nanobanana_batch.file_names import id_fault
from nanobanana_batch.files.temporary_file import temporary_file
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import shown

if TYPE_CHECKING:
    import pandas

    Manifest = str | os.PathLike[str] | Iterable[Mapping[str, Any] | str] | pandas.DataFrame
    """A file, rows as dicts, prompts as texts, or a table of pandas."""

_CALLED = "rows"
_NO_PLACE = "Rows that come from no file name no output folder."


@dataclass(frozen=True, slots=True)
class Given:
    """A manifest, where it can be read again and again."""

    path: Path
    spool: Path | None = None
    kind: str | None = None
    """None: as its name or its content says."""
    called: str = ""
    """Its name, where it comes from no file."""


@contextmanager
def given_manifest(manifest: Manifest, name: str | None, *, has_place: bool) -> Iterator[Given]:
    """For the length of the block it can be read. `has_place`: an output folder was given.

    Raises:
        ManifestError: rows hold what can be no cell; all of it is listed.
        UsageError: it is no manifest, or nothing says where the output belongs.
    """
    if isinstance(manifest, str | os.PathLike):
        from nanobanana_batch.manifest.read.origin import spooled

        if name is not None:
            raise UsageError(
                "name= is for rows that come from no file.", hint="Give a folder with out=, or name the file."
            )
        path = Path(manifest)
        with spooled(path) as spool:
            yield Given(path, spool)
        return
    if name is None and not has_place:
        raise UsageError(_NO_PLACE, hint='Give one with out="outputs/mine", or a name with name="mine".')
    if fault := id_fault(name) if name is not None else "":
        raise UsageError(f"{shown(str(name))} cannot name an output folder: {fault}.")
    called = name or _CALLED
    with ExitStack() as files:
        with _kept():
            spool_file = files.enter_context(temporary_file())
        _write(_rows_of(manifest), called, spool_file)
        with _kept():
            spool_file.flush()
        yield Given(Path(called), Path(spool_file.name), "jsonl", called)


@contextmanager
def _kept() -> Iterator[None]:
    """What goes wrong where the rows are kept; what goes wrong where they come from is the caller's own."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"The rows cannot be kept: {error.strerror or error}.",
            hint="They go into a temporary file, where TMPDIR says.",
        ) from error


def _write(rows: Iterable[Any], called: str, file: IO[bytes]) -> None:
    problems, number = ProblemLog(called), 0
    for number, row in enumerate(rows, 1):
        cells = _cells(row, f"{called}:{number}", problems)
        with _kept():
            file.write(json.dumps(cells, ensure_ascii=False).encode() + b"\n")
    problems.raise_if_any()
    if not number:
        raise UsageError(f"{called} has no rows; there is nothing to make.")


def _cells(row: Any, place: str, problems: ProblemLog) -> dict[str, Any]:
    if isinstance(row, str):
        row = {"prompt": row}
    if not isinstance(row, Mapping):
        message = f"a row is a dict, or the text of a prompt; this is of the type {type(row).__name__}"
        problems.add(Problem(place, message))
        return {}
    cells = {}
    for name, value in row.items():
        try:
            if not isinstance(name, str):
                raise NoCell(f"the name of a column is a text, and not {name!r}")
            plain(name)
            cells[name] = plain(value)
        except NoCell as error:
            problems.add(Problem(place, str(error), name if isinstance(name, str) else ""))
    return cells


def _rows_of(manifest: Any) -> Iterable[Any]:
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(manifest, pandas.DataFrame):
        return _rows_of_table(manifest)
    if isinstance(manifest, Mapping):
        raise UsageError("One dict is no manifest.", hint="Give a list of them, one for each row.")
    if isinstance(manifest, bytes | bytearray) or not isinstance(manifest, Iterable):
        raise UsageError(
            f"What is of the type {type(manifest).__name__} is no manifest: a file, a list of dicts or of"
            " texts, or a pandas.DataFrame is one."
        )
    return manifest


def _rows_of_table(table: pandas.DataFrame) -> Iterator[dict[Any, Any]]:
    """Each row by its columns; the index is none of them."""
    names = list(table.columns)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise UsageError(f"The table has two columns {twice!r}; rename one.")
    # Values of numpy stay what they are: as Python's own a float32 of 0.1 is another number.
    cells = [table[name].array for name in names]
    return (dict(zip(names, row, strict=True)) for row in zip(*cells, strict=True))
