"""Which picture was made of which: sources of edits, chains of edits, and what must stay together.

A picture is known by its content, so an edit of another run's picture is found wherever its file was when
the manifest was read, and in whatever folder it is now. What is kept of the rows is in a private temporary
database, which SQLite spills to disk: memory grows by a few bytes a row.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from array import array
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from nanobanana_batch.collection.entries import Entry
from nanobanana_batch.model import Request

_CACHE_KIB = 8192
_TABLES = """
CREATE TABLE places (folder TEXT, row_key TEXT, row INTEGER, PRIMARY KEY (folder, row_key)) WITHOUT ROWID;
CREATE TABLE names (row INTEGER PRIMARY KEY, name TEXT);
CREATE TABLE tokens (token TEXT PRIMARY KEY, row INTEGER) WITHOUT ROWID;
CREATE TABLE used (row INTEGER, number INTEGER, content TEXT);
CREATE TABLE made (content TEXT, row INTEGER, path BLOB);
CREATE TABLE steps (row INTEGER PRIMARY KEY, turn INTEGER, root TEXT, parent INTEGER);
"""
_INDEXES = """
CREATE INDEX made_of ON made (content);
CREATE INDEX used_by ON used (row, number);
CREATE TABLE links AS
    SELECT used.row AS row, min(used.number) AS number, used.content AS content, min(made.row) AS parent
    FROM used JOIN made ON made.content = used.content AND made.row != used.row
    GROUP BY used.row, used.content;
CREATE INDEX links_of ON links (row, number);
"""
# A row that uses no picture of these folders begins its chain with its first source; one that uses none at
# all is no edit, and its picture is where a chain may begin.
_BEGIN = """
INSERT INTO steps
SELECT names.row, EXISTS (SELECT 1 FROM used WHERE used.row = names.row),
       (SELECT content FROM used WHERE used.row = names.row ORDER BY number LIMIT 1), NULL
FROM names WHERE NOT EXISTS (SELECT 1 FROM links WHERE links.row = names.row)
"""
_GO_ON = """
INSERT INTO steps
SELECT ready.row, ready.turn + 1, coalesce(above.root, line.content), line.parent
FROM (
    SELECT links.row AS row, max(steps.turn) AS turn, min(links.number) AS number
    FROM links LEFT JOIN steps ON steps.row = links.parent
    WHERE NOT EXISTS (SELECT 1 FROM steps AS done WHERE done.row = links.row)
    GROUP BY links.row HAVING count(*) = count(steps.row)
) AS ready
JOIN links AS line ON line.row = ready.row AND line.number = ready.number
JOIN steps AS above ON above.row = line.parent
"""
# Pictures that were made of each other, as where an edit gave back its source: the first begins.
_BREAK = """
INSERT INTO steps SELECT row, 1, content, NULL FROM links
WHERE NOT EXISTS (SELECT 1 FROM steps WHERE steps.row = links.row) ORDER BY row, number LIMIT 1
"""


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
        self._db = sqlite3.connect("", isolation_level=None)
        for setting in (f"cache_size = -{_CACHE_KIB}", "journal_mode = OFF"):
            self._db.execute(f"PRAGMA {setting}")
        self._db.executescript(_TABLES)
        self._above = array("q")
        """Of each row one that it must stay with; itself: it is the first of its family."""
        self._db.execute("BEGIN")
        for entry in entries:
            self._add(entry)
        self._db.execute("COMMIT")
        self._db.executescript(_INDEXES)
        self._count_steps()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def step(self, entry: Entry) -> Step:
        """Where a row stands in its chain."""
        found = self._db.execute(
            "SELECT turn, root, name FROM steps LEFT JOIN names ON names.row = parent WHERE steps.row = ?",
            (self._row(entry),),
        ).fetchone()
        turn, root, parent = found
        return Step(root[:16] if turn else "", turn, parent or "")

    def family(self, entry: Entry) -> str:
        """The same for all rows that show a trainer the same thing: none may stand on both sides of a split.

        Edits stay with all edits of the same source, and chains as a whole; other rows with those of the
        same prompt.
        """
        first = self._first(self._row(entry))
        name: str = self._db.execute("SELECT name FROM names WHERE row = ?", (first,)).fetchone()[0]
        return name

    def files_with(self, sha256: str) -> Iterator[Path]:
        """Files of these folders that were saved with this content."""
        for (path,) in self._db.execute("SELECT path FROM made WHERE content = ? ORDER BY row", (sha256,)):
            yield Path(os.fsdecode(path))

    def _add(self, entry: Entry) -> None:
        row = len(self._above)
        self._above.append(row)
        self._db.execute("INSERT INTO places VALUES (?, ?, ?)", (_bytes(entry.folder), entry.row_key, row))
        self._db.execute("INSERT INTO names VALUES (?, ?)", (row, f"{entry.folder_name}/{entry.id}"))
        sources = sources_of(entry.request)
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

    def _count_steps(self) -> None:
        self._db.execute(_BEGIN)
        while True:
            while self._db.execute(_GO_ON).rowcount > 0:
                pass
            if self._db.execute(_BREAK).rowcount <= 0:
                return


def _tokens(entry: Entry, sources: tuple[Source, ...]) -> Iterator[str]:
    for source in sources:
        yield f"picture {source.content}"
    if not sources:
        yield f"prompt {entry.request.prompt}"
    for picture in entry.pictures:
        yield f"picture {picture.sha256}"


def _bytes(folder: Path) -> bytes:
    return os.fsencode(folder)
