"""The only writer of facts: what was sent and what came of it is on disk before the next step is taken.

One SQLite file per output folder, WAL with synchronous=FULL: a commit that has returned survives
power loss. All methods block; the engine calls them in a thread and groups facts into one commit.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from array import array
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.file_names import is_image_path
from nanobanana_batch.model import Kind, Request, request_from_json
from nanobanana_batch.state.doubts import Doubts
from nanobanana_batch.state.facts import Fact
from nanobanana_batch.state.ledger import Chain, Witness, chain_of, refuse_less_known, told, told_anew
from nanobanana_batch.state.lifecycle import OPEN, ImagePhase, Phase, in_sql
from nanobanana_batch.state.open_attempts import OpenAttempt, is_any_open, open_attempts
from nanobanana_batch.state.prices import (
    CREDITS_OF_ENDED,
    CREDITS_OF_OPEN,
    PRICES,
    TASKS_OF_ROW,
    UNPRICED,
    PriceClass,
    by_kind,
)
from nanobanana_batch.state.schema import VERSION
from nanobanana_batch.state.scope import Scope
from nanobanana_batch.state.soundness import (
    names_what_no_run_names,
    refuse_unsound,
    refuse_ways_out,
    understood,
)
from nanobanana_batch.state.state_file import (
    KEEP_IT,
    as_state_failure,
    connect,
    connect_to_read,
    create,
    refuse_damage,
)
from nanobanana_batch.state.taking import MADE_DIGEST, MADE_FROM, Taken, take
from nanobanana_batch.state.twins import HAS_TWINS, Twins, legacy_twins
from nanobanana_batch.state.uploads import Uploads
from nanobanana_batch.state.writers import WRITERS, without_case


@dataclass(frozen=True, slots=True)
class RowToSend:
    """A row of the manifest that is to be paid for."""

    row: int
    position: int
    row_key: str
    id: str
    request: Request
    number: int
    """Of the attempt to come, 1-based."""
    stem: str | None
    """The file name that it has had since its first attempt."""
    base_key: str
    """Of a row of several that ask for the same: see `state.twins`."""


@dataclass(frozen=True, slots=True)
class OpenCredits:
    """What an attempt that has not ended costs; None: nobody told."""

    attempt: int
    phase: Phase
    request: Request
    credits: float | None
    sent: int
    """How many of its sendings may have been paid."""
    job: int | None = None
    """The number of its request, if that is for several rows; `credits` is its share then."""
    kind: Kind = Kind.TASK
    is_billed: bool = False
    """The provider has said what it has cost, whatever becomes of its row."""


@dataclass(frozen=True, slots=True)
class SavedFile:
    """An image that was saved once; `is_saved` says whether the state still counts on it.

    `file_time`: when its file was changed last, in Unix seconds; None: not known.
    """

    attempt: int
    number: int
    """1: the row's image; the others stand beside it."""
    path: str
    size_bytes: int
    sha256: str
    file_time: float | None
    is_saved: bool


_NEW = """
SELECT row, position, row_key, id, request, 1, stem, base_key FROM rows LEFT JOIN twins USING (row_key)
WHERE position > ? AND {scope} AND attempt IS NULL ORDER BY position LIMIT ?
"""
_ONE = """
SELECT rows.row, position, row_key, id, rows.request, coalesce(number, 0) + 1, stem, base_key
FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt LEFT JOIN twins USING (row_key)
WHERE rows.row = ?
"""
_REPEATED = f"""
SELECT rows.row FROM attempts CROSS JOIN rows ON rows.row = attempts.row AND rows.attempt = attempts.attempt
WHERE attempts.phase != '{Phase.SAVED}' AND attempts.phase IN ({{phases}}) AND {{scope}} AND number > ?
  AND coalesce(error_code = ?, ? IS NULL)
  AND (? IS NULL OR (retryable = 1 AND {TASKS_OF_ROW} < ?))
ORDER BY position
"""
_STREAMED_AT_ONCE = 256


@dataclass(frozen=True, slots=True)
class Repeat:
    """Which rows get another attempt: those whose latest one is in one of the phases.

    `had_more`: only if there was one before that. `retryable_below`: only if the provider's reason may
    pass, and while they had fewer tasks than this. `code`: only if it ended with that.
    """

    phases: frozenset[Phase]
    had_more: bool = False
    retryable_below: int | None = None
    code: str | None = None


