"""Reads the state for people, also while a run is writing it; changes nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.errors import StateFailed, UsageError
from nanobanana_batch.model import Request, RowStatus, request_from_json
from nanobanana_batch.state.facts import STATUS_OF_PHASE, Phase
from nanobanana_batch.state.schema import APPLICATION_ID, VERSION


@dataclass(frozen=True, slots=True)
class RowReport:
    """Everything that is known of one row of the current manifest; None where it is not known."""

    id: str
    row_key: str
    status: RowStatus
    request: Request
    variant: int
    variables: dict[str, str]
    source: str
    path: str | None
    width: int | None
    height: int | None
    size_bytes: int | None
    sha256: str | None
    credits: float | None
    """Of all its attempts."""
    task_id: str | None
    error_code: str | None
    error_message: str | None
    duplicate_of: str | None
    """The id of the first row in the manifest whose image has the same bytes, if that is another row."""


@dataclass(frozen=True, slots=True)
class AttemptReport:
    """One attempt of any row, also of rows that left the manifest; None where a thing is not known."""

    attempt: int
    row_key: str
    id: str
    phase: Phase
    task_id: str | None
    credits_reserved: float | None
    credits_used: float | None
    path: str | None
    sha256: str | None
    error_message: str | None
    sent: int
    """How many of its sendings may have been paid."""


@dataclass(frozen=True, slots=True)
class Credits:
    """Credits over all attempts of the folder, as far as the provider told."""

    reserved: float
    """Of accepted requests that are not finished yet."""
    used: float
    """Of finished images; the reserved amount where the provider tells no other."""
    unknown: float
    """Of requests without an answer, as far as their price was known when they were sent."""


# The bytes that several rows share are few and found once: asked for row by row this takes quadratic time.
_ROWS = """
WITH shared AS MATERIALIZED (
    SELECT attempts.sha256 AS sha256, min(rows.position) AS first
    FROM rows JOIN attempts ON attempts.attempt = rows.attempt
    WHERE rows.position IS NOT NULL AND attempts.phase = 'saved'
    GROUP BY attempts.sha256 HAVING count(*) > 1
)
SELECT rows.id, rows.row_key, attempts.phase, rows.request, rows.variant, rows.variables, rows.source,
       attempts.path, attempts.width, attempts.height, attempts.size_bytes, attempts.sha256,
       (SELECT sum(CASE WHEN each.phase IN ('failed', 'refused') AND each.task_id IS NOT NULL THEN 0
                        ELSE coalesce(each.credits_used, each.credits_reserved) END)
        FROM attempts AS each WHERE each.row = rows.row),
       attempts.task_id,
       attempts.error_code, attempts.error_message,
       (SELECT earlier.id FROM shared JOIN rows AS earlier ON earlier.position = shared.first
        WHERE shared.sha256 = attempts.sha256 AND shared.first < rows.position)
FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt
WHERE rows.position IS NOT NULL
ORDER BY rows.position
"""
_ATTEMPTS = """
SELECT attempts.attempt, rows.row_key, rows.id, attempts.phase, attempts.task_id, attempts.credits_reserved,
       attempts.credits_used, attempts.path, attempts.sha256, attempts.error_message, {sent}
FROM attempts JOIN rows USING (row) ORDER BY attempts.attempt
"""
_PHASES = """
SELECT attempts.phase, count(*) FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt
WHERE rows.position IS NOT NULL AND rows.position < ? GROUP BY attempts.phase
"""
_CREDITS = """
SELECT total(CASE WHEN phase IN ('accepted', 'ready') THEN credits_reserved END),
       total(CASE WHEN phase IN ('saved', 'expired') THEN coalesce(credits_used, credits_reserved) END),
       total(CASE WHEN phase IN ('intent', 'unknown') THEN credits_expected END)
