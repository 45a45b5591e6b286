"""What every kind of table offers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from nanobanana_batch.errors import Problem
from nanobanana_batch.files.plain import reading
from nanobanana_batch.manifest.read.encoding import Unusable
from nanobanana_batch.manifest.read.unpack import unpacked
from nanobanana_batch.manifest.words.names import as_name
from nanobanana_batch.manifest.words.template import Value
from nanobanana_batch.problems import ProblemLog

_AT_ONCE = 1 << 20
CHANGED = "the table's columns changed while it was read"


@dataclass(frozen=True, slots=True)
class Header:
    """The columns of a table, or what is wrong with them."""

    names: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    """Where each column is named."""
    lists: Mapping[int, str] = field(default_factory=dict)
    """The columns that hold lists, and where the first one stands."""
    others: Mapping[int, str] = field(default_factory=dict)
    """The columns that no text can be made of, and their types; they give nothing."""
    inner: Mapping[str, bool] = field(default_factory=dict)
    """What stands inside of such columns and may be named, as `prompts.en`, and whether it is a list."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """The columns that hold pictures, with the names by which `inner` gives them as files."""
    problems: tuple[Problem, ...] = ()
    warnings: tuple[str, ...] = ()


class Table(Protocol):
    """Rows under named columns; may be read several times."""

    @property
    def file(self) -> str:
        """What people call it."""

    @property
    def row_prefix(self) -> str:
        """What a place begins with, before the number of the row or line."""

    def header(self) -> Header:
        """The columns."""

    def rows(
        self, names: Sequence[str], log: ProblemLog, inner: Sequence[str] = ()
    ) -> Iterator[tuple[int | str, Sequence[Value]]]:
        """The number of each row or line and its cells, "" for none; what cannot be used goes to `log`.

        `names` are the columns as they were found before: when they are others now, there are no rows. Behind
        their cells stand those of `inner`.
        """

    def notes(self) -> Iterable[str]:
        """What is worth saying of how its rows were read; known once all were."""


def named_header(names: Sequence[str], place: str) -> Header:
    """The header of a table that names its columns in one place."""
    names = tuple(map(as_name, names))
    problems = [
        Problem(place, f"column {number} has no name") for number, name in enumerate(names, 1) if not name
    ]
    counts = Counter(name for name in names if name)
    problems += [
        Problem(place, f"the column {name!r} stands there twice") for name, n in counts.items() if n > 1
    ]
    return Header(names, (place,) * len(names), problems=tuple(problems))


def most_lines(path: Path) -> int | None:
    """A number that the lines of a file do not exceed, however it ends them; None: it cannot be read."""
    try:
        with opened(path) as stream:
            ends = sum(
                piece.count(b"\n") + piece.count(b"\r") for piece in iter(lambda: stream.read(_AT_ONCE), b"")
            )
    except (OSError, Unusable):
        return None
    return ends + 1


@contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The file for reading, unpacked; raises `OSError` also for a pipe, which could be read only once."""
    if path.is_fifo():
        raise OSError("it is a pipe, and a table is read more than once; write it to a file")
    with reading(path) as stream, unpacked(stream) as content:
        yield content
