"""The tables of the state file, their version, and how an older file becomes a current one.

A file that is newer than this program is refused: guessing at facts about money is worse than stopping.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import cache
from typing import Any

from nanobanana_batch.errors import StateFailed

VERSION = 5
APPLICATION_ID = 0x6E626231
"""Marks the file as ours ("nbb1"), so that another program's database is never taken for state."""

_V1 = """
CREATE TABLE meta (
    name  TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Every row that is in the manifest now, or that anything was ever sent for.
CREATE TABLE rows (
    row       INTEGER PRIMARY KEY,
    row_key   TEXT NOT NULL UNIQUE,
    position  INTEGER,               -- place in the manifest; NULL: no longer in it
    id        TEXT NOT NULL,
    request   TEXT NOT NULL,         -- JSON, our vocabulary
    variant   INTEGER NOT NULL,
    variables TEXT NOT NULL,         -- JSON object
    source    TEXT NOT NULL,
    stem      TEXT,                  -- name of its image file, from its first intent on
    stem_key  TEXT,                  -- stem without regard to case and Unicode form
    attempt   INTEGER                -- the latest attempt
);
CREATE INDEX rows_id ON rows (id);
CREATE UNIQUE INDEX rows_in_order ON rows (position) WHERE position IS NOT NULL;
CREATE INDEX rows_new ON rows (position) WHERE position IS NOT NULL AND attempt IS NULL;
CREATE UNIQUE INDEX rows_stem ON rows (stem_key) WHERE stem_key IS NOT NULL;

-- One paid (or possibly paid) request each; facts are added as they become known, none is taken back.
CREATE TABLE attempts (
    attempt          INTEGER PRIMARY KEY,
    row              INTEGER NOT NULL REFERENCES rows (row),
    number           INTEGER NOT NULL,
    phase            TEXT NOT NULL,
    provider         TEXT NOT NULL,  -- profile and host
    account          TEXT NOT NULL,  -- a mark of the key, by which it cannot be found
    body             BLOB NOT NULL,
    fingerprint      TEXT NOT NULL,  -- SHA-256 of body
    idempotency_key  TEXT NOT NULL UNIQUE,
    intended_at      REAL NOT NULL,  -- all times: Unix seconds
    task_id          TEXT,
    request_id       TEXT,
    credits_reserved REAL,
    estimated_s      REAL,
    accepted_at      REAL,
    links            TEXT,           -- JSON list of URLs
    ready_at         REAL,
    dies_at          REAL,
    credits_used     REAL,
    path             TEXT,
    media_type       TEXT,
    width            INTEGER,
    height           INTEGER,
    size_bytes       INTEGER,
    sha256           TEXT,
    saved_at         REAL,
    error_code       TEXT,
    error_message    TEXT,
    retryable        INTEGER,
    ended_at         REAL,
    UNIQUE (row, number)
);
CREATE UNIQUE INDEX attempts_task ON attempts (provider, task_id) WHERE task_id IS NOT NULL;
CREATE INDEX attempts_sha256 ON attempts (sha256) WHERE sha256 IS NOT NULL;
CREATE INDEX attempts_open ON attempts (phase)
    WHERE phase IN ('intent', 'not_sent', 'unknown', 'accepted', 'ready');
"""

_V2 = """
-- What a request is expected to cost, for --max-credits; NULL where nobody knows.
ALTER TABLE attempts ADD COLUMN credits_expected REAL;
-- How many of its sendings may have been paid, each for itself: 1, and one more whenever a person had a
-- request sent again of which nobody knows what became.
ALTER TABLE attempts ADD COLUMN sent INTEGER NOT NULL DEFAULT 1;

-- Local reference images that the provider holds for us; it deletes them by itself at expires_at.
CREATE TABLE uploads (
    upload      INTEGER PRIMARY KEY,
    provider    TEXT NOT NULL,
    account     TEXT NOT NULL,
    sha256      TEXT NOT NULL,       -- of the file's content
    file_id     TEXT NOT NULL,
    url         TEXT NOT NULL,
    uploaded_at REAL NOT NULL,       -- all times: Unix seconds
    expires_at  REAL NOT NULL,
    missed_at   REAL,                -- the provider could not find what a request named
    deleted_at  REAL
);
CREATE INDEX attempts_unsaved ON attempts (phase) WHERE phase != 'saved';
CREATE INDEX uploads_content ON uploads (provider, account, sha256, expires_at);

-- Which uploaded files an attempt's body names.
CREATE TABLE attempt_uploads (
    attempt INTEGER NOT NULL REFERENCES attempts (attempt),
    upload  INTEGER NOT NULL REFERENCES uploads (upload),
    PRIMARY KEY (attempt, upload)
) WITHOUT ROWID;
"""

