"""Another state is made of what was told of payments, where the state itself is lost or an older copy.

What the old state still has of rows is taken over; what it says of payments is not, but for the bodies of
requests and the links of images, which are told nowhere else. A row of which nothing but its key is left is
one that no manifest asks for, until a run takes the manifest again and finds it by its key.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from nanobanana_batch.errors import StateFailed
from nanobanana_batch.file_names import is_stem
from nanobanana_batch.model import Kind, Request, RowStatus, TaskMade, request_as_json
from nanobanana_batch.state import facts
from nanobanana_batch.state.ledger import Chain, is_sending, understand
from nanobanana_batch.state.lifecycle import STATUS_OF_PHASE, ImagePhase, Phase, RequestPhase, in_sql
from nanobanana_batch.state.opening import refuse_foreign_journal
from nanobanana_batch.state.schema import bring_up_to_date, refuse_foreign_tables
from nanobanana_batch.state.soundness import refuse_unsound
from nanobanana_batch.state.twins import HAS_TWINS, legacy_twins
from nanobanana_batch.state.writers import WRITERS

JOURNAL = "journal"
"""Under which a state remembers what tells its journal from any other."""
LEFT_BEHIND = "left_behind"
"""Under which a state that was made of a journal remembers that its images may be on another machine."""
_NOT_UNDERSTOOD = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    ArithmeticError,
    RecursionError,
    sqlite3.Error,
)
_COPIED = (
    "INSERT INTO rows (row_key, position, id, request, variant, variables, source)"
    " SELECT row_key, position, id, request, variant, variables, source FROM old.rows ORDER BY row",
    "INSERT INTO meta SELECT name, value FROM old.meta WHERE name != 'digest'",
)
_FROM_OLD = """
UPDATE requests SET (body, fingerprint) = (
    SELECT body, fingerprint FROM old.{paid} AS known WHERE known.idempotency_key = requests.idempotency_key
) WHERE idempotency_key IN (SELECT idempotency_key FROM old.{paid})
"""
_UNTOLD = """
SELECT count(*) FROM old.{paid} WHERE idempotency_key NOT IN (SELECT idempotency_key FROM main.requests)
"""
_SAME_JOURNAL = f"""
SELECT 1 FROM main.meta JOIN old.meta AS before USING (name)
WHERE name = '{JOURNAL}' AND main.meta.value = before.value AND main.meta.value != ''
"""
_NOT_PAID = (RequestPhase.INTENT, RequestPhase.NOT_SENT, RequestPhase.REJECTED, RequestPhase.REFUSED)
_NEVER_SENT = f" AND phase NOT IN ({in_sql(_NOT_PAID)})"
"""A row whose request could not even be made is rejected, too, and waits for nobody."""
_TASKS_BEFORE = f"""
SELECT requests.request, known.task_id, NULL, known.credits_reserved, known.estimated_s, known.accepted_at
FROM main.requests CROSS JOIN old.requests AS known USING (idempotency_key)
WHERE main.requests.phase IN ({in_sql((RequestPhase.INTENT, RequestPhase.UNKNOWN))})
  AND known.task_id IS NOT NULL AND known.accepted_at IS NOT NULL AND requests.kind != '{Kind.DIRECT}'
