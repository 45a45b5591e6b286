"""A block is a source of rows times a matrix, held as compiled data; a product is never built as a list."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from nanobanana_batch.errors import Problem, ProblemLog
from nanobanana_batch.manifest.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.tables import Table
from nanobanana_batch.manifest.template import Template, Value, as_text


@dataclass(frozen=True, slots=True)
class Given:
    """A value, and where it was given."""

    value: Value
    place: str


@dataclass(frozen=True, slots=True)
class SourceRow:
    """What one row gives by itself."""

    source: str
    values: dict[str, Value]
    file: str = ""
    node: Map | None = None
    literal_prompt: bool = False

    def place(self, name: str) -> str:
        """Where the row gives this name, as exactly as it is known."""
        value = self.node.get(name) if self.node else None
        return place(self.file, value.pos) if value else self.source


class Source(Protocol):
    """Where rows come from; may be read several times."""

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """The rows in order; those that cannot be read go to `log`."""


@dataclass(frozen=True, slots=True)
class ListedRows:
    """`rows:` of a YAML manifest, or the one empty row of a block without a source."""

    file: str
    items: tuple[Map, ...]

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each mapping."""
        for item in self.items:
            values = {name: node_value(node) for name, (_, node) in item.entries.items()}
            kept = {name: value for name, value in values.items() if value is not None}
            yield SourceRow(f"{self.file}:{item.pos >> 24}", kept, self.file, item)


@dataclass(frozen=True, slots=True)
class TableRows:
    """The rows of a table under our own names."""

    table: Table
    header: tuple[str, ...]
    columns: tuple[tuple[str, int], ...]
    where: tuple[tuple[int, str], ...] = ()

    def rows(self, log: ProblemLog) -> Iterator[SourceRow]:
        """One row for each line that passes `where`; an empty cell gives nothing."""
        header, problems = self.table.header()
        if problems or tuple(header) != self.header:
            log.extend(problems or [Problem(self.table.file, "the table's header changed while it was read")])
            return
        file, columns, where = self.table.file, self.columns, self.where
        for line, cells in self.table.rows(len(header), log):
            if where and any(cells[index] != value for index, value in where):
                continue
            values: dict[str, Value] = {name: cells[index] for name, index in columns if cells[index].strip()}
            yield SourceRow(f"{file}:{line}", values, literal_prompt=True)


@dataclass(frozen=True, slots=True)
class Factor:
    """One dimension of a matrix: its values, the places where they stand, and names for use in ids."""

    name: str
    values: tuple[str, ...]
    places: tuple[str, ...]
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Block:
    """Everything that is needed to write out one block's rows."""

    source: Source
    defaults: Mapping[str, Given]
    templated: bool = True
    factors: tuple[Factor, ...] = ()
    exclude: tuple[Mapping[str, str], ...] = ()
    id_template: Template | None = None
    id_place: str = ""
    names: frozenset[str] = frozenset()
    """The variables that some row of the block may have."""
    row_names: frozenset[str] = frozenset()
    """The names that the source itself gives, fields included."""

    def combinations(self) -> Iterator[tuple[int, ...]]:
        """The matrix as indices into its factors, the last factor fastest; one empty one without a matrix."""
        return itertools.product(*(range(len(factor.values)) for factor in self.factors))

    def excludes(self, values: Mapping[str, Value]) -> bool:
        """Whether the person has taken this combination out."""
        return any(
            all(name in values and as_text(values[name]) == wanted for name, wanted in entry.items())
            for entry in self.exclude
        )


def node_value(node: Node) -> Value | None:
    """The value of a node that was checked to be a text or a list of texts."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Seq):
        return tuple(item.text for item in node.items if isinstance(item, Scalar) and item.text is not None)
    return None