FROM attempts
"""
_SAME_BYTES = """
SELECT coalesce(sum(images - 1), 0) FROM (
    SELECT count(*) AS images FROM rows JOIN attempts ON attempts.attempt = rows.attempt
    WHERE rows.position IS NOT NULL AND attempts.phase = 'saved' GROUP BY attempts.sha256
)
"""
_LEFT = """
SELECT attempts.phase, count(*) FROM rows JOIN attempts ON attempts.attempt = rows.attempt
WHERE rows.position IS NULL GROUP BY attempts.phase
"""


class Reader:
    """Queries over one state file, all from one consistent moment each."""

    def __init__(self, db: sqlite3.Connection, version: int) -> None:
        self._db = db
        self._version = version

    def checked_version(self) -> int:
        """The version of the file, each page of which is in order.

        Raises:
            StateFailed: it is damaged.
        """
        (verdict,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise StateFailed(f"The state file is damaged ({verdict}).")
        return self._version

    def rows(self) -> Iterator[RowReport]:
        """Every row of the current manifest, in its order, streamed."""
        for found in self._db.execute(_ROWS):
            id_, key, phase, request, variant, variables, source, *rest = found
            yield RowReport(
                id_,
                key,
                _status(phase),
                request_from_json(request),
                variant,
                json.loads(variables),
                source,
                *rest,
            )

    def attempts(self) -> Iterator[AttemptReport]:
        """Every attempt, in the order of their intents, streamed."""
        query = _ATTEMPTS.format(sent="attempts.sent" if self._version > 1 else "1")
        for attempt, row_key, id_, phase, *rest in self._db.execute(query):
            yield AttemptReport(attempt, row_key, id_, Phase(phase), *rest)

    def variables(self) -> list[str]:
        """Names of the manifest's variables, in its order."""
        return list(json.loads(self.meta("variables") or "[]"))

    def meta(self, name: str) -> str | None:
        """A remembered value, or None."""
        found = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return None if found is None else str(found[0])

    def counts(self, before: int | None = None) -> dict[RowStatus, int]:
        """Rows of the current manifest by status (only those in front of a position, if given)."""
        counts = dict.fromkeys(RowStatus, 0)
        for phase, count in self._db.execute(_PHASES, ((1 << 62) if before is None else before,)):
            counts[_status(phase)] += count
        return counts

    def left_counts(self) -> dict[RowStatus, int]:
        """Rows that left the manifest after something was sent for them, by status."""
        counts = dict.fromkeys(RowStatus, 0)
        for phase, count in self._db.execute(_LEFT):
            counts[_status(phase)] += count
        return counts

    def known_keys(self) -> Iterator[tuple[str, RowStatus]]:
        """(row key, status) of every row that the folder knows."""
        query = (
            "SELECT rows.row_key, attempts.phase FROM rows"
            " LEFT JOIN attempts ON attempts.attempt = rows.attempt"
        )
        for key, phase in self._db.execute(query):
            yield key, _status(phase)

    def status_of(self, row_key: str) -> RowStatus | None:
        """The status of a row, or None for a row that the folder does not know."""
        query = (
            "SELECT attempts.phase FROM rows LEFT JOIN attempts ON attempts.attempt = rows.attempt"
            " WHERE rows.row_key = ?"
        )
        found = self._db.execute(query, (row_key,)).fetchone()
        return None if found is None else _status(found[0])

    def same_bytes(self) -> int:
        """How many images of the current manifest have the same bytes as an earlier row's."""
        (count,) = self._db.execute(_SAME_BYTES).fetchone()
        return int(count)

    def has_id(self, id_: str) -> bool:
        """Whether some row of the folder has this id."""
        return self._db.execute("SELECT 1 FROM rows WHERE id = ? LIMIT 1", (id_,)).fetchone() is not None

    def credits(self) -> Credits:
        """Sums over all attempts."""
        reserved, used, unknown = self._db.execute(_CREDITS).fetchone()
        return Credits(reserved=reserved, used=used, unknown=unknown)


def _status(phase: str | None) -> RowStatus:
    return RowStatus.PENDING if phase is None else STATUS_OF_PHASE[Phase(phase)]


@contextmanager
def open_reader(path: Path) -> Iterator[Reader]:
    """A state file, read-only.

    Raises:
        UsageError: there is none.
        StateFailed: the file is damaged, too new or not ours.
    """
    if not path.is_file():
        raise UsageError(f"{path.parent} is not an output folder of this program: it has no {path.name}.")
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)) as db:
            (version,) = db.execute("PRAGMA user_version").fetchone()
            (owner,) = db.execute("PRAGMA application_id").fetchone()
            if owner != APPLICATION_ID or version > VERSION:
                raise StateFailed(f"{path} was not written by this program or by a newer one.")
            yield Reader(db, version)
    except sqlite3.Error as error:
        raise StateFailed(f"The state file {path} cannot be read: {error}.") from error
