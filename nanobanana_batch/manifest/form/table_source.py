"""A table as a source of rows: its columns under our names, and only the rows that are wanted."""

from __future__ import annotations

import itertools
import os
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from nanobanana_batch.catalog import Finding
from nanobanana_batch.errors import Problem
from nanobanana_batch.files.kept_pictures import pictures_folder
from nanobanana_batch.manifest.form.block import Block, Given, ListedRows, Source, SourceRow
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.form.template_uses import names_asked_for
from nanobanana_batch.manifest.form.where import Condition, read_where
from nanobanana_batch.manifest.read.delimited import TextTable
from nanobanana_batch.manifest.read.folders import PictureFolder
from nanobanana_batch.manifest.read.lines import TextLines
from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, place
from nanobanana_batch.manifest.read.origin import ENDINGS, PROMPTS, SHEETS, kind_of, no_table, open_table
from nanobanana_batch.manifest.read.table import Header, Table
from nanobanana_batch.manifest.words.names import (
    IN_A_MAPPED_TABLE,
    IN_A_TABLE,
    ROW_NAMES,
    as_name,
    field_written_otherwise,
    name_fault,
    not_sent,
    perhaps_meant,
)
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import HeldProblems, ProblemLog
from nanobanana_batch.wording import closest, shown

_COLUMNS_TOLD = 8
_ROWS_AT_ONCE = 1000
_TAKEN = "texts, numbers, booleans, dates or lists of texts"


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table under our own names."""

    table: Table
    header: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    inner: tuple[str, ...] = ()
    """What is taken from inside of columns; stands behind the header's cells."""
    where: tuple[tuple[int, Condition], ...] = ()
    """Columns, and what they must have."""
    offered: tuple[str, ...] = ()
    """What may be named of it, also inside of columns."""

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each one that passes `where`; an empty cell gives nothing."""
        return itertools.starmap(self.row, self.cells(log))

    def cells(self, log: ProblemLog) -> Iterator[tuple[str, Sequence[Value]]]:
        """The place and the cells of each row that passes `where`."""
        prefix, where = self.table.row_prefix, self.where
        for number, cells in self.table.rows(self.header, log, self.inner):
            if where:
                # Each one is asked, to know of each what rows have.
                held = [condition.holds(cells[index]) for index, condition in where]
                if not all(held):
                    continue
            yield f"{prefix}{number}", cells

    def groups(self, log: ProblemLog) -> Iterator[list[tuple[str, Sequence[Value]]]]:
        """The same, many at once; a problem with what is between two rows is told between their groups."""
        held, found = HeldProblems(log), list[tuple[str, Sequence[Value]]]()
        for row in self.cells(held):
            if held.are_waiting or len(found) == _ROWS_AT_ONCE:
                yield found
                held.tell()
                found = []
            found.append(row)
        yield found
        held.tell()

    def row(self, source: str, cells: Sequence[Value]) -> SourceRow:
        """What these cells give."""
        values = {
            name: cell
            for name, index in self.columns
            if (cell := cells[index]) and (isinstance(cell, tuple) or not cell.isspace())
        }
        return SourceRow(source, values, literal_prompt=True)

    def most_rows(self) -> int | None:
        """A number that they do not exceed, where one is found fast."""
        return self.table.most_rows() if isinstance(self.table, TextTable | TextLines) else None

    def idle(self) -> Iterator[tuple[str, str]]:
        """What `where` asks for and no row has, and how rows were read, by place; known once all were."""
        yield from itertools.chain.from_iterable(c.idle(self.table.file) for _, c in self.where)
        yield from ((note, note) for note in self.table.notes())


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of a table: its columns under other names, and what else names one."""

    columns: Mapping[str, Wish]
    named: Collection[str] = ()
    """By `where`, a template or an entry."""
    kept: Collection[str] = ()
    """Fields for which no column is taken that does not bear exactly their name."""
    way: str = IN_A_TABLE
    mapping: str = "`--columns {ours}={theirs}`"
    """How a person says which column is which of ours."""

    def how(self, ours: str, theirs: str) -> str:
        """What to write to have this column under this name."""
        return self.mapping.replace("{ours}", ours).replace("{theirs}", shlex.quote(theirs))


@dataclass(frozen=True, slots=True)
class Wish:
    """A column that is asked for, and where."""

    column: str
    place: str


