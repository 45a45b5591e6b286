"""The rows of one manifest, each with its key and a unique id, before anything is written to the state.

They are kept in a private temporary database that SQLite itself spills to disk and deletes: memory
does not grow with the manifest, and `plan` leaves nothing behind.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Self

from nanobanana_batch.errors import Problem, ProblemLog
from nanobanana_batch.model import Draft, Row, request_as_json, request_from_json, row_key

_TABLE = """
CREATE TABLE roster (
    position INTEGER PRIMARY KEY, base_key TEXT, occurrence INTEGER, row_key TEXT,
    id TEXT, folded TEXT UNIQUE, request TEXT, variant INTEGER, variables TEXT, source TEXT
);
CREATE INDEX roster_repeats ON roster (base_key, occurrence);
"""

NameRow = Callable[[Draft, str], str]
"""(draft, row key) -> a readable id for a row that has none."""
FoldId = Callable[[str], str]
"""id -> the form in which ids are compared."""


class Roster:
    """A manifest's rows in order. Use as a context manager; `add_all` first, then read as often as needed."""

    def __init__(self, name_row: NameRow, fold_id: FoldId) -> None:
        self._name_row = name_row
        self._fold_id = fold_id
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.executescript(f"PRAGMA journal_mode = OFF; {_TABLE} BEGIN;")
        self._count = 0
        self._digest = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def __len__(self) -> int:
        return self._count

    @property
    def digest(self) -> str:
        """Changes when any row, its place, its id, its variables or the paths of its files change."""
        return self._digest.hexdigest()

    def add_all(self, drafts: Iterable[Draft], problems: ProblemLog) -> None:
        """Take the rows in manifest order; an id that is taken is reported and its row left out."""
        for draft in drafts:
            self._add(draft, problems)

    def rows(self, limit: int | None = None) -> Iterator[Row]:
        """The rows in manifest order, streamed."""
        cursor = self._db.execute(
            "SELECT position, row_key, id, request, variant, variables, source FROM roster"
            " ORDER BY position LIMIT ?",
            (-1 if limit is None else limit,),
        )
        for position, key, id_, request, variant, variables, source in cursor:
            pairs = tuple(json.loads(variables).items())
            yield Row(position, key, id_, request_from_json(request), variant, pairs, source)

    def columns(self) -> Iterator[tuple[object, ...]]:
        """As `rows`, but as stored: row_key, position, id, request, variant, variables, source."""
        yield from self._db.execute(
            "SELECT row_key, position, id, request, variant, variables, source FROM roster ORDER BY position"
        )

    def counts(self, field: str) -> dict[str, int]:
        """How many rows ask for each value of a request field (`-` where it is not given)."""
        query = (
            "SELECT coalesce(json_extract(request, '$.' || ?), '-') AS value, count(*) FROM roster"
            " GROUP BY value ORDER BY count(*) DESC, value"
        )
        return {str(value): count for value, count in self._db.execute(query, (field,))}

    def _add(self, draft: Draft, problems: ProblemLog) -> None:
        base = row_key(draft.request, draft.variant)
        occurrence = self._occurrence(base)
        key = row_key(draft.request, draft.variant, occurrence) if occurrence else base
        id_ = self._free_id(draft, key, problems)
        if id_ is None:
            return
        request = request_as_json(draft.request)
        variables = json.dumps(dict(draft.variables), ensure_ascii=False)
        self._db.execute(
            "INSERT INTO roster VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                self._count,
                base,
                occurrence,
                key,
                id_,
                self._fold_id(id_),
                request,
                draft.variant,
                variables,
                draft.source,
            ),
        )
        self._count += 1
        for part in (key, id_, request, variables, draft.source):
            self._digest.update(part.encode() + b"\0")

    def _occurrence(self, base: str) -> int:
        (last,) = self._db.execute(
            "SELECT max(occurrence) FROM roster WHERE base_key = ?", (base,)
        ).fetchone()
        return 0 if last is None else int(last) + 1

    def _free_id(self, draft: Draft, key: str, problems: ProblemLog) -> str | None:
        if draft.id is None:
            return self._free_derived_id(self._name_row(draft, key))
        taken = self._holder(draft.id)
        if taken is None:
            return draft.id
        other, source = taken
        same = "" if other == draft.id else f" (ids are compared without regard to case: {other!r})"
        problems.add(
            Problem(draft.source, f"{draft.id!r} is already the id of the row at {source}{same}", field="id")
        )
        return None

    def _free_derived_id(self, id_: str) -> str:
        candidate, number = id_, 1
        while self._holder(candidate) is not None:
            number += 1
            candidate = f"{id_}-{number}"
        return candidate

    def _holder(self, id_: str) -> tuple[str, str] | None:
        found = self._db.execute(
            "SELECT id, source FROM roster WHERE folded = ?", (self._fold_id(id_),)
        ).fetchone()
        return None if found is None else (str(found[0]), str(found[1]))
