"""A table as a source of rows: its columns under our names, and only the rows that are wanted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from nanobanana_batch.catalog import Finding, closest, shown
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.block import Given, ListedRows, Source, SourceRow
from nanobanana_batch.manifest.forms import Entries, Form
from nanobanana_batch.manifest.nodes import Node, Scalar
from nanobanana_batch.manifest.sources import table_columns
from nanobanana_batch.manifest.tables import ENDINGS, Header, Table, kind_of, open_table
from nanobanana_batch.problems import ProblemLog


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table under our own names."""

    table: Table
    header: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    where: tuple[tuple[int, frozenset[str]], ...] = ()

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each one that passes `where`; an empty cell gives nothing."""
        prefix, columns, where = self.table.row_prefix, self.columns, self.where
        for number, cells in self.table.rows(self.header, log):
            if where and any(cells[index] not in wanted for index, wanted in where):
                continue
            values = {
                name: cell
                for name, index in columns
                if (cell := cells[index]) and (isinstance(cell, tuple) or not cell.isspace())
            }
            yield SourceRow(f"{prefix}{number}", values, literal_prompt=True)


def table_rows(table: Table, header: Header, columns: Mapping[str, int], log: ProblemLog) -> TableRows:
    """The rows of a table whose columns have our names; lists are refused under other names than images."""
    for name, index in columns.items():
        if index in header.lists and name != "images":
            message = "a list; only `images` may be one"
            log.add(Problem(header.lists[index], message, name))
    return TableRows(table, header.names, tuple(columns.items()))


def read_table(
    form: Form, entries: Entries, defaults: Mapping[str, Given]
) -> tuple[Source, list[str] | None]:
    """The rows of a block's `table` and the names that they give; `None` when it cannot be read."""
    pos, node = entries["table"]
    nothing = ListedRows(form.file, ()), None
    table = _table(form, pos, node)
    if table is None:
        return nothing
    header = table.header()
    form.log.extend(header.problems)
    mapping = {
        name: item for name, item in form.texts("columns", entries).items() if form.sound_name(name, item.pos)
    }
    if header.problems:
        return nothing
    columns, findings = table_columns(header.names, mapping, form.declared)
    for finding, cause in findings:
        form.finding(cause.pos if isinstance(cause, Scalar) else node.pos, finding)
    for index, name in enumerate(columns):
        form.name(name, node.pos, index)
    if "prompt" in columns and "prompt" in defaults:
        message = "the table gives prompts, and so does a template; map the column to another name:"
        example = '`columns: {text: prompt}` with `prompt: "{text}, in ink"`'
        form.note(pos, f"{message} {example}", "prompt")
    rows = table_rows(table, header, columns, form.log)
    return replace(rows, where=_where(form, entries, header.names, columns)), list(columns)


def _table(form: Form, pos: int, node: Node) -> Table | None:
    if not isinstance(node, Scalar) or not node.text or "\0" in node.text:
        form.note(pos, "expected the path of a table, such as prompts.csv", "table")
        return None
    file = node.text
    kind = kind_of(file)
    if kind is None:
        form.note(node.pos, f"{shown(file)} is no table; they end in {' '.join(ENDINGS)}", "table")
        return None
    if not form.is_there("table", node):
        return None
    return open_table(form.folder / file, file, kind)


def _where(
    form: Form, entries: Entries, header: Sequence[str], columns: Mapping[str, int]
) -> tuple[tuple[int, frozenset[str]], ...]:
    places = {**{name: index for index, name in enumerate(header)}, **columns}
    found = []
    for name, (pos, wanted) in form.choices("where", entries).items():
        if name in places:
            found.append((places[name], wanted))
        else:
            finding = Finding("where", f"no column {shown(name)}", tuple(places), closest(name, places))
            form.finding(pos, finding)
    return tuple(found)
