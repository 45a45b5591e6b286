"""How each fact is written: one function a type, each only from the phases from which it may follow."""

from __future__ import annotations

import json
import sqlite3
import unicodedata
from collections.abc import Callable
from typing import Any

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.model import Kind
from nanobanana_batch.state import facts
from nanobanana_batch.state.lifecycle import (
    CAN_REST,
    ENDED_WITHOUT_IMAGE,
    GIVEN_UP,
    IMAGE_MOVES,
    MISSED,
    ImagePhase,
    Phase,
    RequestPhase,
    allowed,
    in_sql,
)

_USED = "credits_used = coalesce(?, credits_used)"
"""A later read that names no price does not unsay the one that was named."""


def without_case(name: str) -> str:
    """How file systems that know no case, or one Unicode form only, see a name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _move(
    db: sqlite3.Connection, fact: facts.Fact, attempt: int, to: Phase, when: str = "", **values: object
) -> None:
    """Move an attempt on, only from a phase from which the fact may lead to the new one."""
    _set_phase(db, "attempt", attempt, to, allowed(type(fact), to, when), values)


def _move_request(
    db: sqlite3.Connection,
    fact: facts.Fact,
    request: int,
    to: RequestPhase,
    when: str = "",
    *,
    attempts: dict[str, object],
    **values: object,
) -> None:
    """Move a request on, with all of its attempts that have not ended without it."""
    phase = Phase(to.value)
    _set_phase(db, "request", request, phase, allowed(type(fact), phase, when), attempts)
    _set(db, "requests", "request", request, phase=to, **values)


def _set_phase(
    db: sqlite3.Connection,
    key: str,
    number: int,
    to: Phase,
    after: frozenset[Phase],
    values: dict[str, object],
) -> None:
    columns = "".join(f", {name} = ?" for name in values)
    which, numbers = _WHICH[key]
    changed = db.execute(
        f"UPDATE attempts SET phase = ?{columns} WHERE {which} AND phase IN ({in_sql(after)})",
        (to, *values.values(), *[number] * numbers),
    ).rowcount
    if not changed:
        raise StateFailed(f"Attempt {number} cannot become {to.value}: the state says otherwise.")


# A request has the number of its first attempt: the others of a job are in an index of their own.
_WHICH = {
    "attempt": ("attempt = ?", 1),
    "request": ("(attempt = ? OR (request = ? AND request != attempt))", 2),
}


def _set(db: sqlite3.Connection, table: str, key: str, number: int, **values: object) -> int:
    columns = ", ".join(f"{name} = ?" for name in values)
    query = f"UPDATE {table} SET {columns} WHERE {key} = ?"
    return db.execute(query, (*values.values(), number)).rowcount


def _write_intent(db: sqlite3.Connection, fact: facts.Intent) -> None:
    db.execute(
        "INSERT INTO requests (request, kind, phase, provider, account, body, fingerprint, idempotency_key,"
        " intended_at, credits_expected) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            fact.attempt,
            Kind(fact.kind),
            RequestPhase.INTENT,
            fact.provider,
            fact.account,
            fact.body,
            fact.fingerprint,
            fact.idempotency_key,
            fact.at,
            fact.credits_expected,
        ),
    )
    _ask_for(db, fact, fact.attempt)
    pairs = [(fact.attempt, upload) for upload in fact.uploads]
    db.executemany("INSERT INTO attempt_uploads (attempt, upload) VALUES (?, ?)", pairs)


def _write_joined(db: sqlite3.Connection, fact: facts.Joined) -> None:
    query = "SELECT 1 FROM requests WHERE request = ? AND phase = ? AND kind = ?"
    if db.execute(query, (fact.request, RequestPhase.INTENT, Kind.JOB)).fetchone() is None:
        raise StateFailed(f"Row {fact.row} cannot be asked for in request {fact.request}: it is no new job.")
    _ask_for(db, fact, fact.request)


def _ask_for(db: sqlite3.Connection, fact: facts.Intent | facts.Joined, request: int) -> None:
    query = "SELECT phase FROM rows JOIN attempts USING (attempt) WHERE rows.row = ?"
    earlier = db.execute(query, (fact.row,)).fetchone()
    if earlier is not None and Phase(earlier[0]) not in ENDED_WITHOUT_IMAGE:
        raise StateFailed(f"Row {fact.row} cannot be paid for again: its last attempt is {earlier[0]}.")
    db.execute(
        "INSERT INTO attempts (attempt, request, row, number, name, phase) VALUES (?, ?, ?, ?, ?, ?)",
        (fact.attempt, request, fact.row, fact.number, fact.name, Phase.INTENT),
    )
    db.execute(
        "UPDATE rows SET attempt = ?, stem = ?, stem_key = ? WHERE row = ?",
        (fact.attempt, fact.stem, without_case(fact.stem), fact.row),
    )


_HAS_LATER_ONES = f"""
SELECT 1 FROM attempts JOIN rows USING (row)
WHERE (attempts.attempt = ? OR (attempts.request = ? AND attempts.request != attempts.attempt))
  AND attempts.phase IN ({in_sql(allowed(facts.SentAgain, Phase.INTENT, "it is paid for itself"))})
  AND rows.attempt IS NOT attempts.attempt
