"""Rows of a roster that ask for the same, or want the same name, and what becomes of each of them.

A manifest's rows are written down as if each were the only one of its kind, and then those that are not are
looked up at once: a question per row would cost more than everything else. They are settled in manifest
order, so that each meets only the final names of the rows in front of it.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from nanobanana_batch.errors import Problem
from nanobanana_batch.model import ROW_KEY_VERSION, Draft, PlainDraft, request_from_json, row_key
from nanobanana_batch.problems import ProblemLog

DERIVED, SUGGESTED, NAMED = 0, 1, 2
"""Where a row's id comes from: its prompt, a person, or its manifest, which only suggests it."""
NameRow = Callable[[Draft | PlainDraft, str], str]
"""(draft, row key) -> a readable id for a row that has none."""
FoldId = Callable[[str], str]
"""id -> the form in which ids are compared."""

_DIGITS = slice(len(ROW_KEY_VERSION) + 1, len(ROW_KEY_VERSION) + 16)
_TOLD = 10
"""Ids that are taken; who has more of them has one fault, and not many."""
_TABLES = (
    "CREATE TABLE suspects (position INTEGER PRIMARY KEY)",
    "CREATE TABLE seen (base_key TEXT PRIMARY KEY, rows INTEGER) WITHOUT ROWID",
)
_SUSPECTS = """
INSERT OR IGNORE INTO suspects SELECT position FROM roster
WHERE {column} IN (SELECT {column} FROM roster GROUP BY {column} HAVING count(*) > 1)
"""
_NEXT = """
SELECT roster.position, row_key, id, is_named, request, variant, variables, source
FROM suspects JOIN roster USING (position) WHERE suspects.position > ? ORDER BY suspects.position LIMIT 1
"""
_UPDATE = """
UPDATE roster SET mark = ?, folded = ?, row_key = ?, base_key = ?, occurrence = ?, id = ? WHERE position = ?
"""


def mark_of(key: str) -> int:
    """The first digits of a row key as a number: orders like it, and is found and sorted faster."""
    return int(key[_DIGITS], 16)


class Clashes:
    """Settles them. What is known of two rows by numbers alone is confirmed by their texts."""

    def __init__(
        self, db: sqlite3.Connection, name_row: NameRow, fold_id: FoldId, problems: ProblemLog
    ) -> None:
        self._db = db
        self._name_row = name_row
        self._fold_id = fold_id
        self._problems = problems
        self._left_out = 0
        self._untold: Problem | None = None

    def settle(self) -> int:
        """Give every row a key and an id of its own; returns how many cannot have one and were left out."""
        for table in _TABLES:
            self._db.execute(table)
        for column in ("mark", "folded"):
            self._db.execute(_SUSPECTS.format(column=column))
        position = -1
        while found := self._db.execute(_NEXT, (position,)).fetchone():
            position, key, id_, is_named, request, variant, variables, source = found
            pairs = tuple(json.loads(variables).items())
            asked, given = request_from_json(request), id_ if is_named == NAMED else None
            suggested = id_ if is_named == SUGGESTED else ""
            draft = Draft(source, asked, given, variant, pairs, suggested)
            self._settle(position, key, id_, draft)
        if self._untold is not None:
            self._problems.add(self._untold)
        return self._left_out

    def _settle(self, position: int, base: str, provisional: str, draft: Draft) -> None:
        occurrence = self._seen(base)
        key = row_key(draft.request, draft.variant, occurrence) if occurrence else base
        if draft.id is None:
            id_ = self._free_id(self._name_row(draft, key), position)
        elif not self._is_free(draft, position):
            self._db.execute("DELETE FROM roster WHERE position = ?", (position,))
            self._left_out += 1
            return
        else:
            id_ = draft.id
        self._db.execute("INSERT OR REPLACE INTO seen VALUES (?, ?)", (base, occurrence + 1))
        if key == base and id_ == provisional:
            return
        folded = hash(self._fold_id(id_))
        self._db.execute(
            _UPDATE, (mark_of(key), folded, key, base if occurrence else None, occurrence, id_, position)
        )
        query = "INSERT OR IGNORE INTO suspects SELECT position FROM roster WHERE folded = ? AND position > ?"
        self._db.execute(query, (folded, position))

    def _seen(self, base: str) -> int:
        found = self._db.execute("SELECT rows FROM seen WHERE base_key = ?", (base,)).fetchone()
        return 0 if found is None else int(found[0])

    def _is_free(self, draft: Draft, position: int) -> bool:
        taken = self._holder(str(draft.id), position)
        if taken is None:
            return True
        if self._left_out >= _TOLD:
            message = (
                f"and {self._left_out + 1 - _TOLD:,} more rows have ids that are taken; a template names what"
                ' tells them apart (`id: "{category}-{id}"`, tables: `--id`)'
            )
            self._untold = Problem(draft.source, message, field="id", rests_on="id")
            return False
        other, source = taken
        same = "" if other == draft.id else f" (which differs in case or Unicode form only: {other!r})"
        message = f"{draft.id!r} is already the id of the row at {source}{same}"
        if source == draft.source:
            message += "; several rows come from there, and `id:` has to name what tells them apart"
        self._problems.add(Problem(draft.source, message, field="id", rests_on="id"))
        return False

    def _free_id(self, id_: str, position: int) -> str:
        candidate, number = id_, 1
        while self._holder(candidate, position) is not None:
            number += 1
            candidate = f"{id_}-{number}"
        return candidate

    def _holder(self, id_: str, before: int) -> tuple[str, str] | None:
        """The id and the place of the row in front of a position that has this id already."""
        folded = self._fold_id(id_)
        query = "SELECT id, source FROM roster WHERE folded = ? AND position < ?"
        for other, source in self._db.execute(query, (hash(folded), before)):
            if self._fold_id(other) == folded:
                return str(other), str(source)
        return None
