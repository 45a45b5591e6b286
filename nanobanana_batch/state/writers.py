"""How each fact is written: one function a type, each only from the phases from which it may follow."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.state import facts
from nanobanana_batch.state.facts import Phase


def without_case(name: str) -> str:
    """How file systems that know no case, or one Unicode form only, see a name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _advance(
    db: sqlite3.Connection, attempt: int, phase: Phase, after: Iterable[Phase], **values: object
) -> None:
    """Move an attempt on, only from a phase from which the new one may follow."""
    columns = "".join(f", {name} = ?" for name in values)
    allowed = list(after)
    marks = ", ".join("?" for _ in allowed)
    changed = db.execute(
        f"UPDATE attempts SET phase = ?{columns} WHERE attempt = ? AND phase IN ({marks})",
        (phase, *values.values(), attempt, *allowed),
    ).rowcount
    if changed != 1:
        raise StateFailed(f"Attempt {attempt} cannot become {phase.value}: the state says otherwise.")


def _write_intent(db: sqlite3.Connection, fact: facts.Intent) -> None:
    query = "SELECT phase FROM rows JOIN attempts USING (attempt) WHERE rows.row = ?"
    earlier = db.execute(query, (fact.row,)).fetchone()
    if earlier is not None and Phase(earlier[0]) not in facts.ENDED_WITHOUT_IMAGE:
        raise StateFailed(f"Row {fact.row} cannot be paid for again: its last attempt is {earlier[0]}.")
    db.execute(
        "INSERT INTO attempts (attempt, row, number, phase, provider, account, body, fingerprint,"
        " idempotency_key, intended_at, credits_expected) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            fact.attempt,
            fact.row,
            fact.number,
            Phase.INTENT,
            fact.provider,
            fact.account,
            fact.body,
            fact.fingerprint,
            fact.idempotency_key,
            fact.at,
            fact.credits_expected,
        ),
    )
    pairs = [(fact.attempt, upload) for upload in fact.uploads]
    db.executemany("INSERT INTO attempt_uploads (attempt, upload) VALUES (?, ?)", pairs)
    db.execute(
        "UPDATE rows SET attempt = ?, stem = ?, stem_key = ? WHERE row = ?",
        (fact.attempt, fact.stem, without_case(fact.stem), fact.row),
    )


def _write_sent_again(db: sqlite3.Connection, fact: facts.SentAgain) -> None:
    if db.execute("SELECT 1 FROM rows WHERE attempt = ?", (fact.attempt,)).fetchone() is None:
        raise StateFailed(f"Attempt {fact.attempt} cannot be sent again: its row has a later one.")
    if fact.account:
        query = "UPDATE attempts SET account = ? WHERE attempt = ?"
        db.execute(query, (fact.account, fact.attempt))
    if fact.is_same_payment:  # the key is as old as its first sending
        _advance(db, fact.attempt, Phase.INTENT, (Phase.UNKNOWN,), error_message=None)
        return
    db.execute(
        "UPDATE attempts SET sent = sent + 1 WHERE attempt = ? AND phase = ?", (fact.attempt, Phase.UNKNOWN)
    )
    _advance(
        db,
        fact.attempt,
        Phase.INTENT,
        (Phase.NOT_SENT, Phase.UNKNOWN),
        intended_at=fact.at,
        rests_since=None,
        error_message=None,
    )


def _write_not_sent(db: sqlite3.Connection, fact: facts.NotSent) -> None:
    _advance(db, fact.attempt, Phase.NOT_SENT, (Phase.INTENT,), error_message=fact.message)


def _write_unanswered(db: sqlite3.Connection, fact: facts.Unanswered) -> None:
    if fact.came_to_nothing:
        db.execute("UPDATE attempts SET sent = max(1, sent - 1) WHERE attempt = ?", (fact.attempt,))
    _advance(db, fact.attempt, Phase.UNKNOWN, (Phase.INTENT, Phase.UNKNOWN), error_message=fact.message)


def _write_rejected(db: sqlite3.Connection, fact: facts.Rejected) -> None:
    phase = Phase.REFUSED if fact.refused else Phase.REJECTED
    _advance(
        db,
        fact.attempt,
        phase,
        (Phase.INTENT, Phase.UNKNOWN),
        error_code=fact.code,
        error_message=fact.message,
        request_id=fact.request_id,
        ended_at=fact.at,
    )


_OTHERS_TASK = """
SELECT other.attempt FROM attempts AS other, attempts AS own
WHERE own.attempt = ? AND other.task_id = ? AND other.attempt != own.attempt
  AND (other.account = own.account OR other.provider = own.provider)
"""


def _write_accepted(db: sqlite3.Connection, fact: facts.Accepted) -> None:
    if other := db.execute(_OTHERS_TASK, (fact.attempt, fact.task_id)).fetchone():
        raise StateFailed(
            f"Attempt {fact.attempt} cannot have task {fact.task_id}: attempt {other[0]} has it."
        )
    if fact.is_replay:
        db.execute("UPDATE attempts SET sent = 1 WHERE attempt = ?", (fact.attempt,))
    _advance(
        db,
        fact.attempt,
        Phase.ACCEPTED,
        (Phase.INTENT, Phase.UNKNOWN),
        task_id=fact.task_id,
        request_id=fact.request_id,
        credits_reserved=fact.credits_reserved,
        estimated_s=fact.estimated_s,
        accepted_at=fact.at,
        error_message=None,
    )


