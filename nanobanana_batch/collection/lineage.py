"""Which picture was made of which: sources of edits, chains of edits, and what must stay together.

A picture is known by its content, so an edit of another run's picture is found wherever its file was when
the manifest was read, and in whatever folder it is now. What is kept of the rows is in a private temporary
database, which SQLite spills to disk: memory grows by a few bytes a row.
"""

from __future__ import annotations

import hashlib
import os
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.files.temporary_database import temporary_database
from nanobanana_batch.model import Request

_CACHE_KIB = 8192
_TABLES = """
CREATE TABLE places (folder BLOB, row_key TEXT, row INTEGER, PRIMARY KEY (folder, row_key)) WITHOUT ROWID;
CREATE TABLE names (row INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE tokens (token TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID;
CREATE TABLE used (row INTEGER, number INTEGER, content TEXT, PRIMARY KEY (row, number)) WITHOUT ROWID;
CREATE TABLE made (content TEXT, row INTEGER, path BLOB);
"""
_MADE_HERE = """
SELECT used.row, min(made.row) FROM used JOIN made ON made.content = used.content AND made.row != used.row
GROUP BY used.row, used.number ORDER BY used.row, used.number
"""
# Of a row that edits what was made here, the picture that was; else its first source.
_FIRST = """
SELECT content FROM used WHERE row = :row ORDER BY
    NOT EXISTS (SELECT 1 FROM made WHERE made.content = used.content AND made.row = :parent), number
"""
_NONE = -1


@dataclass(frozen=True, slots=True)
class Source:
    """One picture that a row is an edit of."""

    name: str
    """As it was given: a path or a link."""
    path: Path | None
    """Where it was when the manifest was read; None: it is behind a link."""
    sha256: str | None
    """Of its content then."""

    @property
    def content(self) -> str:
        """What tells it from others; of what is behind a link only the link is known."""
        return self.sha256 or hashlib.sha256(f"link {self.name}".encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Step:
    """Where an edit stands in a chain of them."""

    chain: str
    """The same for all edits that go back to the same first picture; empty: the row is no edit."""
    turn: int
    """1: an edit of what no edit of these folders made; 0: the row is none."""
    parent: str
    """`folder/id` of the row whose picture it edits, if that is in these folders."""


def sources_of(request: Request) -> tuple[Source, ...]:
    """The pictures that a row is an edit of, in the order in which they were given."""
    local = {file.name: file for file in request.files}
    return tuple(
        Source(name, Path(local[name].path), local[name].sha256)
        if name in local
        else Source(name, None, None)
        for name in request.images
    )


class Lineage:
    """Of all rows of some folders. Use as a context manager."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self._db = temporary_database(check_same_thread=False)
        self._asked = Lock()
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript(_TABLES)
        self._above = array("q")
        """Of each row one that it must stay with; itself: it is the first of its family."""
        self._has_sources = bytearray()
        self._db.execute("BEGIN")
        for entry in entries:
            self._add(entry)
        self._db.execute("COMMIT")
        self._db.execute("CREATE INDEX made_of ON made (content)")
        self._edits = array("q", [_NONE]) * len(self._above)
        """Of each row the one that made the picture which it edits."""
        for row, parent in self._db.execute(_MADE_HERE):
            if self._edits[row] == _NONE:
                self._edits[row] = parent
        self._break_circles()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def has_edits(self) -> bool:
        """Whether any row was made from another picture."""
        return any(self._has_sources)

    def close(self) -> None:
        """Forget all of it."""
        self._db.close()

    def step(self, entry: Entry) -> Step:
        """Where a row stands in its chain: that of the first of its sources that was made here."""
        row = self._row(entry)
        if not entry.request.images:
            return Step("", 0, "")
        turn, first, parent = 1, row, self._edits[row]
        above = parent
        while above != _NONE and self._has_sources[above]:
            turn, first, above = turn + 1, above, self._edits[above]
        (content,) = self._db.execute(_FIRST, {"row": first, "parent": above}).fetchone()
        return Step(content[:16], turn, "" if parent == _NONE else self._name(parent))

    def family(self, entry: Entry) -> str:
        """The same for all rows that show a trainer the same thing: none may stand on both sides of a split.

        Edits stay with all edits of the same source, and chains as a whole; other rows with those of the
        same prompt.
        """
        return self._name(self._first(self._row(entry)))

    def files_with(self, sha256: str) -> Iterator[Path]:
        """Files of these folders that were saved with this content; several threads may ask."""
        with self._asked:
            found = self._db.execute(
                "SELECT path FROM made WHERE content = ? ORDER BY row", (sha256,)
            ).fetchall()
        yield from (Path(os.fsdecode(path)) for (path,) in found)

    def _add(self, entry: Entry) -> None:
        row = len(self._above)
        self._above.append(row)
        self._db.execute("INSERT INTO places VALUES (?, ?, ?)", (_bytes(entry.folder), entry.row_key, row))
        self._db.execute("INSERT INTO names VALUES (?, ?)", (row, f"{entry.folder_name}/{entry.id}"))
        sources = sources_of(entry.request)
        self._has_sources.append(bool(sources))
        for number, source in enumerate(sources):
            self._db.execute("INSERT INTO used VALUES (?, ?, ?)", (row, number, source.content))
        for picture in entry.pictures:
            self._db.execute(
                "INSERT INTO made VALUES (?, ?, ?)", (picture.sha256, row, os.fsencode(picture.file))
            )
        for token in _tokens(entry, sources):
            self._join(token, row)

    def _join(self, token: str, row: int) -> None:
        self._db.execute("INSERT OR IGNORE INTO tokens VALUES (?, ?)", (token, row))
        (other,) = self._db.execute("SELECT row FROM tokens WHERE token = ?", (token,)).fetchone()
        one, other = sorted((self._first(row), self._first(other)))
        self._above[other] = one

    def _first(self, row: int) -> int:
        while (above := self._above[row]) != row:
            self._above[row] = self._above[above]
            row = above
        return row

    def _row(self, entry: Entry) -> int:
        found: tuple[int] | None = self._db.execute(
            "SELECT row FROM places WHERE folder = ? AND row_key = ?", (_bytes(entry.folder), entry.row_key)
        ).fetchone()
        if found is None:
            raise KeyError(f"{entry.folder_name}/{entry.id}")
        return found[0]

    def _name(self, row: int) -> str:
        name: str = self._db.execute("SELECT name FROM names WHERE row = ?", (row,)).fetchone()[0]
        return name

    def _break_circles(self) -> None:
        """Where edits gave back what they were made of, the first of the circle begins."""
        seen = array("q", [_NONE]) * len(self._edits)
        for start in range(len(self._edits)):
            row = start
            while row != _NONE and seen[row] == _NONE:
                seen[row] = start
                row = self._edits[row]
            if row != _NONE and seen[row] == start:
                self._edits[min(self._circle(row))] = _NONE

    def _circle(self, start: int) -> Iterator[int]:
        yield start
        row = self._edits[start]
        while row != start:
            yield row
            row = self._edits[row]


def _tokens(entry: Entry, sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        yield f"picture {source.content}"
    if not sources:
        yield f"prompt {hashlib.sha256(entry.request.prompt.encode()).hexdigest()}"
    for picture in entry.pictures:
        yield f"picture {picture.sha256}"


def _bytes(folder: Path) -> bytes:
    return os.fsencode(folder)
