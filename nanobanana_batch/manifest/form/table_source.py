"""A table as a source of rows: its columns under our names, and only the rows that are wanted."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from operator import itemgetter

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.manifest.form.block import Block, Given, ListedRows, Source, SourceRow
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.form.template_uses import names_asked_for
from nanobanana_batch.manifest.form.where import Condition, read_where
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, place
from nanobanana_batch.manifest.read.origin import ENDINGS, export_hint, kind_of, open_table
from nanobanana_batch.manifest.read.table import Header, Table
from nanobanana_batch.manifest.words.names import (
    IN_A_MAPPED_TABLE,
    IN_A_TABLE,
    ROW_NAMES,
    as_name,
    name_fault,
    not_sent,
)
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.wording import closest, shown

_TAKEN = "texts, numbers, booleans, dates or lists of texts"


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table under our own names."""

    table: Table
    header: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    where: tuple[tuple[int, Condition], ...] = ()
    """Columns, and what they must have."""

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each one that passes `where`; an empty cell gives nothing."""
        prefix, columns, where = self.table.row_prefix, self.columns, self.where
        for number, cells in self.table.rows(self.header, log):
            # Each one is asked, to know of each what rows have.
            held = [condition.holds(cells[index]) for index, condition in where]
            if not all(held):
                continue
            values = {
                name: cell
                for name, index in columns
                if (cell := cells[index]) and (isinstance(cell, tuple) or not cell.isspace())
            }
            yield SourceRow(f"{prefix}{number}", values, literal_prompt=True)

    def idle(self) -> Iterator[tuple[str, str]]:
        """What `where` asks for and no row has, by place; known once all rows were read."""
        return itertools.chain.from_iterable(condition.idle(self.table.file) for _, condition in self.where)


def whole_table(form: Form, table: Table) -> tuple[tuple[str, ...], list[Block]]:
    """The variables and the block of a manifest that is a table; no block when it cannot be read."""
    header = table.header()
    form.log.extend(header.problems)
    if not _is_usable(form, table.file, header, ()):
        return (), []
    columns = _columns(form, header, {}, header.places.__getitem__, IN_A_TABLE)
    variables = tuple(name for name in columns if name not in ROW_NAMES)
    for name in variables:
        fault = "" if name in form.declared else not_sent(name, form.extras)
        if fault:
            form.warnings.append(str(Problem(header.places[columns[name]], fault, name)))
    rows = _rows(form, table, header, columns)
    names, row_names = frozenset(variables), frozenset(columns)
    return variables, [Block(rows, {}, templated=False, names=names, row_names=row_names)]


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
    asked = form.texts("columns", entries)
    if _refuse_turned_round(form, asked, header.names):
        return nothing
    mapping = {name: item for name, item in asked.items() if form.sound_name(name, item.pos)}
    if not _is_usable(form, table.file, header, _named(entries, defaults, mapping)):
        return nothing
    columns = _columns(form, header, mapping, lambda _: place(form.file, node.pos), IN_A_MAPPED_TABLE)
    for index, name in enumerate(columns):
        form.name(name, node.pos, index)
    if "prompt" in columns and "prompt" in defaults:
        message = "the table gives prompts, and so does a template; map the column to another name:"
        example = '`columns: {text: prompt}` with `prompt: "{text}, in ink"`'
        form.note(pos, f"{message} {example}", "prompt")
    rows = _rows(form, table, header, columns)
    known = {**{name: index for index, name in enumerate(header.names)}, **columns}
    where = read_where(
        form,
        entries,
        known,
        lambda name: Finding("where", f"no column {shown(name)}", tuple(known), closest(name, known)),
    )
    return replace(rows, where=where), list(columns)


def _refuse_turned_round(form: Form, asked: Mapping[str, Scalar], header: Collection[str]) -> bool:
    found = False
    for name, item in asked.items():
        ours = as_name(item.text or "")
        if name in header and ours not in header:
            found = True
            message = f"no column {shown(ours)}; our name stands first, then the table's"
            form.note(item.pos, message, "columns", f"{ours}: {name}")
    return found


def _named(entries: Entries, defaults: Mapping[str, Given], mapping: Mapping[str, Scalar]) -> set[str]:
    """The columns that `columns`, `where` or a template of the block names."""
    mapped = {as_name(item.text or "") for item in mapping.values()}
    where = entries["where"][1] if "where" in entries else None
    filtered = set(where.entries) if isinstance(where, Map) else set()
    return mapped | ((filtered | names_asked_for(entries, defaults)) - set(mapping))


def _table(form: Form, pos: int, node: Node) -> Table | None:
    if not isinstance(node, Scalar) or not node.text or "\0" in node.text:
        form.note(pos, "expected the path of a table, such as prompts.csv", "table")
        return None
    file = node.text
    kind = kind_of(file)
    if kind is None:
        export = export_hint(file)
        what = f"is a spreadsheet; {export}" if export else f"is no table; they end in {' '.join(ENDINGS)}"
        form.note(node.pos, f"{shown(file)} {what}", "table")
        return None
    if not form.is_there("table", node):
        return None
    return open_table(form.folder / file, file, kind)


def _is_usable(form: Form, file: str, header: Header, named: Collection[str]) -> bool:
    """Whether each column that is needed can be had; others of which no text can be made are left out."""
    problems, warnings = list(header.problems), list(header.warnings)
    for index, kind in header.others.items():
        name, of_kind = header.names[index], f"a column of type {shown(kind)}"
        needed = f"{of_kind}; one that is used holds {_TAKEN}"
        if name in named or name in ROW_NAMES:
            problems.append(Problem(file, needed, name))
        elif name_fault(name, form.meant):
            hint = "to go without it, list it under `variables` (tables: `--variables`)"
            problems.append(Problem(file, f"{needed}; {hint}", name))
        else:
            warnings.append(str(Problem(file, f"{of_kind}, which gives no text, is left out", name)))
    form.log.extend(problems[len(header.problems) :])
    if not problems:
        form.warnings.extend(warning for warning in warnings if warning not in form.warnings)
    return not problems


def _columns(
    form: Form, header: Header, mapping: Mapping[str, Scalar], at: Callable[[int], str], if_meant: str
) -> dict[str, int]:
    """Our names with the columns that give them, in header order; `at` is where a column is told of."""
    columns = {name: index for index, name in enumerate(header.names) if index not in header.others}
    found: dict[str, int] = {}
    mapped = {as_name(item.text or "") for item in mapping.values()}
    for name, item in mapping.items():
        column = as_name(item.text or "")
        if column in columns:
            found[name] = columns[column]
        else:
            names = header.names
            form.finding(
                item.pos, Finding("columns", f"no column {shown(column)}", names, closest(column, names))
            )
    for name, index in columns.items():
        if name in mapped:
            continue
        if name in mapping:
            message = f"{name!r} is a column of the table, and another is mapped to this name; map it too"
            form.note(mapping[name].pos, message, "columns")
        fault = name_fault(name, form.meant, if_meant)
        if fault:
            form.log.add(fault.at(at(index)))
        else:
            found[name] = index
    return dict(sorted(found.items(), key=itemgetter(1)))


def _rows(form: Form, table: Table, header: Header, columns: Mapping[str, int]) -> TableRows:
    """The rows under our names; lists are refused under other names than images."""
    for name, index in columns.items():
        if index in header.lists and name != "images":
            form.log.add(Problem(header.lists[index], "a list; only `images` may be one", name))
    return TableRows(table, header.names, tuple(columns.items()))