def _write_ready(db: sqlite3.Connection, fact: facts.Ready) -> None:
    _advance(
        db,
        fact.attempt,
        Phase.READY,
        (Phase.ACCEPTED, Phase.READY, Phase.EXPIRED),
        links=json.dumps(fact.links),
        dies_at=fact.dies_at,
        credits_used=fact.credits_used,
        ready_at=fact.at,
        error_code=None,
        error_message=None,
    )


def _write_saved(db: sqlite3.Connection, fact: facts.Saved) -> None:
    image = fact.image
    _advance(
        db,
        fact.attempt,
        Phase.SAVED,
        (Phase.READY,),
        path=image.path,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        file_time=image.file_time,
        saved_at=fact.at,
    )


def _write_lost(db: sqlite3.Connection, fact: facts.Lost) -> None:
    _advance(db, fact.attempt, Phase.ACCEPTED, (Phase.SAVED,), error_message="the saved file is gone")


def _write_found(db: sqlite3.Connection, fact: facts.Found) -> None:
    query = "SELECT 1 FROM attempts WHERE attempt = ? AND sha256 IS NOT NULL"
    if db.execute(query, (fact.attempt,)).fetchone() is None:
        raise StateFailed(f"Attempt {fact.attempt} cannot become saved: it never was.")
    _advance(
        db,
        fact.attempt,
        Phase.SAVED,
        (Phase.ACCEPTED, Phase.READY, Phase.EXPIRED, Phase.FAILED, Phase.REFUSED),
        error_code=None,
        error_message=None,
    )


def _write_failed(db: sqlite3.Connection, fact: facts.Failed) -> None:
    phase = Phase.REFUSED if fact.refused else Phase.FAILED
    _advance(
        db,
        fact.attempt,
        phase,
        (Phase.ACCEPTED, Phase.READY),
        error_code=fact.code,
        error_message=fact.message,
        retryable=int(fact.retryable),
        ended_at=fact.at,
    )
    if fact.code == facts.MISSED:
        db.execute(
            "UPDATE uploads SET missed_at = ?"
            " WHERE upload IN (SELECT upload FROM attempt_uploads WHERE attempt = ?)",
            (fact.at, fact.attempt),
        )


def _write_expired(db: sqlite3.Connection, fact: facts.Expired) -> None:
    _advance(
        db,
        fact.attempt,
        Phase.EXPIRED,
        (Phase.ACCEPTED, Phase.READY),
        error_code="expired",
        error_message=fact.message,
        ended_at=fact.at,
    )


def _write_given_up(db: sqlite3.Connection, fact: facts.GivenUp) -> None:
    _advance(
        db,
        fact.attempt,
        Phase.FAILED,
        (Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED, Phase.READY),
        error_code=facts.GIVEN_UP,
        error_message="given up by you; it may have been paid",
        retryable=0,
        ended_at=fact.at,
    )


def _write_rested(db: sqlite3.Connection, fact: facts.Rested) -> None:
    query = "UPDATE attempts SET rests_since = ? WHERE attempt = ? AND phase IN (?, ?, ?)"
    db.execute(query, (fact.at, fact.attempt, Phase.INTENT, Phase.UNKNOWN, Phase.ACCEPTED))


def _write_moved(db: sqlite3.Connection, fact: facts.Moved) -> None:
    query = "UPDATE attempts SET provider = ?, account = ? WHERE attempt = ?"
    db.execute(query, (fact.provider, fact.account, fact.attempt))


def _write_file_uploaded(db: sqlite3.Connection, fact: facts.FileUploaded) -> None:
    db.execute(
        "INSERT INTO uploads (upload, provider, account, sha256, file_id, url, uploaded_at, expires_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        (
            fact.upload,
            fact.provider,
            fact.account,
            fact.sha256,
            fact.file_id,
            fact.url,
            fact.at,
            fact.expires_at,
        ),
    )


def _write_file_deleted(db: sqlite3.Connection, fact: facts.FileDeleted) -> None:
    db.execute("UPDATE uploads SET deleted_at = ? WHERE upload = ?", (fact.at, fact.upload))


WRITERS: dict[type, Callable[[sqlite3.Connection, Any], None]] = {
    facts.Intent: _write_intent,
    facts.SentAgain: _write_sent_again,
    facts.NotSent: _write_not_sent,
    facts.Unanswered: _write_unanswered,
    facts.Rejected: _write_rejected,
    facts.Accepted: _write_accepted,
    facts.Ready: _write_ready,
    facts.Saved: _write_saved,
    facts.Lost: _write_lost,
    facts.Found: _write_found,
    facts.Failed: _write_failed,
    facts.Expired: _write_expired,
    facts.GivenUp: _write_given_up,
    facts.Rested: _write_rested,
    facts.Moved: _write_moved,
    facts.FileUploaded: _write_file_uploaded,
    facts.FileDeleted: _write_file_deleted,
}