"""
# Where requests and images were one table each attempt had one of both.
_LINKS_BEFORE_V5 = """
UPDATE images SET links = (
    SELECT known.links FROM old.attempts AS known JOIN requests USING (idempotency_key, task_id)
    WHERE requests.request = images.attempt
) WHERE number = 1
"""
# By row and number, which an index has: a look through all rows of the request would be one for each of them.
LINKS = """
UPDATE images SET links = (
    SELECT known.links FROM attempts CROSS JOIN requests USING (request)
    CROSS JOIN rows USING (row)
    CROSS JOIN old.requests AS paid USING (idempotency_key)
    CROSS JOIN old.rows AS its USING (row_key)
    CROSS JOIN old.attempts AS share
    CROSS JOIN old.images AS known
    WHERE attempts.attempt = images.attempt AND paid.task_id IS requests.task_id
      AND share.row = its.row AND share.number = attempts.number AND share.request = paid.request
      AND known.attempt = share.attempt AND known.number = images.number
)
"""
_WITHOUT_LINKS = f"""
UPDATE attempts SET phase = '{Phase.ACCEPTED}'
WHERE phase = '{Phase.READY}' AND attempt IN (
    SELECT images.attempt FROM images JOIN attempts USING (attempt) JOIN requests USING (request)
    WHERE images.phase != '{ImagePhase.SAVED}' AND coalesce(links, '[]') = '[]' AND results IS NULL
)
"""
_ROW = "INSERT INTO rows (row_key, id, request, variant, variables, source) VALUES (?, ?, ?, ?, ?, ?)"
_SOURCE = "payments.jsonl"


def copied(state: Path, copy: Path) -> bool:
    """Copy a state file and what is in its log; False where it is no database any more."""
    try:
        refuse_foreign_journal(state)
        with closing(sqlite3.connect(state)) as source, closing(sqlite3.connect(copy)) as target:
            source.backup(target)
    except (sqlite3.Error, StateFailed):
        return False
    return True


def rebuild(
    path: Path, lines: Iterable[bytes], old: Path | None, known: Mapping[str, str] | None = None
) -> Counter[RowStatus]:
    """Make a state file at a free path; says how its requests stand, by the status of their rows.

    `old`: what is left of the state, to take rows from if it is one of ours, and sound. `known`: what the new
    one remembers beside that. Where the old one remembers the same journal, it may know of requests that are
    told nowhere: nobody sends one before it is told there.

    Raises:
        StateFailed: a line is damaged, or one is missing: rows would be paid for again.
    """
    try:
        return _rebuilt(path, lines, old if old is not None and _is_ours(old) else None, known or {})
    except sqlite3.Error as error:
        raise StateFailed(f"A state cannot be made at {path}: {error}.") from error


def known_before(state: Path, before: Path) -> list[facts.Accepted]:
    """Tasks of requests of which a new state does not know what became, as the one of before knows them.

    Raises:
        StateFailed: one of the two cannot be read.
    """
    if not _is_ours(before):
        return []
    try:
        with closing(sqlite3.connect(state)) as db:
            db.execute("ATTACH ? AS old", (os.fsencode(before),))
            if db.execute("PRAGMA old.user_version").fetchone()[0] < 5:
                return []
            found = db.execute(_TASKS_BEFORE).fetchall()
    except sqlite3.Error as error:
        raise StateFailed(f"The state {before} cannot be read: {error}.") from error
    return [facts.Accepted(number, TaskMade(*task), at) for number, *task, at in found]


def _rebuilt(
    path: Path, lines: Iterable[bytes], old: Path | None, known: Mapping[str, str]
) -> Counter[RowStatus]:
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        bring_up_to_date(db)
        if old is not None:
            db.execute("ATTACH ? AS old", (os.fsencode(old),))
        db.execute("BEGIN")
        for step in _COPIED if old is not None else ():
            db.execute(step)
        if old is not None:
            _take_twins(db)
        db.execute("INSERT OR IGNORE INTO meta VALUES (?, '')", (HAS_TWINS,))
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", known.items())
        _replayed(db, lines)
        if old is not None:
            (version,) = db.execute("PRAGMA old.user_version").fetchone()
            paid = "requests" if version > 4 else "attempts"
            _refuse_foreign_lines(db, paid, version)
            db.execute(_FROM_OLD.format(paid=paid))
            db.execute(LINKS if version > 4 else _LINKS_BEFORE_V5)
        db.execute(_WITHOUT_LINKS)
        db.execute("COMMIT")
        refuse_unsound(db)
        query = "SELECT phase, count(*) FROM attempts GROUP BY phase"
        counts: Counter[RowStatus] = Counter()
        for phase, count in db.execute(query):
            counts[STATUS_OF_PHASE[Phase(phase)]] += count
    return counts


def _take_twins(db: sqlite3.Connection) -> None:
    """An old state has a table of them, or is older than that."""
    if db.execute("SELECT 1 FROM old.sqlite_master WHERE name = 'twins'").fetchone():
        db.execute("INSERT INTO twins SELECT row_key, base_key FROM old.twins")
    if db.execute("SELECT 1 FROM meta WHERE name = ?", (HAS_TWINS,)).fetchone() is None:
        db.executemany("INSERT OR IGNORE INTO twins VALUES (?, ?)", list(legacy_twins(db)))


def _refuse_foreign_lines(db: sqlite3.Connection, paid: str, version: int) -> None:
    """What the old state has sent has to be told, or one of the two is of another folder.

    Raises:
        StateFailed: it is not.
    """
    never_sent = _NEVER_SENT if version > 4 and db.execute(_SAME_JOURNAL).fetchone() else ""
    (untold,) = db.execute(_UNTOLD.format(paid=paid) + never_sent).fetchone()
    if untold:
        raise StateFailed(
            f"The state knows {untold:,} paid requests of which payments.jsonl does not tell: one of the two"
            " is another folder's, or older; nothing was changed.",
            hint="If the state is the right one, move payments.jsonl away: the next run tells it all anew. If"
            " payments.jsonl is the right one, move state.sqlite3 away, and do this again.",
        )


def _is_ours(state: Path) -> bool:
    try:
        with closing(sqlite3.connect(state)) as db:
            is_filled = refuse_foreign_tables(db) > 0
            (verdict,) = db.execute("PRAGMA quick_check(1)").fetchone()
            if is_filled and verdict == "ok":
                refuse_unsound(db)
                return True
    except (sqlite3.Error, StateFailed, UnicodeDecodeError):
        pass
    return False


def _replayed(db: sqlite3.Connection, lines: Iterable[bytes]) -> None:
    """All facts once more, each from the phases from which it may follow."""
    chain = Chain()
    digest, number_since, sent_since = hashlib.sha256(chain.mark), 0, 0
    for number, line in enumerate(lines, 1):
        try:
            told = understand(line)
            if told.fact is not None:
                fact = _placed(db, told.fact)
                WRITERS[type(fact)](db, fact)
        except (*_NOT_UNDERSTOOD, StateFailed) as error:
            raise _damaged(number, f"cannot be understood ({error})") from error
        if told.chain is None:
            digest.update(line)
            number_since += 1
            sent_since += told.fact is not None and is_sending(told.fact)
            continue
        mark = digest.digest()[:8]
        follows = Chain(chain.number + number_since, mark, chain.sent + sent_since)
        if told.anew != mark and follows != told.chain:
            raise _damaged(number, "does not follow from those before: some are missing or changed")
        _note(db, told.chain)
        chain = told.chain
        digest, number_since, sent_since = hashlib.sha256(chain.mark), 0, 0
    if number_since:  # the last ones may have been cut off with the process, before anyone acted on them
        mark = digest.digest()[:8]
        _note(db, Chain(chain.number + number_since, mark, chain.sent + sent_since))


def _note(db: sqlite3.Connection, chain: Chain) -> None:
    db.execute("INSERT OR REPLACE INTO told VALUES (?, ?, ?)", (chain.number, chain.sent, chain.mark))


def _placed(db: sqlite3.Connection, fact: facts.Fact) -> facts.Fact:
    """An intent with its row in this state."""
    if not isinstance(fact, facts.Intent | facts.Joined):
        return fact
    if not is_stem(fact.stem) or not fact.row_key:
        raise ValueError("that is no row")
    if fact.base_key:
        db.execute("INSERT OR IGNORE INTO twins VALUES (?, ?)", (fact.row_key, fact.base_key))
    found = db.execute("SELECT row FROM rows WHERE row_key = ?", (fact.row_key,)).fetchone()
    if found is None:
        values = (fact.row_key, fact.stem, request_as_json(Request(fact.model, "")), 0, "{}", _SOURCE)
        return replace(fact, row=int(db.execute(_ROW, values).lastrowid or 0))
    return replace(fact, row=int(found[0]))


def _damaged(number: int, what: str) -> StateFailed:
    return StateFailed(
        f"payments.jsonl is damaged: its line {number} {what}. A state that is made of it would not know all"
        " that was paid; nothing was changed.",
        hint="Bring back a good copy of it, or of the state. If the state is the newest one, move"
        " payments.jsonl away: the next run tells it all anew.",
    )
