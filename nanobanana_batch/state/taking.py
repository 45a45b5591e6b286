"""A roster's rows become the current manifest of a state file, by SQL alone and in one transaction.

What is there already as it should be is not written again. An empty state is filled first and indexed after
that: keys are in random order, and to sort them once takes a third of the time of finding each its place. A
file that nobody knows yet is written once and synced at its end, with neither a journal nor a log of pages.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.state.roster import Roster
from nanobanana_batch.state.shards import SHARD
from nanobanana_batch.state.twins import HAS_TWINS

MADE_FROM, MADE_DIGEST = "made from", "made from it"
"""Under which a state remembers what has decided its manifest's rows, and the digest of these rows."""
_COLUMNS = "row_key, position, id, request, variant, variables, source"
_FILL = f"INSERT INTO state.rows ({_COLUMNS}) SELECT {_COLUMNS} FROM main.roster ORDER BY position"
# Every place is unique, also while rows change theirs: who stands elsewhere, or nowhere, leaves first.
_LEAVE = """
UPDATE state.rows SET position = NULL WHERE position IS NOT NULL AND row_key IS NOT
    (SELECT wanted.row_key FROM main.roster AS wanted WHERE wanted.position = rows.position)
"""
_ENTER = f"""
INSERT INTO state.rows ({_COLUMNS})
SELECT wanted.row_key, wanted.position, wanted.id, wanted.request, wanted.variant, wanted.variables,
    wanted.source
FROM main.roster AS wanted LEFT JOIN state.rows AS held ON held.position = wanted.position
WHERE held.row IS NULL OR held.id != wanted.id OR held.request != wanted.request
    OR held.variables != wanted.variables OR held.source != wanted.source
ORDER BY wanted.position
ON CONFLICT (row_key) DO UPDATE SET
    position = excluded.position, id = excluded.id, variables = excluded.variables, source = excluded.source,
    request = excluded.request, variant = excluded.variant
"""
_FORGET = "DELETE FROM state.rows WHERE position IS NULL AND attempt IS NULL"
_TWINS = (
    "DELETE FROM state.twins WHERE NOT EXISTS (SELECT 1 FROM state.rows WHERE rows.row_key = twins.row_key)",
    "INSERT OR IGNORE INTO state.twins SELECT row_key, base_key FROM main.roster WHERE base_key IS NOT NULL",
)
WITHOUT_LOG = ("journal_mode = OFF", "synchronous = OFF")
"""How a file is written that is synced whole in the end, and not used before."""
# Those of places grow at their end while rows come in order, and that of file names stays empty.
_INDEXES = """
SELECT name, sql FROM state.sqlite_master WHERE type = 'index' AND tbl_name = 'rows' AND sql IS NOT NULL
AND name NOT IN ('rows_in_order', 'rows_new', 'rows_stem')
"""


@dataclass(frozen=True, slots=True)
class Taken:
    """A manifest, as a state takes it."""

    roster: Roster
    name: str
    variables: Sequence[str]
    made_from: str = ""
    """All that has decided these rows, for who wants to know whether it would give them again."""

    @property
    def known(self) -> dict[str, str]:
        """What a state remembers of it, but for what it was made from."""
        roster = self.roster
        known = {
            "manifest": self.name,
            "variables": json.dumps(list(self.variables)),
            "digest": roster.digest,
        }
        known[HAS_TWINS] = ""
        return known if roster.shard is None else known | {SHARD: str(roster.shard)}

    @property
    def origin(self) -> dict[str, str]:
        """What it was made from, and which rows were made of that."""
        return {MADE_FROM: self.made_from, MADE_DIGEST: self.roster.digest}


def take(roster: Roster, state: Path, known: Mapping[str, str]) -> None:
    """Make the rows those of a state file, and remember what is known of them.

    Either all of it is there when this returns, and survives power loss, or the state is what it was.
    """
    with roster.beside(state) as db:
        db.execute("PRAGMA state.synchronous = FULL")
        _take(db, known)


def begin_with(first: Taken, new: Path) -> None:
    """The same for a file of empty tables that has no name yet by which a state is known.

    Who has made that file syncs it. Where this fails the file is good for nothing, and has to be deleted.
    """
    with first.roster.beside(new) as db:
        for setting in WITHOUT_LOG:
            db.execute(f"PRAGMA state.{setting}")
        _take(db, first.known | first.origin)


def _take(db: sqlite3.Connection, known: Mapping[str, str]) -> None:
    db.execute("PRAGMA foreign_keys = ON")
    db.execute("BEGIN IMMEDIATE")
    try:
        if db.execute("SELECT 1 FROM state.rows LIMIT 1").fetchone() is None:
            with _indexed_afterwards(db):
                db.execute(_FILL)
        else:
            for step in (_LEAVE, _ENTER, _FORGET):
                db.execute(step)
        for step in _TWINS:
            db.execute(step)
        db.executemany("INSERT OR REPLACE INTO state.meta VALUES (?, ?)", known.items())
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


@contextmanager
def _indexed_afterwards(db: sqlite3.Connection) -> Iterator[None]:
    indexes = db.execute(_INDEXES).fetchall()
    for name, _ in indexes:
        db.execute(f"DROP INDEX state.{name}")
    yield
    for name, sql in indexes:
        db.execute(sql.replace(f"INDEX {name}", f"INDEX state.{name}", 1))
