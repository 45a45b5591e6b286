"""A block is a source of rows times factors, held as compiled data; a product is never built as a list."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from nanobanana_batch.manifest.read.nodes import Map, Node, Scalar, Seq, place
from nanobanana_batch.manifest.words.template import Template, Value
from nanobanana_batch.problems import ProblemLog


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

    def idle(self) -> Iterable[tuple[str, str]]:
        """What of it picks no row, by place, with what to say; known once all rows were read."""


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

    def idle(self) -> Iterable[tuple[str, str]]:
        """Nothing: all of them are taken."""
        return ()


@dataclass(frozen=True, slots=True)
class Column:
    """The values of one name of a factor, with the places where they stand and words for them in ids."""

    name: str
    values: Sequence[str]
    places: Sequence[str]
    """One for each value, or the one place where all of them are said."""
    words: Sequence[str]

    def place(self, level: int) -> str:
        """Where the value of this level stands."""
        return self.places[level if len(self.places) > 1 else 0]


@dataclass(frozen=True, slots=True)
class Factor:
    """One dimension of a product: a name of `matrix`, or all of `zip`, level by level."""

    columns: tuple[Column, ...]

    def __len__(self) -> int:
        return len(self.columns[0].values)

    @property
    def names(self) -> tuple[str, ...]:
        """The names that it gives values to."""
        return tuple(column.name for column in self.columns)

    def word(self, level: int) -> str:
        """What its level is called in ids."""
        return "-".join([column.words[level] for column in self.columns])


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of `exclude` or `include`: names with their values, and where it and each of them stands."""

    place: str
    values: Mapping[str, tuple[str, ...]]
    """For each name one value; in `exclude` there may be several, any of which will do."""
    places: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """How many combinations are drawn, and with which seed."""

    place: str
    count: int
    seed: int


@dataclass(frozen=True, slots=True)
class Picked:
    """How many are taken of all that there are."""

    by: str
    """The key that says so: `from` (completed rows of another run) or `sample` (combinations)."""
    taken: int
    of: int
    detail: str
    """The other run's folder, or the seed."""


@dataclass(frozen=True, slots=True)
class Block:
    """Everything that is needed to write out one block's rows."""

    source: Source
    defaults: Mapping[str, Given]
    templated: bool = True
    factors: tuple[Factor, ...] = ()
    exclude: tuple[Entry, ...] = ()
    include: tuple[Entry, ...] = ()
    sample: Sample | None = None
    id_template: Template | None = None
    id_place: str = ""
    names: frozenset[str] = frozenset()
    """The variables that some row of the block may have."""
    row_names: frozenset[str] = frozenset()
    """The names that the source itself gives, fields included."""
    skip: frozenset[str] = frozenset()
    """For which reasons rows are left out."""
    renamed: Mapping[str, str] = field(default_factory=dict)
    """What columns of the source are called there, with their names here."""
    styles: Mapping[str, str] = field(default_factory=dict)
    """The texts of the styles that the factor `style` names."""


def node_value(node: Node) -> Value | None:
    """The value of a node that was checked to be a text or a list of texts."""
    if isinstance(node, Scalar):
        return node.text
    if isinstance(node, Map) and isinstance(raw := node.get("raw"), Scalar) and raw.text is not None:
        return raw.text.replace("{", "{{").replace("}", "}}")  # a template of exactly this text
    if isinstance(node, Seq):
        return tuple(item.text for item in node.items if isinstance(item, Scalar) and item.text is not None)
    return None