"""


def _write_sent_again(db: sqlite3.Connection, fact: facts.SentAgain) -> None:
    if db.execute(_HAS_LATER_ONES, (fact.attempt, fact.attempt)).fetchone() is not None:
        raise StateFailed(f"Attempt {fact.attempt} cannot be sent again: its row has a later one.")
    if fact.account:
        _set(db, "requests", "request", fact.attempt, account=fact.account)
    nothing: dict[str, object] = {"error_message": None}
    if fact.is_same_payment:  # the key is as old as its first sending
        when = "it is the same payment"
        _move_request(db, fact, fact.attempt, RequestPhase.INTENT, when, attempts=nothing)
        return
    db.execute(
        "UPDATE requests SET sent = sent + 1 WHERE request = ? AND phase = ?",
        (fact.attempt, RequestPhase.UNKNOWN),
    )
    _move_request(
        db,
        fact,
        fact.attempt,
        RequestPhase.INTENT,
        "it is paid for itself",
        attempts=nothing,
        intended_at=fact.at,
        rests_since=None,
    )


def _write_not_sent(db: sqlite3.Connection, fact: facts.NotSent) -> None:
    said: dict[str, object] = {"error_message": fact.message}
    _move_request(db, fact, fact.attempt, RequestPhase.NOT_SENT, attempts=said)


def _write_unanswered(db: sqlite3.Connection, fact: facts.Unanswered) -> None:
    if fact.came_to_nothing:
        db.execute("UPDATE requests SET sent = max(1, sent - 1) WHERE request = ?", (fact.attempt,))
    said: dict[str, object] = {"error_message": fact.message}
    _move_request(db, fact, fact.attempt, RequestPhase.UNKNOWN, attempts=said)


def _write_rejected(db: sqlite3.Connection, fact: facts.Rejected) -> None:
    phase, when = (RequestPhase.REFUSED, "by content rules") if fact.refused else (RequestPhase.REJECTED, "")
    said: dict[str, object] = {
        "error_code": fact.code,
        "error_message": fact.message,
        "ended_at": fact.at,
    }
    _move_request(db, fact, fact.attempt, phase, when, attempts=said, request_id=fact.request_id)


_OTHERS_TASK = """
SELECT other.request FROM requests AS other, requests AS own
WHERE own.request = ? AND other.task_id = ? AND other.request != own.request
  AND (other.account = own.account OR other.provider = own.provider)
