"""What was charged is on disk before anybody is told: a task, its charge and its key are one transaction.

The only writer of `service.sqlite3`, with the outbox and the uploads, which share its connection. The ledger
is append-only: nothing here updates or deletes its rows. A kill of the process loses nothing that was
committed (WAL, synchronous=NORMAL).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from nanobanana_batch.service import outbox, soundness, uploads
from nanobanana_batch.service.envelope import ApiError
from nanobanana_batch.service.options import ServiceError
from nanobanana_batch.service.outbox import Outbox
from nanobanana_batch.service.uploads import Uploads
from nanobanana_batch.service.validate import ListQuery

DATABASE_NAME = "service.sqlite3"
_VERSION = 1

_SCHEMA = """
CREATE TABLE tasks (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    account TEXT NOT NULL,
    dialect TEXT NOT NULL,
    model TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at REAL NOT NULL,
    starts_at REAL NOT NULL,
    due_at REAL NOT NULL,
    body BLOB NOT NULL,
    body_sha256 TEXT NOT NULL,
    occurrence INTEGER NOT NULL,
    credits INTEGER NOT NULL,
    request TEXT NOT NULL,
    render_seed INTEGER NOT NULL,
    fate TEXT,
    extension TEXT NOT NULL,
    finished_at REAL,
    error_code TEXT,
    error_message TEXT,
    link_token TEXT,
    image_gone INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX tasks_by_account ON tasks (account, seq);
CREATE INDEX tasks_by_body ON tasks (account, body_sha256);
CREATE INDEX tasks_open ON tasks (seq) WHERE state = 'open';
CREATE INDEX tasks_with_image ON tasks (finished_at) WHERE state = 'completed' AND image_gone = 0;
CREATE TABLE links (token TEXT PRIMARY KEY, task_seq INTEGER NOT NULL, dead INTEGER NOT NULL DEFAULT 0);
CREATE TABLE accounts (
    account TEXT PRIMARY KEY, granted INTEGER NOT NULL, reserved INTEGER NOT NULL, used INTEGER NOT NULL
);
CREATE TABLE idempotency (
    account TEXT NOT NULL, key TEXT NOT NULL, dialect TEXT NOT NULL, body_sha256 TEXT NOT NULL,
    task_seq INTEGER NOT NULL, PRIMARY KEY (account, key)
) WITHOUT ROWID;
CREATE TABLE ledger (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    time REAL NOT NULL,
    event TEXT NOT NULL,
    task_id TEXT NOT NULL,
    account TEXT NOT NULL,
    credits INTEGER NOT NULL,
    body_sha256 TEXT NOT NULL,
    idempotency_key TEXT
);
"""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task that is about to be charged; the fields are columns."""

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
class Task:
    """A task as it is on disk; pending and processing are both `open`, the clock tells them apart."""

    seq: int
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
    finished_at: float | None
    error_code: str | None
    error_message: str | None
    link_token: str | None
    image_gone: int


@dataclass(frozen=True, slots=True)
class Balance:
    granted: int
    reserved: int
    used: int

    @property
    def remaining(self) -> int:
        return self.granted - self.reserved - self.used


@dataclass(frozen=True, slots=True)
class Bound:
    """What an idempotency key stands for."""

    dialect: str
    body_sha256: str
    task_seq: int


_NEW_NAMES = [f.name for f in fields(NewTask)]
_NEW_COLUMNS = ", ".join(_NEW_NAMES)
_NEW_MARKS = ", ".join("?" for _ in _NEW_NAMES)
_COLUMNS = ", ".join(f"tasks.{f.name}" for f in fields(Task))


class Store:
    """All SQL that writes. Lives on the event loop's thread; each call is one short transaction."""

    def __init__(self, data_dir: Path, credits: int, *, unlimited: bool = False) -> None:
        self._credits = credits
        self._unlimited = unlimited
        path = data_dir / DATABASE_NAME
        soundness.refuse_foreign_journal(path)
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            soundness.refuse_foreign_schema(self._db, path, (_SCHEMA, outbox.SCHEMA, uploads.SCHEMA))
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=NORMAL")
            self._make_schema()
            self.outbox = Outbox(self._db)
            self.uploads = Uploads(self._db, data_dir)
            soundness.refuse_ways_out(self._db, path)
        except BaseException as error:
            self._db.close()
            if isinstance(error, sqlite3.Error | UnicodeDecodeError):
                raise ServiceError(f"{path} cannot be used: {error}") from error
            raise

    def close(self) -> None:
        self._db.close()

    def _make_schema(self) -> None:
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        if version > _VERSION:
            raise ServiceError(f"the data folder was written by a newer version (schema {version})")
        if version == 0:
            self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version={_VERSION}; COMMIT;")

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    # Accounts

    def balance(self, account: str) -> Balance:
        row = self._db.execute(
            "SELECT granted, reserved, used FROM accounts WHERE account = ?", (account,)
        ).fetchone()
        return Balance(*row) if row else Balance(self._credits, 0, 0)

    # Submit

    def occurrences(self, account: str, body_sha256: str) -> int:
        query = "SELECT count(*) FROM tasks WHERE account = ? AND body_sha256 = ?"
        return int(self._db.execute(query, (account, body_sha256)).fetchone()[0])

    def has_id(self, task_id: str) -> bool:
        return self._db.execute("SELECT 1 FROM tasks WHERE id = ?", (task_id,)).fetchone() is not None

    def bound(self, account: str, key: str) -> Bound | None:
        query = "SELECT dialect, body_sha256, task_seq FROM idempotency WHERE account = ? AND key = ?"
        row = self._db.execute(query, (account, key)).fetchone()
        return Bound(*row) if row else None

    def create(self, new: NewTask, key: str | None) -> Task:
        with self._transaction() as db:
            if not self._unlimited and self.balance(new.account).remaining < new.credits:
                raise ApiError(
                    402, "insufficient_quota", f"The task costs {new.credits} credits; too few remain."
                )
            insert = f"INSERT INTO tasks ({_NEW_COLUMNS}) VALUES ({_NEW_MARKS})"
            values = [getattr(new, name) for name in _NEW_NAMES]
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
        return Task(*[seq, *values, None, None, None, None, 0])

    def _record(self, event: str, task: NewTask | Task, credits: int, key: str | None = None) -> None:
        self._db.execute(
            "INSERT INTO ledger (time, event, task_id, account, credits, body_sha256, idempotency_key)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            (time.time(), event, task.id, task.account, credits, task.body_sha256, key),
        )

    # Lifecycle

    def complete(self, task: Task, token: str) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET state = 'completed', finished_at = ?, link_token = ? WHERE seq = ?",
                (time.time(), token, task.seq),
            )
            db.execute("INSERT INTO links (token, task_seq) VALUES (?, ?)", (token, task.seq))
            db.execute(
                "UPDATE accounts SET reserved = reserved - ?, used = used + ? WHERE account = ?",
                (task.credits, task.credits, task.account),
            )
            self._record("completed", task, task.credits)
            self.outbox.add(task.seq)

    def fail(self, task: Task, code: str, message: str) -> None:
        self._refund(task, "failed", code, message)

    def cancel(self, task: Task) -> None:
        self._refund(task, "cancelled", None, None)

    def _refund(self, task: Task, state: str, code: str | None, message: str | None) -> None:
        with self._transaction() as db:
            db.execute(
                "UPDATE tasks SET state = ?, finished_at = ?, error_code = ?, error_message = ?"
                " WHERE seq = ?",
                (state, time.time(), code, message, task.seq),
            )
            update = "UPDATE accounts SET reserved = reserved - ? WHERE account = ?"
            db.execute(update, (task.credits, task.account))
            self._record(state, task, 0)
            self._record("refunded", task, task.credits)
            self.outbox.add(task.seq)

    def unfinished(self) -> list[Task]:
        return self._tasks("WHERE state = 'open' ORDER BY due_at", ())

    # Reads

    def _tasks(self, where: str, values: Sequence[object]) -> list[Task]:
        return [Task(*row) for row in self._db.execute(f"SELECT {_COLUMNS} FROM tasks {where}", values)]

    def by_seq(self, seq: int) -> Task:
        return self._tasks("WHERE seq = ?", (seq,))[0]

    def by_ids(self, account: str, ids: Sequence[str]) -> list[Task]:
        marks = ", ".join("?" for _ in ids)
        found = {
            task.id: task for task in self._tasks(f"WHERE id IN ({marks}) AND account = ?", (*ids, account))
        }
        return [found[one] for one in ids if one in found]

    def recent(self, account: str, query: ListQuery, now: float) -> tuple[list[Task], int]:
        where, values = "WHERE account = ?", [account]
        if query.model is not None:
            where, values = f"{where} AND model = ?", [*values, query.model]
        # Every task of this service is an image.
        if query.type is not None:
            where, values = f"{where} AND ? = 'image'", [*values, query.type]
        where += _status_sql(query.status, now)
        (total,) = self._db.execute(f"SELECT count(*) FROM tasks {where}", values).fetchone()
        page = (query.page_size, (query.page - 1) * query.page_size)
        return self._tasks(f"{where} ORDER BY seq DESC LIMIT ? OFFSET ?", (*values, *page)), total

    # Links

    def linked(self, token: str) -> tuple[Task, bool] | None:
        """The task behind a link, and whether the link died early."""
        query = f"SELECT {_COLUMNS}, dead FROM links JOIN tasks ON tasks.seq = task_seq WHERE token = ?"
        row = self._db.execute(query, (token,)).fetchone()
        return (Task(*row[:-1]), bool(row[-1])) if row else None

    def kill_link(self, token: str) -> None:
        self._db.execute("UPDATE links SET dead = 1 WHERE token = ?", (token,))

    def renew_link(self, task: Task, token: str) -> None:
        with self._transaction() as db:
            db.execute("UPDATE tasks SET link_token = ? WHERE seq = ?", (token, task.seq))
            db.execute("INSERT INTO links (token, task_seq) VALUES (?, ?)", (token, task.seq))

    def is_dead(self, token: str) -> bool:
        row = self._db.execute("SELECT dead FROM links WHERE token = ?", (token,)).fetchone()
        return row is None or bool(row[0])

    def outlived(self, finished_before: float) -> list[Task]:
        return self._tasks(
            "WHERE state = 'completed' AND image_gone = 0 AND finished_at <= ? LIMIT 1000", (finished_before,)
        )

    def images_gone(self, tasks: Sequence[Task]) -> None:
        with self._transaction() as db:
            db.executemany("UPDATE tasks SET image_gone = 1 WHERE seq = ?", [(task.seq,) for task in tasks])

    @property
    def connection(self) -> sqlite3.Connection:
        """For the ledger's queries, which only read."""
        return self._db


def _status_sql(status: str | None, now: float) -> str:
    if status is None:
        return ""
    if status not in ("pending", "processing"):
        return f" AND state = '{status}'"
    return f" AND state = 'open' AND starts_at {'>' if status == 'pending' else '<='} {now!r}"
