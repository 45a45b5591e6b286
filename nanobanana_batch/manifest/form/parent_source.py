"""Completed rows of another run as a source of rows: its images, and all that its results.csv says of them.

Each reading shows one moment of the other run. Whatever happens there between two readings changes which rows
there are, and never what a row asks for: its image counts by the content that was read.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from nanobanana_batch.catalog import Finding
from nanobanana_batch.collection.judgements import CAN_SAY, Judgements, judgements_if_any
from nanobanana_batch.errors import Problem, StateFailed, UsageError
from nanobanana_batch.files.contents import read_otherwise
from nanobanana_batch.files.folder import Folder, find
from nanobanana_batch.files.lock import is_held
from nanobanana_batch.manifest.form.block import Given, ListedRows, Picked, Source, SourceRow
from nanobanana_batch.manifest.form.forms import Entries, Form
from nanobanana_batch.manifest.form.template_uses import templates_of
from nanobanana_batch.manifest.form.where import Condition, read_where
from nanobanana_batch.manifest.read.nodes import Node, Scalar, place
from nanobanana_batch.manifest.read.reach import near_file
from nanobanana_batch.manifest.words.names import ROW_NAMES, as_name
from nanobanana_batch.manifest.words.template import TemplateFault, Value, compiled
from nanobanana_batch.model import RowStatus
from nanobanana_batch.problems import ProblemLog
from nanobanana_batch.results import OF_RATINGS, cells_of, column_names, ratings_of
from nanobanana_batch.state.reader import Reader, open_reader
from nanobanana_batch.state.reports import RowReport
from nanobanana_batch.wording import closest, shown

IMAGE = "image"
PARENT_ID = "parent_id"
_OF_ROW = "row."
_CAN_SAY = {_OF_ROW + name: texts for name, texts in CAN_SAY.items()}
"""Of what nobody has said yet none is a slip."""
_NONE: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Parent:
    """The output folder of another run, as a manifest names it."""

    name: str
    place: str
    folder: Folder

    def path_of(self, image: str) -> str:
        """One of its images, relative to the manifest."""
        return str(PurePosixPath(self.name) / image)


@dataclass(frozen=True, slots=True)
class ParentRows:
    """The completed rows of another run under our own names."""

    parent: Parent
    variables: tuple[str, ...]
    """Of the other run, as they were when the manifest was opened."""
    columns: tuple[tuple[str, str], ...]
    """Our names, and what they are called there."""
    where: tuple[tuple[str, Condition], ...] = ()
    """Their names, and what must stand there."""
    has_images: bool = True
    """Whether rows here use the images of rows there."""
    picked: list[Picked] = field(default_factory=list, compare=False)
    """What `where` takes of the completed rows, if not all; known once all rows were read."""

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each completed one that passes `where`, in the order of the other manifest."""
        read_otherwise()
        try:
            with open_reader(self.parent.folder.state) as reader, reader.one_moment():
                if tuple(reader.variables()) == self.variables:
                    yield from self._rows(reader, log)
                else:
                    self._note(log, "another manifest was run there while this one was read; try again")
        except (StateFailed, UsageError) as error:
            self._note(log, _sentence(error))

    def _rows(self, reader: Reader, log: ProblemLog) -> Iterator[SourceRow]:
        judgements = judgements_if_any(self.parent.folder.path)
        named = _Named(self.variables, has_ratings=judgements is not None)
        completed = taken = 0
        for report in reader.rows():
            if report.status is not RowStatus.COMPLETED:
                continue
            completed += 1
            theirs = named.values(report, self.parent, judgements)
            if self._passes(theirs):
                taken += 1
                if self.has_images and not (self.parent.folder.path / str(report.path)).is_file():
                    message = "its image is gone; another run there fetches it while the provider has it"
                    log.add(Problem(self._source(report.id), message, "from"))
                else:
                    yield self._row(report.id, theirs)
        if not taken:
            self._nothing_left(log, completed)
        self.picked[:] = [Picked("from", taken, completed, self.parent.name)] if taken < completed else []

    def _row(self, id_: str, theirs: Mapping[str, str]) -> SourceRow:
        values: dict[str, Value] = {"id": id_}
        values.update({ours: theirs[name] for ours, name in self.columns if name in theirs})
        return SourceRow(self._source(id_), values, literal_prompt=True)

    def _source(self, id_: str) -> str:
        return f"{self.parent.name} row {id_}"

    def idle(self) -> Iterator[tuple[str, str]]:
        """What `where` asks for and no completed row has, by place; known once all rows were read."""
        asked = [
            condition for name, condition in self.where if not condition.values <= _CAN_SAY.get(name, _NONE)
        ]
        return itertools.chain.from_iterable(condition.idle(self.parent.name) for condition in asked)

    def _passes(self, theirs: Mapping[str, str]) -> bool:
        # Each one is asked, to know of each what rows have.
        held = [condition.holds(theirs.get(name, "")) for name, condition in self.where]
        return all(held)

    def _nothing_left(self, log: ProblemLog, completed: int) -> None:
        if not completed:
            self._note(log, "none of its rows is completed any more")
            return
        there = "; ".join(condition.there() for _, condition in self.where)
        rows = (
            f"none of the {completed} completed rows" if completed > 1 else "not even its one completed row"
        )
        self._note(log, f"`where` leaves {rows} of {self.parent.name}; there {there}")

    def _note(self, log: ProblemLog, message: str) -> None:
        log.add(Problem(self.parent.place, message, "from"))