"""


def _write_accepted(db: sqlite3.Connection, fact: facts.Accepted) -> None:
    task = fact.task
    if other := db.execute(_OTHERS_TASK, (fact.attempt, task.task_id)).fetchone():
        raise StateFailed(
            f"Attempt {fact.attempt} cannot have task {task.task_id}: attempt {other[0]} has it."
        )
    if task.is_replay:
        _set(db, "requests", "request", fact.attempt, sent=1)
    _move_request(
        db,
        fact,
        fact.attempt,
        RequestPhase.ACCEPTED,
        attempts={"error_message": None},
        task_id=task.task_id,
        request_id=task.request_id,
        credits_reserved=task.credits_reserved,
        estimated_s=task.estimated_s,
        accepted_at=fact.at,
    )


def _write_answered(db: sqlite3.Connection, fact: facts.Answered) -> None:
    """Its rows are as paid as those of a task that works; of one without a task this is the first word."""
    after = allowed(facts.Answered, Phase.ACCEPTED) | allowed(facts.Answered, Phase.READY, "once more")
    which, numbers = _WHICH["request"]
    changed = db.execute(
        f"UPDATE attempts SET phase = iif(phase = ?, phase, ?), error_message = NULL"
        f" WHERE {which} AND phase IN ({in_sql(after)})",
        (Phase.READY, Phase.ACCEPTED, *[fact.attempt] * numbers),
    ).rowcount
    if not changed:
        raise StateFailed(f"Request {fact.attempt} cannot be answered: the state says otherwise.")
    _set(
        db,
        "requests",
        "request",
        fact.attempt,
        results=fact.results,
        answered_at=fact.at,
    )
    changes = f"phase = ?, accepted_at = coalesce(accepted_at, ?), {_USED}"
    query = f"UPDATE requests SET {changes} WHERE request = ?"
    db.execute(query, (RequestPhase.ANSWERED, fact.at, fact.credits_used, fact.attempt))


def _write_ready(db: sqlite3.Connection, fact: facts.Ready) -> None:
    _move(db, fact, fact.attempt, Phase.READY, error_code=None, error_message=None)
    db.execute(
        f"UPDATE requests SET phase = ?, answered_at = ?, {_USED} WHERE request = ? AND kind = ?",
        (RequestPhase.ANSWERED, fact.at, fact.credits_used, fact.attempt, Kind.TASK),
    )
    _move_images(db, fact, fact.attempt)
    for number in range(1, max(fact.images, len(fact.links)) + 1):
        link = fact.links[number - 1] if number <= len(fact.links) else None
        stem = fact.stems[number - 2] if 1 < number <= len(fact.stems) + 1 else None
        query = "SELECT links FROM images WHERE attempt = ? AND number = ?"
        known = db.execute(query, (fact.attempt, number)).fetchone()
        if known is None:
            db.execute(
                "INSERT INTO images (attempt, number, phase, links, dies_at, stem) VALUES (?, ?, ?, ?, ?, ?)",
                (fact.attempt, number, ImagePhase.EXPECTED, _links(link), fact.dies_at, stem),
            )
        else:
            db.execute(
                "UPDATE images SET links = ?, dies_at = ?, stem = coalesce(stem, ?)"
                " WHERE attempt = ? AND number = ?",
                (_links(link, known[0]), fact.dies_at, stem, fact.attempt, number),
            )


def _links(link: str | None, known: str | None = None) -> str | None:
    """The newest first: one that is older may work still."""
    if not link:
        return known
    return json.dumps(list(dict.fromkeys([link, *json.loads(known or "[]")])))


def _move_images(db: sqlite3.Connection, fact: facts.Fact, attempt: int) -> None:
    after, to = IMAGE_MOVES[type(fact)]
    query = f"UPDATE images SET phase = ? WHERE attempt = ? AND phase IN ({in_sql(after)})"
    db.execute(query, (to, attempt))


def _move_image(
    db: sqlite3.Connection,
    fact: facts.Saved | facts.Lost | facts.Found,
    condition: str = "",
    **values: object,
) -> None:
    after, to = IMAGE_MOVES[type(fact)]
    columns = "".join(f", {name} = ?" for name in values)
    query = (
        f"UPDATE images SET phase = ?{columns}"
        f" WHERE attempt = ? AND number = ? AND phase IN ({in_sql(after)}){condition}"
    )
    if db.execute(query, (to, *values.values(), fact.attempt, fact.number)).rowcount != 1:
        which = f"its image {fact.number}"
        raise StateFailed(
            f"Attempt {fact.attempt} cannot become {to.value}: the state says otherwise of {which}."
        )


def _has_all(db: sqlite3.Connection, attempt: int) -> bool:
    query = "SELECT 1 FROM images WHERE attempt = ? AND phase != ? LIMIT 1"
    return db.execute(query, (attempt, ImagePhase.SAVED)).fetchone() is None


def _write_saved(db: sqlite3.Connection, fact: facts.Saved) -> None:
    image = fact.image
    if fact.is_last:
        _move(db, fact, fact.attempt, Phase.SAVED, "the last of its images")
    else:
        _move(db, fact, fact.attempt, Phase.READY, "others are still to come")
    _move_image(
        db,
        fact,
        path=image.path,
        media_type=image.media_type,
        width=image.width,
        height=image.height,
        size_bytes=image.size_bytes,
        sha256=image.sha256,
        file_time=image.file_time,
        saved_at=fact.at,
    )
    if fact.is_last != _has_all(db, fact.attempt):
        raise StateFailed(f"Attempt {fact.attempt} has another number of images than the state knows.")


def _write_lost(db: sqlite3.Connection, fact: facts.Lost) -> None:
    _move_image(db, fact)
    db.execute(
        "UPDATE attempts SET phase = ?, error_message = ? WHERE attempt = ?"
        f" AND phase IN ({in_sql(allowed(facts.Lost, Phase.ACCEPTED))})",
        (Phase.ACCEPTED, "the saved file is gone", fact.attempt),
    )


def _write_found(db: sqlite3.Connection, fact: facts.Found) -> None:
    _move_image(db, fact, " AND sha256 IS NOT NULL")
    if _has_all(db, fact.attempt):
        when = "the last of its images"
        _move(db, fact, fact.attempt, Phase.SAVED, when, error_code=None, error_message=None)


def _write_failed(db: sqlite3.Connection, fact: facts.Failed) -> None:
    phase, when = (Phase.REFUSED, "by content rules") if fact.refused else (Phase.FAILED, "")
    _move(
        db,
        fact,
        fact.attempt,
        phase,
        when,
        error_code=fact.code,
        error_message=fact.message,
        retryable=int(fact.retryable),
        ended_at=fact.at,
    )
    _answer_task(db, fact.attempt)
    if fact.code == MISSED:
        db.execute(
            "UPDATE uploads SET missed_at = ? WHERE upload IN (SELECT upload FROM attempt_uploads"
            " WHERE attempt = (SELECT request FROM attempts WHERE attempt = ?))",
            (fact.at, fact.attempt),
        )


def _answer_task(db: sqlite3.Connection, attempt: int) -> None:
    query = "UPDATE requests SET phase = ? WHERE request = ? AND kind = ?"
    db.execute(query, (RequestPhase.ANSWERED, attempt, Kind.TASK))


def _write_expired(db: sqlite3.Connection, fact: facts.Expired) -> None:
    _move(
        db,
        fact,
        fact.attempt,
        Phase.EXPIRED,
        error_code="expired",
        error_message=fact.message,
        ended_at=fact.at,
    )
    _answer_task(db, fact.attempt)
    _move_images(db, fact, fact.attempt)


def _write_given_up(db: sqlite3.Connection, fact: facts.GivenUp) -> None:
    _move(
        db,
        fact,
        fact.attempt,
        Phase.FAILED,
        error_code=GIVEN_UP,
        error_message="given up by you; it may have been paid",
        retryable=0,
        ended_at=fact.at,
    )


def _write_rested(db: sqlite3.Connection, fact: facts.Rested) -> None:
    query = (
        "UPDATE requests SET rests_since = ? WHERE request = ?"
        f" AND EXISTS (SELECT 1 FROM attempts WHERE (attempt = ? OR (request = ? AND request != attempt))"
        f" AND phase IN ({in_sql(CAN_REST)}))"
    )
    db.execute(query, (fact.at, *[fact.attempt] * 3))


def _write_moved(db: sqlite3.Connection, fact: facts.Moved) -> None:
    _set(db, "requests", "request", fact.attempt, provider=fact.provider, account=fact.account)


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
    facts.Joined: _write_joined,
    facts.SentAgain: _write_sent_again,
    facts.NotSent: _write_not_sent,
    facts.Unanswered: _write_unanswered,
    facts.Rejected: _write_rejected,
    facts.Accepted: _write_accepted,
    facts.Answered: _write_answered,
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