@dataclass(frozen=True, slots=True)
class Taken:
    """Our names with the columns that give them, in header order, and then what is inside of columns."""

    columns: Mapping[str, int]
    inner: tuple[str, ...]


def whole_table(
    form: Form, table: Table, columns: Mapping[str, str], id_template: str
) -> tuple[tuple[str, ...], list[Block]]:
    """The variables and the block of a manifest that is a table; no block when it cannot be read."""
    header = table.header()
    form.log.extend(header.problems)
    asked = Asked({as_name(ours): Wish(as_name(theirs), "--columns") for ours, theirs in columns.items()})
    for ours in asked.columns:
        if wrong := name_fault(ours, form.meant):
            form.log.add(wrong.at("--columns"))
    if not _is_usable(form, table.file, header, asked):
        return (), []
    taken = _taken(form, table.file, header, asked, header.places.__getitem__)
    variables = tuple(name for name in taken.columns if name not in ROW_NAMES)
    for name in variables:
        fault = "" if name in form.declared else not_sent(name, form.extras)
        if fault:
            at = taken.columns[name]
            place = header.places[at] if at < len(header.places) else table.file
            form.warnings.append(str(Problem(place, fault, name)))
    rows = _rows(form, table, header, taken)
    names, row_names = frozenset(variables), frozenset(taken.columns)
    template = form.template(id_template, "--id", "id", names) if id_template else None
    block = Block(
        rows, {}, templated=False, names=names, row_names=row_names, id_template=template, id_place="--id"
    )
    return variables, [block]


def read_table(
    form: Form, entries: Entries, defaults: Mapping[str, Given]
) -> tuple[Source, list[str] | None]:
    """The rows of a block's `table` and the names that they give; `None` when it cannot be read."""
    pos, node = entries["table" if "table" in entries else "images_from"]
    nothing = ListedRows(form.file, ()), None
    table = _table(form, entries, pos, node) if "table" in entries else _pictures(form, node)
    if table is None:
        return nothing
    header = table.header()
    form.log.extend(header.problems)
    mapped = form.texts("columns", entries)
    if _refuse_turned_round(form, mapped, (*header.names, *header.inner)):
        return nothing
    wishes = {
        name: Wish(as_name(item.text or ""), place(form.file, item.pos))
        for name, item in mapped.items()
        if form.sound_name(name, item.pos)
    }
    asked = Asked(
        wishes,
        _named(entries, defaults, wishes),
        {"prompt", "images"} & defaults.keys(),
        IN_A_MAPPED_TABLE,
        "`columns: {{ours}: {theirs}}`",
    )
    if not _is_usable(form, table.file, header, asked):
        return nothing
    taken = _taken(form, table.file, header, asked, lambda _: place(form.file, node.pos))
    for index, name in enumerate(taken.columns):
        form.name(name, node.pos, index)
    if "prompt" in taken.columns and "prompt" in defaults:
        message = "the table gives prompts, and so does a template; map the column to another name:"
        example = '`columns: {text: prompt}` with `prompt: "{text}, in ink"`'
        form.note(pos, f"{message} {example}", "prompt")
    rows = _rows(form, table, header, taken)
    known = {**{name: index for index, name in enumerate(header.names)}, **taken.columns}
    where = read_where(
        form,
        entries,
        known,
        lambda name: Finding("where", f"no column {shown(name)}", tuple(known), closest(name, known)),
    )
    return replace(rows, where=where), list(taken.columns)


def _refuse_turned_round(form: Form, asked: Mapping[str, Scalar], header: Collection[str]) -> bool:
    found = False
    for name, item in asked.items():
        ours = as_name(item.text or "")
        if name in header and ours not in header:
            found = True
            message = f"no column {shown(ours)}; our name stands first, then the table's"
            form.note(item.pos, message, "columns", f"{ours}: {name}")
    return found


def _named(entries: Entries, defaults: Mapping[str, Given], wishes: Mapping[str, Wish]) -> set[str]:
    """The columns that `where` or a template of the block names."""
    where = entries["where"][1] if "where" in entries else None
    filtered = set(where.entries) if isinstance(where, Map) else set()
    return (filtered | names_asked_for(entries, defaults)) - set(wishes)