class _NoParent(Exception):
    """There are no rows to be had from what is named; with what was probably meant."""

    def __init__(self, message: str, suggestion: str = "") -> None:
        super().__init__(message)
        self.suggestion = suggestion


class _Named:
    """What is known of a row of another run, by the names that a manifest can use."""

    def __init__(self, variables: tuple[str, ...], *, has_ratings: bool) -> None:
        """Without ratings.csv nothing is said, and a variable of such a name keeps it."""
        self._variables = list(variables)
        names = column_names(self._variables, OF_RATINGS if has_ratings else ())
        self._of_row = [_OF_ROW + as_name(name) for name in names]
        self._unsaid = [_OF_ROW + name for name in OF_RATINGS if name not in names]
        self._own = {as_name(name): name for name in variables if not _is_ours(as_name(name))}

    @property
    def carried(self) -> tuple[str, ...]:
        """Those that are variables here, too."""
        return (PARENT_ID, *self._own)

    @property
    def names(self) -> tuple[str, ...]:
        """All of them."""
        return (*self.carried, IMAGE, *self._of_row, *self._unsaid)

    def values(self, report: RowReport, parent: Parent, judgements: Judgements | None) -> dict[str, str]:
        """One row's; what results.csv leaves empty is not given."""
        told = [*cells_of(report, self._variables), *ratings_of(report, judgements)]
        cells = zip(self._of_row, told, strict=True)
        values = {name: str(cell) for name, cell in cells if cell is not None and cell != ""}
        given = report.variables
        values.update({name: given[theirs] for name, theirs in self._own.items() if theirs in given})
        values[PARENT_ID] = report.id
        values[IMAGE] = parent.path_of(report.path or "")
        return values


def _is_ours(name: str) -> bool:
    return name in (IMAGE, PARENT_ID, *ROW_NAMES) or name.startswith(_OF_ROW)


def read_parent(
    form: Form, entries: Entries, defaults: Mapping[str, Given]
) -> tuple[Source, list[str] | None]:
    """The rows of a block's `from` and the names that they give; `None` when it cannot be read."""
    _, node = entries["from"]
    nothing = ListedRows(form.file, ()), None
    try:
        parent = _found(form, node)
        variables = _looked_at(form, node, parent, is_sampled="sample" in entries)
        has_ratings = judgements_if_any(parent.folder.path) is not None
    except _NoParent as error:
        form.note(node.pos, str(error), "from", error.suggestion)
        return nothing
    except (StateFailed, UsageError) as error:
        form.note(node.pos, _sentence(error), "from")
        return nothing
    named = _Named(variables, has_ratings=has_ratings)
    columns = _columns(form, entries, named)
    for index, name in enumerate(columns):
        if name in named.carried:
            form.declared.add(name)  # the other manifest has said what it means
            _warn_of_inherited(form, entries, node, name)
        if name in named.carried or name not in named.names:
            form.name(name, node.pos, index)
    if "prompt" in columns and "prompt" in defaults:
        message = "`columns` gives prompts, and so does a template; keep one, for example"
        form.note(entries["columns"][0], f'{message} `prompt: "{{row.prompt}}, in ink"`', "prompt")
    has_images = "images" in columns or any(
        _asks_for_image(text) for field, text, _ in templates_of(entries, defaults) if field == "images"
    )
    if not has_images:
        form.warn(node.pos, f'without `images: "{{image}}"` the images of {parent.name} are not used', "from")
    ratings = {name: _OF_ROW + name for name in OF_RATINGS}
    known = {"id": _OF_ROW + "id", **ratings, **{name: name for name in named.names}, **columns}
    where = read_where(form, entries, known, lambda name: _unknown("where", name, tuple(known)))
    rows = ParentRows(parent, variables, tuple(columns.items()), where, has_images)
    return rows, ["id", *columns]


