"""A list of values from a file: the lines of a text, a YAML list, or one column of a table; nothing else.

A file of another kind read as lines would make paid rows of its syntax.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.read.encoding import Unusable, sound_lines
from nanobanana_batch.manifest.read.lines import Remarks
from nanobanana_batch.manifest.read.nodes import Scalar, Seq, place
from nanobanana_batch.manifest.read.origin import YAML_ENDINGS, kind_of, open_table
from nanobanana_batch.manifest.read.reach import Reach
from nanobanana_batch.manifest.read.table import opened
from nanobanana_batch.manifest.read.yaml_file import read_root
from nanobanana_batch.manifest.words.template import as_text
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import closest, counted, shown

_NAMED_BY_A_ROW = ("csv", "tsv", "xlsx")
MAX_VALUES = 1_000_000
MAX_LIST_BYTES = 16 << 20
_KINDS = "a list has one value a line (.txt), or is a YAML list, or a column of a table (`column:`)"
Items = list[tuple[str, str]]
"""Values with their places."""


@dataclass(slots=True)
class ValueList:
    """The values of a file, what is wrong with it, and what of it is not used."""

    items: Items = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    remark: str = ""
    """What was left out as it was meant to be."""


def read_values(
    path: Path,
    file: str,
    reach: Reach,
    *,
    called: str = "",
    column: str = "",
    sheet: str | None = None,
    may_repeat: bool = False,
) -> ValueList:
    """The values of a file, by what its name says that it is; `called` is what they are values of."""
    found = ValueList()
    kind = kind_of(file)
    if file.lower().endswith(YAML_ENDINGS):
        items: Iterator[tuple[str, str]] = _of_yaml(path, file, found)
    elif kind == "txt" or (kind is None and not PurePath(file).suffix):
        items = _of_lines(path, file, found)
    elif kind is None:
        found.problems.append(Problem(file, f"{_KINDS}; rename it, if it is one"))
        return found
    else:
        items = _of_column(path, file, kind, called, column, sheet, reach, found)
    if column and kind in (None, "txt"):
        found.problems.append(Problem(file, f"it has no columns, so there is no {shown(column)}"))
    _take(file, items, found, may_repeat=may_repeat)
    return found


def _take(file: str, items: Iterator[tuple[str, str]], found: ValueList, *, may_repeat: bool) -> None:
    seen: set[str] = set()
    repeated = 0
    for text, at in items:
        if text in seen and not may_repeat:
            repeated += 1
        elif any(ord(char) < 32 for char in text):
            found.problems.append(Problem(at, "a control character is not allowed"))
        elif len(found.items) >= MAX_VALUES:
            found.problems.append(Problem(file, f"more than {MAX_VALUES:,} values"))
            return
        else:
            seen.add(text)
            found.items.append((text, at))
    if repeated:
        values = f"{counted(repeated, 'value')} that {'stands' if repeated == 1 else 'stand'} there already"
        found.notes.append(str(Problem(file, f"{values} {'is' if repeated == 1 else 'are'} left out")))
    if not found.items and not found.problems:
        found.problems.append(Problem(file, "the list is empty"))


def _of_lines(path: Path, file: str, found: ValueList) -> Iterator[tuple[str, str]]:
    remarks, size = Remarks(), 0
    try:
        with opened(path) as stream:
            for number, line in sound_lines(stream, file, found.problems.append):
                size += len(line)
                if size > MAX_LIST_BYTES:
                    found.problems.append(Problem(file, f"larger than {MAX_LIST_BYTES >> 20} MiB"))
                    return
                if text := remarks.bare(line):
                    yield text, f"{file}:{number}"
    except (OSError, Unusable) as error:
        said = getattr(error, "strerror", None) or error
        found.problems.append(Problem(file, f"cannot be read: {said}"))
    found.remark = str(remarks)


def _of_yaml(path: Path, file: str, found: ValueList) -> Iterator[tuple[str, str]]:
    root, problems = read_root(path, file)
    found.problems.extend(problems)
    if root is None:
        return
    if not isinstance(root, Seq):
        found.problems.append(Problem(place(file, root.pos), "expected a list: `- ink`, `- photo`"))
        return
    for item in root.items:
        if isinstance(item, Scalar) and item.text:
            yield item.text, place(file, item.pos)
        else:
            found.problems.append(Problem(place(file, item.pos), "expected a text"))


def _of_column(
    path: Path,
    file: str,
    kind: str,
    called: str,
    column: str,
    sheet: str | None,
    reach: Reach,
    found: ValueList,
) -> Iterator[tuple[str, str]]:
    table = open_table(path, file, kind, reach, sheet)
    header = table.header()
    found.problems.extend(header.problems)
    if header.problems:
        return
    usable = [n for i, n in enumerate(header.names) if i not in header.others and i not in header.lists]
    inner = [path for path, is_list in header.inner.items() if not is_list]
    if not column and len(usable) == 1:
        column = usable[0]
        if kind in _NAMED_BY_A_ROW and column != called:
            message = f"its first row names the column, and is no value; `column: {column}` says so"
            found.notes.append(str(Problem(file, message, column)))
    if column not in usable and column not in inner:
        near = closest(column, (*usable, *inner)) if column else ""
        said = f"no column {shown(column)}" if column else "`column:` says which column holds the values"
        found.problems.append(Problem(file, said, allowed=tuple(usable), suggestion=near))
        return
    log = ProblemLog()
    index = header.names.index(column) if column in usable else len(header.names)
    chosen = () if column in usable else (column,)
    for number, cells in table.rows(header.names, log, chosen):
        if text := as_text(cells[index]).strip():
            yield text, f"{table.row_prefix}{number}"
    found.problems.extend(log)
    found.notes.extend(table.notes())