def _table(form: Form, entries: Entries, pos: int, node: Node) -> Table | None:
    if not isinstance(node, Scalar) or not node.text or "\0" in node.text:
        form.note(pos, "expected the path of a table, such as prompts.csv", "table")
        return None
    file = node.text
    kind = kind_of(file) or (PROMPTS if os.path.isdir(form.folder / file) else None)
    if kind is None:
        what = no_table(file) or f"is no table; they end in {' '.join(ENDINGS)}"
        form.note(node.pos, f"{shown(file)} {what}", "table")
        return None
    if not form.is_there("table", node):
        return None
    return open_table(form.folder / file, file, kind, form.reach, _sheet(form, entries, file))


def _pictures(form: Form, node: Node) -> Table | None:
    text = node.text if isinstance(node, Scalar) else None
    if not text or "\0" in text:
        message = "expected a folder of pictures, or a pattern such as photos/*.jpg"
        form.note(node.pos, message, "images_from")
        return None
    table = PictureFolder(form.folder, text)
    root = Scalar(node.pos, table.root or ".")
    return table if form.is_there("images_from", root) else None


def _sheet(form: Form, entries: Entries, file: str) -> str | None:
    """The sheet of a workbook that is asked for; `None` for the first."""
    if "sheet" not in entries:
        return None
    pos, node = entries["sheet"]
    text = node.text if isinstance(node, Scalar) else None
    if not text:
        form.note(node.pos, "expected the name of a sheet", "sheet")
    elif not file.lower().endswith(SHEETS):
        form.note(pos, f"{shown(file)} has no sheets; an Excel workbook has", "sheet")
    return text


def _is_usable(form: Form, file: str, header: Header, asked: Asked) -> bool:
    """Whether each column that is needed can be had; others of which no text can be made are left out."""
    problems = list(header.problems)
    wanted = {wish.column: ours for ours, wish in asked.columns.items()}
    named = {*wanted, *asked.named}
    left: list[tuple[str, str]] = []
    for index, name in enumerate(header.names):
        kind = header.others.get(index)
        if kind is None and index not in header.lists:
            continue
        ours = wanted.get(name, name)
        if ours == "images" and (index in header.lists or name in header.pictures):
            continue
        if name in named or _is_needed(name, asked):
            problems.append(_of_no_text(file, header, index, ours, asked))
        elif not any(_is_in(column, name) for column in named):
            left.append((name, kind or "list"))
    form.log.extend(problems[len(header.problems) :])
    if problems:
        return False
    said = [*header.warnings, *_left_out(file, header, left, asked)]
    form.warnings.extend(warning for warning in said if warning not in form.warnings)
    return True


def _is_needed(name: str, asked: Asked) -> bool:
    """Whether a column of this name gives a field that no other one gives."""
    field = name if name in ROW_NAMES else field_written_otherwise(name)
    return field in ROW_NAMES and field not in asked.columns and field not in asked.kept


def _of_no_text(file: str, header: Header, index: int, ours: str, asked: Asked) -> Problem:
    name = header.names[index]
    inside = next((path for path, is_list in header.inner.items() if _is_in(path, name) and not is_list), "")
    way = f"; {asked.how(ours, inside)} reaches in" if inside else ""
    if index in header.lists:
        return Problem(header.lists[index], f"a list; only `images` may be one{way}", name)
    kind = header.others[index]
    return Problem(file, f"a column of type {shown(kind)}; one that is used holds {_TAKEN}{way}", name)


def _left_out(file: str, header: Header, left: list[tuple[str, str]], asked: Asked) -> Iterator[str]:
    """One warning, of however many columns."""
    names = {name for name, _ in left}
    inside = next((path for path in header.inner if any(_is_in(path, name) for name in names)), "")
    way = f"; {asked.how('NAME', inside)} reaches in" if inside else ""
    if len(left) == 1:
        name, kind = left[0]
        if name in header.pictures:
            way = f"; {asked.how('images', name)} makes reference images of it"
        message = f"a column of type {shown(kind)}, which gives no text, is left out{way}"
        yield str(Problem(file, message, name))
    elif left:
        told = ", ".join(f"{name} ({kind})" for name, kind in left[:_COLUMNS_TOLD])
        more = ", …" if len(left) > _COLUMNS_TOLD else ""
        yield str(Problem(file, f"columns that give no text are left out: {told}{more}{way}"))


def _is_in(path: str, name: str) -> bool:
    return path.startswith(f"{name}.")