_V3 = """
-- The same table, its unique key in an index that can be made after the rows.
CREATE TABLE rows_v3 (
    row       INTEGER PRIMARY KEY,
    row_key   TEXT NOT NULL,
    position  INTEGER,               -- place in the manifest; NULL: no longer in it
    id        TEXT NOT NULL,
    request   TEXT NOT NULL,         -- JSON, our vocabulary
    variant   INTEGER NOT NULL,
    variables TEXT NOT NULL,         -- JSON object
    source    TEXT NOT NULL,
    stem      TEXT,                  -- name of its image file, from its first intent on
    stem_key  TEXT,                  -- stem without regard to case and Unicode form
    attempt   INTEGER                -- the latest attempt
);
INSERT INTO rows_v3
    SELECT row, row_key, position, id, request, variant, variables, source, stem, stem_key, attempt FROM rows;
DROP TABLE rows;
ALTER TABLE rows_v3 RENAME TO rows;
CREATE UNIQUE INDEX rows_key ON rows (row_key);
CREATE INDEX rows_id ON rows (id);
CREATE UNIQUE INDEX rows_in_order ON rows (position) WHERE position IS NOT NULL;
CREATE INDEX rows_new ON rows (position) WHERE position IS NOT NULL AND attempt IS NULL;
CREATE UNIQUE INDEX rows_stem ON rows (stem_key) WHERE stem_key IS NOT NULL;
"""

_V4 = """
-- How much was told outside of this file of what became of paid requests, after each commit in which some of
-- it was: what is told there can be held beside it. Of what was known before this table, only how much.
CREATE TABLE told (
    number INTEGER PRIMARY KEY,      -- facts
    sent   INTEGER NOT NULL,         -- those of them that a request was about to be sent
    chain  BLOB NOT NULL             -- a hash of the lines that tell them, and of the chain before these
);
INSERT INTO told SELECT count(*), count(*), zeroblob(8) FROM attempts HAVING count(*) > 0;

-- Rows that ask for the same as another one, by the key that this would have if it were the only one.
CREATE TABLE twins (
    row_key  TEXT PRIMARY KEY,
    base_key TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX twins_base ON twins (base_key);

-- When the file of the image was changed last, as it was saved.
ALTER TABLE attempts ADD COLUMN file_time REAL;
-- A request without an answer whose row nobody wants any more: since when it is not asked about by itself.
ALTER TABLE attempts ADD COLUMN rests_since REAL;
DROP INDEX attempts_task;
CREATE INDEX attempts_task ON attempts (task_id) WHERE task_id IS NOT NULL;
"""

