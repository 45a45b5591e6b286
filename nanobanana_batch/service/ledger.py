"""The ledger is the judge of every crash test: it only reads what was charged and what became of it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.service.store import DATABASE_NAME

# A body that was charged again after its earlier tasks were refunded is no duplicate.
_DUPLICATES = """
SELECT coalesce(sum(n - 1), 0) FROM (
    SELECT count(*) AS n FROM tasks WHERE state NOT IN ('failed', 'cancelled')
    GROUP BY account, body_sha256 HAVING count(*) > 1
)
"""


@dataclass(frozen=True, slots=True)
class Summary:
    """The sums: tasks and credits by what became of them."""

    paid_tasks: int
    completed: int
    failed: int
    cancelled: int
    refunded: int
    unfinished: int
    credits_charged: int
    credits_refunded: int
    credits_used: int
    duplicate_bodies: int
    accounts: int

    def as_json(self) -> dict[str, int]:
        """By the fields' names."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class PaidTask:
    """A task as it was charged."""

    id: str
    account: str
    dialect: str
    model: str
    state: str  # open, completed, failed, cancelled
    credits: int
    body: bytes
    body_sha256: str
    error_code: str | None


@dataclass(frozen=True, slots=True)
class Ledger:
    """All that a judge needs of a data folder."""

    summary: Summary
    tasks: tuple[PaidTask, ...]


def read_ledger(data_dir: Path) -> Ledger:
    """The summary and all tasks of a data folder, whether a service runs on it or not.

    Raises:
        sqlite3.Error: there is no database that can be read.
    """
    database = (Path(data_dir) / DATABASE_NAME).resolve()
    with closing(sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True)) as db:
        db.execute("BEGIN")  # one snapshot for both
        columns = "id, account, dialect, model, state, credits, body, body_sha256, error_code"
        tasks = tuple(PaidTask(*row) for row in db.execute(f"SELECT {columns} FROM tasks ORDER BY seq"))
        return Ledger(summarise(db), tasks)


def summarise(db: sqlite3.Connection) -> Summary:
    """What the ledger's lines come to."""
    grouped = db.execute("SELECT event, count(*), sum(credits) FROM ledger GROUP BY event")
    found = {event: (count, credits) for event, count, credits in grouped}
    names = ("charged", "refunded", "completed", "failed", "cancelled")
    charged, refunded, completed, failed, cancelled = (found.get(name, (0, 0)) for name in names)
    return Summary(
        paid_tasks=charged[0],
        completed=completed[0],
        failed=failed[0],
        cancelled=cancelled[0],
        refunded=refunded[0],
        unfinished=charged[0] - completed[0] - failed[0] - cancelled[0],
        credits_charged=charged[1],
        credits_refunded=refunded[1],
        credits_used=completed[1],
        duplicate_bodies=db.execute(_DUPLICATES).fetchone()[0],
        accounts=db.execute("SELECT count(*) FROM accounts").fetchone()[0],
    )


def events_after(db: sqlite3.Connection, seq: int, limit: int = 1000) -> list[dict[str, Any]]:
    """The ledger's lines after that of this number, at most `limit`, oldest first; times: Unix seconds."""
    names = "seq, time, event, task_id, account, credits, body_sha256, idempotency_key"
    rows = db.execute(f"SELECT {names} FROM ledger WHERE seq > ? ORDER BY seq LIMIT ?", (seq, limit))
    return [dict(zip(names.split(", "), row, strict=True)) for row in rows]