class Store:
    """The state file of one output folder, opened for writing. Hold the folder's lock while it is open.

    Reading has a connection of its own: a question of the event loop does not wait for a commit that is
    being synced. It sees what was committed before it was asked.
    """

    def __init__(
        self,
        path: Path,
        witness: Witness | None = None,
        *,
        is_checked_later: bool = False,
        begins_with: Taken | None = None,
    ) -> None:
        """Open it, or make it.

        `is_checked_later`: its pages and values are looked at by `check`, or when something is written.
        `begins_with`: the manifest that a new one has from the start, where nothing was ever told of it.

        Raises:
            StateFailed: it is damaged or a stranger's, or knows less than the witness tells.
        """
        self._lock = threading.Lock()
        self._reading = threading.Lock()
        self._path, self._witness = path, witness
        with as_state_failure(path):
            is_new = not os.path.lexists(path)
            if is_new:
                is_untold = witness is None or witness.told() is None
                create(path, begins_with if is_untold else None)
            self._db, is_checked = connect(path, is_checked_later=is_checked_later or is_new)
            self._is_checked = is_checked or is_new
            self._reads = connect_to_read(path)
            found = self._reads.execute("SELECT coalesce(max(attempt), 0) FROM attempts").fetchone()
            self._last_attempt = int(found[0])
            self._chain = chain_of(self._db)
            if witness is not None:
                self._heard(witness)

    def close(self) -> None:
        """Fold the write-ahead log into the file and close it."""
        with as_state_failure(self._path), self._lock, self._reading:
            self._reads.close()
            self._db.close()

    def check(self) -> None:
        """Look at every page and value, unless that was done: a page that is missing could hide a payment.

        Raises:
            StateFailed: it is damaged, or holds what no run writes.
        """
        if self._is_checked:
            return
        with as_state_failure(self._path), self._lock:
            refuse_damage(self._db, self._path)
            refuse_unsound(self._db)
        self._is_checked = True

    @property
    def chain(self) -> Chain:
        """How much it has told of."""
        return self._chain

    @property
    def last_attempt(self) -> int:
        """The greatest number that an attempt has, or has been given; 0: none."""
        return self._last_attempt

    def next_attempt(self) -> int:
        """A number for a new attempt; its intent makes it real."""
        self._last_attempt += 1
        return self._last_attempt

    def apply(self, batch: Sequence[Fact]) -> None:
        """Write facts in order, in one transaction; when this returns they survive power loss.

        Raises:
            StateFailed: the disk failed, or a fact does not follow from its attempt's phase.
        """
        if not batch:
            return
        chain, lines = told(self._chain, batch)
        with self._transaction(lines):
            for fact in batch:
                WRITERS[type(fact)](self._db, fact)
            if chain != self._chain:
                self._db.execute("INSERT INTO told VALUES (?, ?, ?)", (chain.number, chain.sent, chain.mark))
        self._chain = chain

    def take_manifest(self, wanted: Taken) -> None:
        """Make its rows the current manifest; facts about rows that left it stay.

        Raises:
            StateFailed: the disk failed; the earlier manifest stays the current one.
        """
        known, roster = wanted.known, wanted.roster
        if all(self.meta(key) == value for key, value in known.items()):
            self._keep(wanted.origin)
            return
        self.check()
        known |= wanted.origin
        if self.meta(HAS_TWINS) is None and (found := self._legacy_twins()):
            with self._transaction():
                self._db.executemany("INSERT OR IGNORE INTO twins VALUES (?, ?)", found)
        with as_state_failure(self._path):
            roster.follow(Twins(self._read))
            roster.keep_ids(self._read)
        with as_state_failure(self._path), self._lock:
            take(roster, self._path, known)

    def _keep(self, values: Mapping[str, str]) -> None:
        if any(self.meta(name) != value for name, value in values.items()):
            with self._transaction():
                self._db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def made_from(self) -> str:
        """What `take_manifest` was told when it took the rows of the current manifest; empty: nothing."""
        if self.meta(MADE_DIGEST) != self.meta("digest"):  # an older program has taken another one
            return ""
        return self.meta(MADE_FROM) or ""

    @property
    def told_so_far(self) -> str:
        """Another one after each fact of what became of a paid request."""
        return f"{self._chain.number} {self._chain.mark.hex()}"

    def _legacy_twins(self) -> list[tuple[str, str]]:
        with as_state_failure(self._path), self._reading:
            return list(legacy_twins(self._reads))

    def meta(self, name: str) -> str | None:
        """A remembered value, or None."""
        found = self._read("SELECT value FROM meta WHERE name = ?", name)
        return str(found[0][0]) if found else None

    def remember(self, name: str, value: str) -> None:
        """Keep a value under a name."""
        with self._transaction():
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def new_rows(self, after: int, scope: Scope, at_most: int) -> list[RowToSend]:
        """The next rows of the scope without any attempt, past position `after`, in manifest order."""
        query = _NEW.format(scope=scope.condition)
        found = self._read(query, after, scope.value, at_most)
        with understood("rows"):
            return [_row_to_send(row) for row in found]

    def rows_to_repeat(self, which: Repeat, scope: Scope) -> Sequence[int]:
        """All rows of the scope that are to get another attempt, in manifest order."""
        query = _REPEATED.format(phases=in_sql(which.phases), scope=scope.condition)
        least = 1 if which.had_more else 0
        code, most = which.code, which.retryable_below
        return self._numbers(query, scope.value, least, code, code, most, most)

    def row_to_send(self, row: int) -> RowToSend:
        """One row, with the number of its next attempt."""
        (found,) = self._read(_ONE, row)
        with understood("rows"):
            return _row_to_send(found)

    def tasks_of(self, row: int) -> int:
        """How many requests for a row the provider took so far."""
        return int(
            self._read(
                "SELECT count(accepted_at) FROM attempts JOIN requests USING (request) WHERE row = ?", row
            )[0][0]
        )

    def open_attempts(self, phase: Phase, *, is_alone: bool | None = None) -> Iterator[OpenAttempt]:
        """See `state.open_attempts`: which there are is known at once, what each is a few at a time."""
        return open_attempts(self._read_named, self._numbers, phase, is_alone=is_alone)

    def is_any_open(self, phase: Phase, provider: str, *, with_resting: bool) -> bool:
        """Whether a provider has an attempt in a phase; `with_resting`: one that rests is one, too."""
        return is_any_open(self._read_named, phase, provider, with_resting=with_resting)

    def open_elsewhere(self, provider: str) -> dict[str, int]:
        """How many unfinished attempts belong to each other provider."""
        query = (
            "SELECT provider, count(*) FROM attempts JOIN requests USING (request) WHERE provider != ?"
            f" AND attempts.phase IN ({in_sql(OPEN)}) GROUP BY provider"
        )
        return {str(name): int(count) for name, count in self._read(query, provider)}

    def providers(self) -> list[str]:
        """The names of all providers to which something was sent."""
        return [str(found[0]) for found in self._read("SELECT DISTINCT provider FROM requests")]

    def saved_files(self) -> Iterator[SavedFile]:
        """Every file that was ever saved, and whether the state counts on it; a few at a time.

        Raises:
            StateFailed: the state cannot be read, or names a file as no run does.
        """
        query = (
            f"SELECT attempt, number, path, size_bytes, sha256, file_time, phase = '{ImagePhase.SAVED}'"
            " FROM images WHERE (attempt, number) > (?, ?) AND sha256 IS NOT NULL"
            " ORDER BY attempt, number LIMIT 1000"
        )
        after = (0, 0)
        while found := self._read(query, *after):
            for attempt, number, path, size_bytes, sha256, file_time, is_saved in found:
                if not is_image_path(str(path)):
                    raise names_what_no_run_names(path)
                yield SavedFile(attempt, number, path, size_bytes, sha256, file_time, bool(is_saved))
            after = (int(found[-1][0]), int(found[-1][1]))

    def is_awaited(self, request: int) -> bool:
        """Whether an image of a request may still become a file."""
        query = (
            "SELECT 1 FROM attempts WHERE (attempt = ? OR (request = ? AND request != attempt))"
            f" AND phase IN ({in_sql(OPEN)}) LIMIT 1"
        )
        return bool(self._read(query, request, request))

    def awaited_answers(self) -> frozenset[str]:
        """The keys of requests of which an image may still become a file, but for those of tasks.

        Also of those that expired: somebody may have brought back what was deleted.
        """
        query = (
            "SELECT DISTINCT idempotency_key FROM attempts JOIN requests USING (request)"
            f" WHERE attempts.phase != '{Phase.SAVED}' AND kind != ?"
            f" AND attempts.phase IN ({in_sql(OPEN | {Phase.EXPIRED})})"
        )
        return frozenset(key for (key,) in self._read(query, Kind.TASK))

    def stem_is_taken(self, stem: str) -> bool:
        """Whether a row has this file name already, without regard to case."""
        query = "SELECT 1 FROM rows WHERE stem_key IS NOT NULL AND stem_key = ?"
        return bool(self._read(query, without_case(stem)))

    def id_is_taken(self, id_: str) -> bool:
        """Whether a row of this id is in the manifest, or was."""
        return bool(self._read("SELECT 1 FROM rows WHERE id = ?", id_))

    def task_is_known(self, task_id: str) -> bool:
        """Whether a task of this id belongs to one of our attempts, at whatever provider."""
        return bool(self._read("SELECT 1 FROM requests WHERE task_id = ?", task_id))

    def task_is_taken(self, provider: str, account: str, task_id: str) -> bool:
        """Whether an answer with this task would give it to a second row.

        A provider may be reached under another profile's name or another spelling of its host: there the
        account tells. It may be reached with another key: there the name does.
        """
        query = "SELECT 1 FROM requests WHERE task_id = ? AND (provider = ? OR account = ?)"
        return bool(self._read(query, task_id, provider, account))

    def credits_of_ended(self) -> float:
        """What finished attempts have cost; the reserved or expected amount where nobody told.

        A task that failed was refunded; what was sent before it for the same row may have been paid still.
        """
        return float(self._read(CREDITS_OF_ENDED)[0][0])

    def credits_of_open(self) -> Iterator[OpenCredits]:
        """Of all that may still cost something; a few at a time."""
        for attempt, phase, request, credits, sent, job, kind, billed in self._streamed(CREDITS_OF_OPEN):
            with understood("rows"):
                known = OpenCredits(
                    attempt,
                    Phase(phase),
                    request_from_json(request),
                    credits,
                    sent,
                    job,
                    Kind(kind),
                    bool(billed),
                )
            yield known

    def has_unpriced_tasks(self) -> bool:
        """Whether the provider took a request and named no credits for it, neither then nor in the end."""
        return bool(self._read(UNPRICED))

    def prices(self) -> dict[PriceClass, float]:
        """The most that was ever reserved or used for each kind of request."""
        return by_kind(self._read(PRICES))

    def doubts(self, provider: str, account: str) -> Doubts:
        """The requests to a provider of which it is not known what became of each sending."""
        return Doubts(self._read, self._streamed, provider, account)

    def uploaded_for(self, attempt: int) -> dict[str, str]:
        """The addresses of the files that an attempt's body names, by their content."""
        query = "SELECT sha256, url FROM attempt_uploads JOIN uploads USING (upload) WHERE attempt = ?"
        return {str(sha256): str(url) for sha256, url in self._read(query, attempt)}

    def uploads(self, provider: str, account: str) -> Uploads:
        """The local files that a provider holds for this folder."""
        return Uploads(self._read, provider, account)

    def _read(self, query: str, *values: object) -> list[Any]:
        with as_state_failure(self._path), self._reading:
            return self._reads.execute(query, values).fetchall()

    def _streamed(self, query: str, *values: object) -> Iterator[Any]:
        """The same for many rows: of one moment, and few in memory at once; who asks for one reads few.

        Never wait meanwhile, and leave it to its end or to nobody: until then each read shows that moment.
        """
        at_once = 1
        with as_state_failure(self._path):
            with self._reading:
                cursor = self._reads.execute(query, values)
            with closing(cursor):
                while found := self._some_of(cursor, at_once):
                    yield from found
                    at_once = min(2 * at_once, _STREAMED_AT_ONCE)

    def _some_of(self, cursor: sqlite3.Cursor, at_once: int) -> list[Any]:
        with self._reading:
            return cursor.fetchmany(at_once)

    def _numbers(self, query: str, *values: object) -> Sequence[int]:
        """One number a row, 8 bytes each."""
        return array("q", (number for (number,) in self._streamed(query, *values)))

    def _read_named(self, query: str, *values: object) -> list[dict[str, Any]]:
        with as_state_failure(self._path), self._reading:
            cursor = self._reads.execute(query, values)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, found, strict=True)) for found in cursor]

    def _heard(self, witness: Witness) -> None:
        """Go on only if the state knows all that is told; what is not told yet is told."""
        known = witness.told()
        try:
            refuse_less_known(self._db, VERSION, known)
            if (Chain() if known is None else Chain(*known[:3])) != self._chain:
                self.check()
                witness.rewrite(told_anew(self._db, self._chain))
        except BaseException:
            self._reads.close()
            self._db.close()
            raise

    def _tell(self, witness: Witness, lines: bytes) -> None:
        try:
            witness.append(lines)
        except OSError as error:
            message = f"What is paid for cannot be told beside the state: {error}."
            raise StateFailed(message, hint=f"{KEEP_IT} The next run tells it.") from error

    @contextmanager
    def _transaction(self, lines: bytes = b"") -> Iterator[None]:
        """The witness is told the lines in the end: what they tell is on disk then, and not acted on yet."""
        self.check()
        with as_state_failure(self._path), self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
            if self._witness is not None:
                self._tell(self._witness, lines)


def _row_to_send(found: Sequence[Any]) -> RowToSend:
    row, position, key, id_, request, number, stem, base = found
    refuse_ways_out(id_, stem)
    return RowToSend(row, position, key, id_, request_from_json(request), number, stem, base or "")