_V5 = """
-- One payment each, with the number of its first attempt.
CREATE TABLE requests (
    request          INTEGER PRIMARY KEY,
    kind             TEXT NOT NULL,
    phase            TEXT NOT NULL,  -- of the payment; how each of its rows stands is the attempt's
    provider         TEXT NOT NULL,  -- profile and host
    account          TEXT NOT NULL,  -- a mark of the key, by which it cannot be found
    body             BLOB NOT NULL,
    fingerprint      TEXT NOT NULL,  -- SHA-256 of body
    idempotency_key  TEXT NOT NULL,  -- for a job, its unique name
    intended_at      REAL NOT NULL,  -- all times: Unix seconds
    credits_expected REAL,
    sent             INTEGER NOT NULL DEFAULT 1,  -- sendings that may have been paid, each for itself
    task_id          TEXT,           -- or the job's
    request_id       TEXT,           -- the provider's own, for its support
    credits_reserved REAL,
    estimated_s      REAL,
    accepted_at      REAL,
    results          TEXT,           -- the file of the folder that has what came of it
    answered_at      REAL,
    credits_used     REAL,
    rests_since      REAL            -- nobody wants its row: since when it is not asked about by itself
);
INSERT INTO requests
    SELECT attempt, 'task', CASE phase WHEN 'ready' THEN 'answered' WHEN 'saved' THEN 'answered'
               WHEN 'expired' THEN 'answered' WHEN 'failed' THEN iif(error_code = 'given_up',
                   iif(task_id IS NULL, 'unknown', 'accepted'), 'answered')
               WHEN 'refused' THEN iif(task_id IS NULL, 'refused', 'answered') ELSE phase END,
           provider, account, body, fingerprint, idempotency_key, intended_at, credits_expected, sent,
           task_id, request_id, credits_reserved, estimated_s, accepted_at, NULL, ready_at, credits_used,
           rests_since
    FROM attempts;

-- One file that is owed each.
CREATE TABLE images (
    attempt    INTEGER NOT NULL REFERENCES attempts (attempt),
    number     INTEGER NOT NULL,     -- 1: the row's image; the others stand beside it
    phase      TEXT NOT NULL,
    links      TEXT,                 -- JSON list of URLs at which it is to be had
    dies_at    REAL,                 -- when those end
    stem       TEXT,                 -- name of its file, where that is not the row's
    path       TEXT,
    media_type TEXT,
    width      INTEGER,
    height     INTEGER,
    size_bytes INTEGER,
    sha256     TEXT,
    file_time  REAL,                 -- when its file was changed last, as it was saved
    saved_at   REAL,
    PRIMARY KEY (attempt, number)
) WITHOUT ROWID;
INSERT INTO images
    SELECT attempt, 1, CASE WHEN phase = 'saved' THEN 'saved' WHEN phase = 'expired' THEN 'expired'
               WHEN sha256 IS NOT NULL THEN 'lost' ELSE 'expected' END,
           links, dies_at, NULL, path, media_type, width, height, size_bytes, sha256, file_time, saved_at
    FROM attempts WHERE links IS NOT NULL OR sha256 IS NOT NULL;

-- A row's share in a request: one each time that something is sent for it.
CREATE TABLE attempts_v5 (
    attempt       INTEGER PRIMARY KEY,
    request       INTEGER NOT NULL REFERENCES requests (request),
    row           INTEGER NOT NULL REFERENCES rows (row),
    number        INTEGER NOT NULL,
    name          TEXT NOT NULL,     -- by which its answer is found among those of a job
    phase         TEXT NOT NULL,
    error_code    TEXT,
    error_message TEXT,
    retryable     INTEGER,
    ended_at      REAL
);
INSERT INTO attempts_v5
    SELECT attempt, attempt, row, number, '', phase, error_code, error_message, retryable, ended_at
    FROM attempts;
DROP TABLE attempts;
ALTER TABLE attempts_v5 RENAME TO attempts;
CREATE UNIQUE INDEX requests_key ON requests (idempotency_key);
CREATE INDEX requests_task ON requests (task_id) WHERE task_id IS NOT NULL;
CREATE UNIQUE INDEX attempts_row ON attempts (row, number);
CREATE INDEX attempts_job ON attempts (request) WHERE request != attempt;
CREATE INDEX attempts_unsaved ON attempts (phase) WHERE phase != 'saved';
CREATE INDEX images_sha256 ON images (sha256) WHERE sha256 IS NOT NULL;
"""

_STEPS = {0: _V1, 1: _V2, 2: _V3, 3: _V4, 4: _V5}
"""Version found -> the script that makes it the next one."""


_BEFORE_V5 = """
CREATE TEMP VIEW requests AS
    SELECT attempt AS request, 'task' AS kind, phase, provider, account, body, fingerprint, idempotency_key,
           intended_at, {expected} AS credits_expected, {sent} AS sent, task_id, request_id, credits_reserved,
           estimated_s, accepted_at, NULL AS results, ready_at AS answered_at, credits_used,
           {rests_since} AS rests_since
    FROM main.attempts;
CREATE TEMP VIEW images AS
    SELECT attempt, 1 AS number, iif(phase = 'saved', phase, 'lost') AS phase, links, dies_at, NULL AS stem,
           path, media_type, width, height, size_bytes, sha256, {file_time} AS file_time, saved_at
    FROM main.attempts WHERE links IS NOT NULL OR sha256 IS NOT NULL;
CREATE TEMP VIEW attempts AS
    SELECT attempt, attempt AS request, row, number, '' AS name, phase, error_code, error_message, retryable,
           ended_at
    FROM main.attempts;
"""


