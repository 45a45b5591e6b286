"""What was charged is on disk before anybody is told: a task, its charge and its key are one transaction.

The only writer of `service.sqlite3`. The ledger is append-only: nothing here updates or deletes its rows. A
kill of the process loses nothing that was committed (WAL, synchronous=NORMAL). A callback that is owed is on
disk from the moment its task is settled until it is known what became of it: the table is the queue.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from nanobanana_batch.service import data_folder
from nanobanana_batch.service.contract import ApiError
from nanobanana_batch.service.options import ServiceError
from nanobanana_batch.service.uploads import Uploads

DATABASE_NAME = "service.sqlite3"
_VERSION = 1

_SCHEMA = """
CREATE TABLE IF NOT EXISTS tasks (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, account TEXT NOT NULL, dialect TEXT NOT NULL,
    model TEXT NOT NULL, state TEXT NOT NULL, created_at REAL NOT NULL, starts_at REAL NOT NULL,
    due_at REAL NOT NULL, body BLOB NOT NULL, body_sha256 TEXT NOT NULL, occurrence INTEGER NOT NULL,
    credits INTEGER NOT NULL, request TEXT NOT NULL, render_seed INTEGER NOT NULL, fate TEXT,
    extension TEXT NOT NULL, finished_at REAL, error_code TEXT, error_message TEXT, link_token TEXT,
    image_gone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS tasks_by_account ON tasks (account, seq);
CREATE INDEX IF NOT EXISTS tasks_by_body ON tasks (account, body_sha256);
CREATE INDEX IF NOT EXISTS tasks_open ON tasks (seq) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS tasks_with_image ON tasks (finished_at)
    WHERE state = 'completed' AND image_gone = 0;
CREATE TABLE IF NOT EXISTS links
    (token TEXT PRIMARY KEY, task_seq INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0);
CREATE TABLE IF NOT EXISTS accounts (
    account TEXT PRIMARY KEY, granted INTEGER NOT NULL, reserved INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS idempotency (
    account TEXT NOT NULL, key TEXT NOT NULL, dialect TEXT NOT NULL, body_sha256 TEXT NOT NULL,
    task_seq INTEGER NOT NULL, PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, event TEXT NOT NULL, task_id TEXT NOT NULL,
    account TEXT NOT NULL, credits INTEGER NOT NULL, body_sha256 TEXT NOT NULL, idempotency_key TEXT
);
CREATE TABLE IF NOT EXISTS callbacks (
    seq INTEGER PRIMARY KEY, task_seq INTEGER NOT NULL UNIQUE, url TEXT NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, outcome TEXT
);
CREATE INDEX IF NOT EXISTS callbacks_owed ON callbacks (seq) WHERE outcome IS NULL;
CREATE TABLE IF NOT EXISTS uploads (
    file_id TEXT PRIMARY KEY, account TEXT NOT NULL, token TEXT NOT NULL UNIQUE, extension TEXT NOT NULL,
    file_name TEXT NOT NULL, original_name TEXT NOT NULL, upload_path TEXT NOT NULL,
    size_bytes INTEGER NOT NULL, uploaded_at REAL NOT NULL, expires_at REAL NOT NULL, gone INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS uploads_by_account ON uploads (account) WHERE gone = 0;
"""

Outcome = Literal["delivered", "failed", "refused", "late", "lost"]


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is about to be charged; the fields are columns, times are Unix seconds."""

    id: str
    account: str
    dialect: str
    model: str
    state: str
    created_at: float
    starts_at: float
    due_at: float
    body: bytes
    body_sha256: str
    occurrence: int
    credits: int
    request: str
    render_seed: int
    fate: str | None
    extension: str


@dataclass(frozen=True, slots=True)
class Task(NewTask):
    """A task as it is on disk; pending and processing are both `open`, the clock tells them apart."""

    seq: int
    finished_at: float | None = None
    error_code: str | None = None
    error_message: str | None = None
    link_token: str | None = None
    image_gone: int = 0

    @property
    def subject(self) -> str:
        """By which faults know it: the same in every run."""
        return f"{self.body_sha256}:{self.occurrence}"

    @property
    def file_name(self) -> str:
        """Of its picture, or of the first of several."""
        return self.file_name_of(1)

    def links(self, base_url: str, token: str | None, count: int) -> list[str]:
        """Where its pictures can be had; whoever has one of these links can guess the others."""
        ends = ["", *(f"~{number}" for number in range(2, count + 1))]
        return [f"{base_url}/files/{token}{end}.{self.extension}" for end in ends]

    def file_name_of(self, number: int) -> str:
        """Of its n-th picture (1-based)."""
        return f"{self.id}{'' if number == 1 else f'~{number}'}.{self.extension}"


@dataclass(frozen=True, slots=True)
class Owed:
    """One callback; attempts that were begun count, also those that a restart cut short."""

    seq: int
    task_seq: int
    url: str
    attempts: int


_NEW_NAMES = [f.name for f in fields(NewTask)]
_COLUMNS = ", ".join(f"tasks.{f.name}" for f in fields(Task))


class Store:
    """All SQL that writes. Lives on the event loop's thread; each call is one short transaction.

    Times are Unix seconds.
    """

    def __init__(self, data_dir: Path, credits: int, *, unlimited: bool = False) -> None:
        """Raises ServiceError where there is a database that this program has not made, or a newer one."""
        self._credits = credits
        self._unlimited = unlimited
        path = data_dir / DATABASE_NAME
        data_folder.refuse_foreign_journal(path)
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            data_folder.refuse_foreign_schema(self._db, path, _SCHEMA)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise ServiceError(f"the data folder was written by a newer version (schema {version})")
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")
            data_folder.refuse_ways_out(self._db, path)
            self.uploads = Uploads(self._db, data_dir)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise ServiceError(f"{path} cannot be used: {error}") from error
            raise

    def close(self) -> None:
        """Nothing may be asked of it after that."""
        self._db.close()

    @property
    def connection(self) -> sqlite3.Connection:
        """For the ledger's queries, which only read."""
        return self._db

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _row(self, query: str, *values: object) -> Any:
        """The first one, or None."""
        return self._db.execute(query, values).fetchone()

    # Submit

    def balance(self, account: str) -> tuple[int, int]:
        """The credits that remain, which are what each account is given until it is seen, and those used."""
        row = self._row("SELECT granted - reserved - used, used FROM accounts WHERE account = ?", account)
        return row or (self._credits, 0)

    def occurrences(self, account: str, body_sha256: str) -> int:
        """How often an account has been charged for this body."""
        query = "SELECT count(*) FROM tasks WHERE account = ? AND body_sha256 = ?"
        return int(self._row(query, account, body_sha256)[0])

    def has_id(self, task_id: str) -> bool:
        """Whether any account has such a task."""
        return self._row("SELECT 1 FROM tasks WHERE id = ?", task_id) is not None

    def bound(self, account: str, key: str) -> Task | None:
        """What an account's idempotency key stands for; None if it was never used."""
        row = self._row("SELECT task_seq FROM idempotency WHERE account = ? AND key = ?", account, key)
        return self.by_seq(row[0]) if row else None

    def create(self, new: NewTask, key: str | None) -> Task:
        """Charges for the task. Raises ApiError: 402 where too few credits are left."""
        with self._transaction() as db:
            if not self._unlimited and self.balance(new.account)[0] < new.credits:
                message = f"The task costs {new.credits} credits; too few remain."
                raise ApiError(402, "insufficient_quota", message)
            values = [getattr(new, name) for name in _NEW_NAMES]
            marks = ", ".join("?" for _ in values)
            insert = f"INSERT INTO tasks ({', '.join(_NEW_NAMES)}) VALUES ({marks})"
            seq = db.execute(insert, values).lastrowid
            db.execute(
                "INSERT INTO accounts VALUES (?, ?, ?, 0)"
                " ON CONFLICT (account) DO UPDATE SET reserved = reserved + excluded.reserved",
                (new.account, self._credits, new.credits),
            )
            if key is not None:
                bound = (new.account, key, new.dialect, new.body_sha256, seq)
                db.execute("INSERT INTO idempotency VALUES (?, ?, ?, ?, ?)", bound)
            self._record("accepted", new, 0, key)
            self._record("charged", new, new.credits, key)
        return self.by_seq(seq or 0)

    def _record(self, event: str, task: NewTask, credits: int, key: str | None = None) -> None:
        self._db.execute(
            "INSERT INTO ledger (time, event, task_id, account, credits, body_sha256, idempotency_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (time.time(), event, task.id, task.account, credits, task.body_sha256, key),
        )

    # How a task ends

    def complete(self, task: Task, token: str) -> None:
        """Its picture is on disk, and can be had by this link."""
        with self._transaction() as db:
            db.execute("UPDATE accounts SET used = used + ? WHERE account = ?", (task.credits, task.account))
            self._end(task, "completed", {"link_token": token})
            self._record("completed", task, task.credits)
            db.execute("INSERT INTO links (token, task_seq) VALUES (?, ?)", (token, task.seq))

    def fail(self, task: Task, code: str, message: str) -> None:
        """And pays back."""
        with self._transaction():
            self._end(task, "failed", {"error_code": code, "error_message": message})
            self._record("failed", task, 0)
            self._record("refunded", task, task.credits)

    def cancel(self, task: Task) -> None:
        """And pays back."""
        with self._transaction():
            self._end(task, "cancelled", {})
            self._record("cancelled", task, 0)
            self._record("refunded", task, task.credits)

    def _end(self, task: Task, state: str, more: Mapping[str, str]) -> None:
        """Within a transaction: nothing is reserved any more; a callback is owed if one was asked for."""
        changes = {"state": state, "finished_at": time.time(), **more}
        assignments = ", ".join(f"{name} = ?" for name in changes)
        self._db.execute(f"UPDATE tasks SET {assignments} WHERE seq = ?", (*changes.values(), task.seq))
        update = "UPDATE accounts SET reserved = reserved - ? WHERE account = ?"
        self._db.execute(update, (task.credits, task.account))
        self._db.execute(
            "INSERT INTO callbacks (task_seq, url) SELECT seq, json_extract(request, '$.callback_url')"
            " FROM tasks WHERE seq = ? AND json_extract(request, '$.callback_url') IS NOT NULL",
            (task.seq,),
        )

    # Reads

    def _tasks(self, where: str, values: Sequence[object]) -> list[Task]:
        return [Task(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks {where}", values)]

    def unfinished(self) -> list[Task]:
        """All that are open, those that are due first."""
        return self._tasks("WHERE state = 'open' ORDER BY due_at", ())

    def by_seq(self, seq: int) -> Task:
        """Raises IndexError where there is none."""
        return self._tasks("WHERE seq = ?", (seq,))[0]

    def by_ids(self, account: str, ids: Sequence[str]) -> list[Task]:
        """In this order; what the account has not is absent."""
        marks = ", ".join("?" for _ in ids)
        found = self._tasks(f"WHERE id IN ({marks}) AND account = ?", (*ids, account))
        return sorted(found, key=lambda task: ids.index(task.id))

    def recent(self, account: str, query: Mapping[str, Any], now: float) -> tuple[list[Task], int]:
        """A page of an account's tasks at `now`, newest first, and how many there are, as the call asks."""
        where, values = "WHERE account = ?", [account]
        if query["model"]:
            where, values = f"{where} AND model = ?", [*values, query["model"]]
        if query["type"]:  # every task of this service is an image
            where, values = f"{where} AND ? = 'image'", [*values, query["type"]]
        if query["status"] in ("pending", "processing"):
            where += (
                f" AND state = 'open' AND starts_at {'>' if query['status'] == 'pending' else '<='} {now!r}"
            )
        elif query["status"]:
            where, values = f"{where} AND state = ?", [*values, query["status"]]
        total = int(self._row(f"SELECT count(*) FROM tasks {where}", *values)[0])
        page = (query["page_size"], (query["page"] - 1) * query["page_size"])
        return self._tasks(f"{where} ORDER BY seq DESC LIMIT ? OFFSET ?", (*values, *page)), total

    # Links

    def linked(self, token: str) -> tuple[Task, bool] | None:
        """The task behind a link, and whether the link died early."""
        query = f"SELECT {_COLUMNS}, dead FROM links JOIN tasks ON tasks.seq = task_seq WHERE token = ?"
        row = self._row(query, token)
        return (Task(*row[:-1]), bool(row[-1])) if row else None

    def kill_link(self, token: str) -> None:
        """Before its time."""
        self._db.execute("UPDATE links SET dead = 1 WHERE token = ?", (token,))

    def renew_link(self, task: Task, token: str) -> None:
        """The task's picture can be had by another link from now on."""
        with self._transaction() as db:
            db.execute("UPDATE tasks SET link_token = ? WHERE seq = ?", (token, task.seq))
            db.execute("INSERT INTO links (token, task_seq) VALUES (?, ?)", (token, task.seq))

    def outlived(self, finished_before: float) -> list[Task]:
        """Tasks, not all at once, whose picture is still on disk."""
        where = "WHERE state = 'completed' AND image_gone = 0 AND finished_at <= ? LIMIT 1000"
        return self._tasks(where, (finished_before,))

    def images_gone(self, tasks: Sequence[Task]) -> None:
        """Their pictures were deleted."""
        with self._transaction() as db:
            db.executemany("UPDATE tasks SET image_gone = 1 WHERE seq = ?", [(task.seq,) for task in tasks])

    # Callbacks

    def next_callback(self, after_seq: int) -> Owed | None:
        """The oldest one that is owed, after another."""
        query = (
            "SELECT seq, task_seq, url, attempts FROM callbacks"
            " WHERE outcome IS NULL AND seq > ? ORDER BY seq LIMIT 1"
        )
        row = self._row(query, after_seq)
        return Owed(*row) if row else None

    def count_attempt(self, owed: Owed) -> None:
        """Before it is begun."""
        self._db.execute("UPDATE callbacks SET attempts = attempts + 1 WHERE seq = ?", (owed.seq,))

    def settle_callback(self, owed: Owed, outcome: Outcome) -> None:
        """It is owed no more."""
        self._db.execute("UPDATE callbacks SET outcome = ? WHERE seq = ?", (outcome, owed.seq))

    def callback_counts(self) -> dict[str, int]:
        """By outcome; `owed` are those without one yet."""
        counts = dict.fromkeys(("owed", "delivered", "failed", "refused", "late", "lost"), 0)
        query = "SELECT coalesce(outcome, 'owed'), count(*) FROM callbacks GROUP BY outcome"
        return counts | dict(self._db.execute(query).fetchall())