def _taken(form: Form, file: str, header: Header, asked: Asked, at: Callable[[int], str]) -> Taken:
    """What each of our names is given by; `at` is where a column is told of."""
    giving = {
        name: index
        for index, name in enumerate(header.names)
        if index not in header.others and index not in header.lists
    }
    lists = {header.names[index]: index for index in header.lists}
    inner: dict[str, int] = {}
    found: dict[str, int] = {}
    for ours, wish in asked.columns.items():
        index = _index_of(wish.column, ours, giving, lists, header, inner)
        if index is not None:
            found[ours] = index
            _lend(form, header, wish.column)
        elif wish.column in header.inner:
            form.log.add(
                Finding("columns", f"{shown(wish.column)} is a list; only `images` may be one").at(wish.place)
            )
        else:
            names = (*header.names, *header.inner)
            near = closest(wish.column, names)
            finding = Finding("columns", f"no column {shown(wish.column)}", header.names, near)
            form.log.add(finding.at(wish.place))
    for name in sorted(set(asked.named) & set(header.inner)):
        found[name] = inner.setdefault(name, len(header.names) + len(inner))
    mapped = {wish.column for wish in asked.columns.values()}
    if "images" not in mapped | asked.columns.keys():
        index = _index_of("images", "images", {}, lists, header, inner)
        if index is not None:
            found["images"] = index
            _lend(form, header, "images")
    rest = {name: index for name, index in giving.items() if name not in mapped}
    for name in rest:
        if name in asked.columns:
            message = f"{name!r} is a column of the table, and another is mapped to this name; map it too"
            form.log.add(Problem(asked.columns[name].place, message, "columns"))
    _take_rest(form, file, rest, found, asked, at)
    return Taken(dict(sorted(found.items(), key=itemgetter(1))), tuple(inner))


def _lend(form: Form, header: Header, column: str) -> None:
    """The pictures of a column stand in a folder of ours."""
    if column in header.pictures and (folder := pictures_folder()):
        form.reach.lend(folder)


def _index_of(
    column: str,
    ours: str,
    giving: Mapping[str, int],
    lists: Mapping[str, int],
    header: Header,
    inner: dict[str, int],
) -> int | None:
    if column in giving:
        return giving[column]
    if column in header.pictures and ours == "images":
        column = header.pictures[column]
    if column in lists and ours == "images":
        return lists[column]
    if column in header.inner and (ours == "images" or not header.inner[column]):
        return inner.setdefault(column, len(header.names) + len(inner))
    return None


def _take_rest(
    form: Form,
    file: str,
    rest: Mapping[str, int],
    found: dict[str, int],
    asked: Asked,
    at: Callable[[int], str],
) -> None:
    """The columns that nobody has mapped: by their own names, or as our fields written otherwise."""
    said: list[str] = []
    for name, index in rest.items():
        field = field_written_otherwise(name)
        is_free = name not in ROW_NAMES and name not in form.meant and name not in asked.named
        if field and is_free and not ({field} & {*found, *rest, *asked.kept}):
            found[field] = index
            said.append(f"{name} is {field}")
            continue
        meant = perhaps_meant(name) if is_free else ""
        fault = None if meant or name in asked.named else name_fault(name, form.meant, asked.way)
        if meant or (field and (name in asked.named or field in asked.kept)):
            found[name] = index
            form.declared.add(name)
            if meant == "images" and "images" not in {*found, *rest}:
                message = f"a variable here, and no reference image; {asked.how('images', name)} makes it one"
                form.warnings.append(str(Problem(at(index), message, name)))
            elif meant == "key" and "id" not in {*found, *rest}:
                message = f"a variable here, and no API key; {asked.how('id', name)} names the rows by it"
                form.warnings.append(str(Problem(at(index), message, name)))
        elif fault:
            form.log.add(fault.at(at(index)))
        else:
            found[name] = index
    if said:
        more = ", …" if len(said) > _COLUMNS_TOLD else ""
        message = f"columns are taken for our fields: {', '.join(said[:_COLUMNS_TOLD])}{more}"
        form.warnings.append(str(Problem(file, message)))


def _rows(form: Form, table: Table, header: Header, taken: Taken) -> TableRows:
    single = (path for path, is_list in header.inner.items() if not is_list)
    plain = (name for index, name in enumerate(header.names) if index not in {*header.others, *header.lists})
    offered = (*plain, *single)
    return TableRows(table, header.names, tuple(taken.columns.items()), taken.inner, offered=offered)