def see_as_current(db: sqlite3.Connection, version: int) -> None:
    """Let the tables of an older file be asked as those of a current one are; the file stays as it is."""
    if version < 5:
        expected, sent = ("credits_expected", "sent") if version > 1 else ("NULL", "1")
        file_time, rests_since = ("file_time", "rests_since") if version > 3 else ("NULL", "NULL")
        db.executescript(
            _BEFORE_V5.format(expected=expected, sent=sent, file_time=file_time, rests_since=rests_since)
        )


def bring_up_to_date(db: sqlite3.Connection) -> None:
    """Create or migrate the tables; each step and its new version are one transaction.

    Raises:
        StateFailed: the file is newer than this program, another program's database, or a stranger's.
    """
    version = refuse_foreign_tables(db)
    db.execute("PRAGMA foreign_keys = OFF")  # a table is exchanged under the attempts that refer to it
    for step in range(version, VERSION):
        db.executescript(
            f"BEGIN IMMEDIATE; {_STEPS[step]}; PRAGMA application_id = {APPLICATION_ID};"
            f" PRAGMA user_version = {step + 1}; COMMIT;"
        )
    refuse_foreign_parts(db, VERSION)


def refuse_foreign_tables(db: sqlite3.Connection) -> int:
    """The version of a file that is empty or as a program of ours has made it.

    Raises:
        StateFailed: the file is newer than this program, another program's database, or a stranger's.
    """
    (version,) = db.execute("PRAGMA user_version").fetchone()
    (owner,) = db.execute("PRAGMA application_id").fetchone()
    if not 0 <= version <= VERSION:
        raise StateFailed(
            f"The state file has version {version}, this program knows {VERSION}.",
            hint="Use the newer nanobanana-batch that wrote it.",
        )
    if owner not in (0, APPLICATION_ID) or (owner == 0 and _has_tables(db)):
        raise StateFailed("The state file is a database of another program.")
    refuse_foreign_parts(db, version)
    return int(version)


def refuse_foreign_parts(db: sqlite3.Connection, version: int) -> None:
    """What a state file has and no program of ours makes would run along with what is asked or written.

    That may stand in a table of ours, too: a check that takes a gigabyte, or a unique key that replaces the
    record of an earlier payment by the next one. So each definition is compared, to the letter. Ask this
    before anything else that looks at the tables: a check of their pages carries out their checks.

    Raises:
        StateFailed: its tables and indexes are not those of this version, or it has other parts.
    """
    db.execute("PRAGMA trusted_schema = OFF")
    found, ours = _parts(db), _parts_of(version)
    for kind, name, _, _ in sorted(found - ours, key=str, reverse=True):
        raise _foreign(f"has the {str(kind)[:20]} {str(name)[:60]!r}, as no run makes it")
    for kind, name, _, _ in sorted(ours - found, key=str):
        raise _foreign(f"lacks the {kind} {name!r} that each run makes")


def _foreign(what: str) -> StateFailed:
    return StateFailed(
        f"The state file {what}: it is damaged or a stranger's.",
        hint="Nothing was sent. Bring back a good copy, or do not use this folder.",
    )


def _parts(db: sqlite3.Connection) -> frozenset[tuple[Any, ...]]:
    return frozenset(db.execute("SELECT type, name, tbl_name, sql FROM sqlite_master"))


@cache
def _parts_of(version: int) -> frozenset[tuple[Any, ...]]:
    """As the steps to a version make them."""
    with closing(sqlite3.connect(":memory:")) as db:
        for step in range(version):
            db.executescript(_STEPS[step])
        return _parts(db)


def _has_tables(db: sqlite3.Connection) -> bool:
    return bool(db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