def _warn_of_inherited(form: Form, entries: Entries, node: Node, name: str) -> None:
    """What a person did not write here, and is sent all the same."""
    if name in form.extras and name not in form.texts("columns", entries):
        message = (
            "comes with the other run's rows, and is sent where the model has such a setting;"
            f" `columns: {{their_{name}: {name}}}` keeps it a variable"
        )
        form.warn(node.pos, message, name)


def _sentence(error: StateFailed | UsageError) -> str:
    return str(error).rstrip(".")


def _found(form: Form, node: Node) -> Parent:
    text = node.text if isinstance(node, Scalar) else None
    if not text or "\0" in text:
        raise _NoParent("expected the output folder of another run, such as ../outputs/first-run")
    if "|" in text:
        raise _NoParent(f"{shown(text)} has a '|', which separates images; rename the folder")
    path = form.folder / text
    if os.path.isdir(path):
        name = str(PurePosixPath(text))
        folder = find(path)
        form.reach.add_run(path, name)
        return Parent(name, place(form.file, node.pos), folder)
    if os.path.exists(path):
        raise _NoParent(
            f"{shown(text)} is a file; name the output folder of a run, such as ../outputs/first-run"
        )
    raise _NoParent(
        f"there is no folder {shown(text)} (paths are relative to the manifest); run its manifest first",
        _near(form, text),
    )


def _near(form: Form, text: str) -> str:
    """The folder that was probably meant: one seen from the working directory, or one of a similar name."""
    if os.path.isdir(text):
        return os.path.relpath(text, form.folder)
    return near_file(form.folder, text.rstrip("/"))


def _looked_at(form: Form, node: Node, parent: Parent, *, is_sampled: bool) -> tuple[str, ...]:
    """The variables of the other run; what a person should know about how it stands becomes a warning."""
    is_going_on = is_held(parent.folder.path)
    with open_reader(parent.folder.state) as reader, reader.one_moment():
        counts = reader.counts()
        variables = tuple(reader.variables())
    rows, completed = sum(counts.values()), counts[RowStatus.COMPLETED]
    others = [
        (status, count) for status, count in counts.items() if count and status is not RowStatus.COMPLETED
    ]
    standing = ", ".join(f"{count} {status.value}" for status, count in others)
    if not rows:
        raise _NoParent(f"{parent.name} has no rows yet; run its manifest first")
    if not completed:
        raise _NoParent(f"none of the {rows} rows of {parent.name} is completed ({standing})")
    if is_going_on:
        form.warn(node.pos, f"a run is going on in {parent.name}; only what is completed now is used", "from")
    if others:
        left_out = (
            f"{rows - completed} of {rows} rows of {parent.name} are not completed and left out ({standing})"
        )
        if is_sampled:
            left_out += "; when they are completed, `sample` draws other rows, and those will be paid for"
        form.warn(node.pos, left_out, "from")
    return variables


def _columns(form: Form, entries: Entries, named: _Named) -> dict[str, str]:
    """Our names with theirs; a variable that is mapped loses its own name, as a column of a table does."""
    mapped: dict[str, str] = {}
    for ours, item in form.texts("columns", entries).items():
        theirs = as_name(item.text or "")
        if not form.sound_name(ours, item.pos):
            continue
        if theirs in named.names:
            mapped[ours] = theirs
        else:
            form.finding(item.pos, _unknown("columns", theirs, named.names))
    renamed = {name for name in mapped.values() if name in named.carried and name != PARENT_ID}
    kept = {name: name for name in named.names if name not in renamed}
    for ours in mapped:
        if ours in kept:
            message = f"{ours!r} is a name of the other run, and another is mapped to it; choose another name"
            form.note(entries["columns"][0], message, "columns")
    return {**kept, **mapped}


def _unknown(field: str, name: str, names: tuple[str, ...]) -> Finding:
    near = closest(name, names) or closest(_OF_ROW + name, names)
    return Finding(field, f"the other run has no {shown(name)}", names, near)


def _asks_for_image(text: str) -> bool:
    try:
        return IMAGE in compiled(text).names
    except TemplateFault:
        return True  # that fault is told where templates are read
