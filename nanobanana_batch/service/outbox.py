"""A callback that is owed is on disk from the moment its task is settled until it is known what became of it.

The table is the queue: however many callbacks wait, none of them is held in memory.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import Literal

Outcome = Literal["delivered", "failed", "refused", "late", "lost"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS callbacks (
    seq INTEGER PRIMARY KEY,
    task_seq INTEGER NOT NULL UNIQUE,
    url TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    outcome TEXT
);
CREATE INDEX IF NOT EXISTS callbacks_owed ON callbacks (seq) WHERE outcome IS NULL;
"""


@dataclass(frozen=True, slots=True)
class Owed:
    """One callback; attempts that were begun count, also those that a restart cut short."""

    seq: int
    task_seq: int
    url: str
    attempts: int


class Outbox:
    """The table `callbacks`, on the store's own connection."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._db.executescript(SCHEMA)

    def add(self, task_seq: int) -> None:
        """Within the transaction that settles the task; nothing for a task that asked for no callback."""
        self._db.execute(
            "INSERT INTO callbacks (task_seq, url) SELECT seq, json_extract(request, '$.callback_url')"
            " FROM tasks WHERE seq = ? AND json_extract(request, '$.callback_url') IS NOT NULL",
            (task_seq,),
        )

    def next(self, after_seq: int) -> Owed | None:
        """The oldest one after another."""
        query = (
            "SELECT seq, task_seq, url, attempts FROM callbacks"
            " WHERE outcome IS NULL AND seq > ? ORDER BY seq LIMIT 1"
        )
        row = self._db.execute(query, (after_seq,)).fetchone()
        return Owed(*row) if row else None

    def count_attempt(self, owed: Owed) -> None:
        self._db.execute("UPDATE callbacks SET attempts = attempts + 1 WHERE seq = ?", (owed.seq,))

    def settle(self, owed: Owed, outcome: Outcome) -> None:
        self._db.execute("UPDATE callbacks SET outcome = ? WHERE seq = ?", (outcome, owed.seq))

    def counts(self) -> dict[str, int]:
        """By outcome; `owed` are those without one yet."""
        counts = dict.fromkeys(("owed", "delivered", "failed", "refused", "late", "lost"), 0)
        query = "SELECT coalesce(outcome, 'owed'), count(*) FROM callbacks GROUP BY outcome"
        return counts | dict(self._db.execute(query).fetchall())
