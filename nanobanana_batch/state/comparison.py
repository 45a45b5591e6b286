"""How the rows of a manifest stand in an output folder, before the manifest is taken into its state.

The roster's names are copied into a private temporary table beside the state, so that all questions are
joins: memory does not grow with the manifest, and the state file is not touched.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum

from nanobanana_batch.model import RowStatus
from nanobanana_batch.state.lifecycle import STATUS_OF_PHASE, Phase
from nanobanana_batch.state.prices import BY_KIND, KIND, TASKS_OF_ROW, PriceClass, counted
from nanobanana_batch.state.roster import Roster


class Prospect(StrEnum):
    """What a run that is to come finds a row as."""

    NEW = "new"
    """Nothing was sent for it."""
    CHANGED = "changed"
    """New, but the row of this id or place was sent earlier with a request that is no longer wanted."""
    AGAIN = "again"
    """Its task failed for a reason that may pass, and it has attempts left."""
    DONE = "done"
    RUNNING = "running"
    READY = "ready"
    UNKNOWN = "unknown"
    FAILED = "failed"
    REFUSED = "refused"
    EXPIRED = "expired"


TO_PAY = frozenset({Prospect.NEW, Prospect.CHANGED, Prospect.AGAIN})
"""Rows for which a run sends a paid request."""
TO_COLLECT = frozenset({Prospect.RUNNING, Prospect.READY, Prospect.UNKNOWN})
"""Rows that are paid for, or may be: a run only finds out and fetches."""

REPEATED = f"attempts.phase = '{Phase.FAILED}' AND attempts.retryable = 1 AND {TASKS_OF_ROW} < ?"
"""Whether a run sends a failed row again by itself; the mark is for the number of attempts that a row has."""

_WORDS = {RowStatus.COMPLETED: Prospect.DONE, RowStatus.PENDING: Prospect.NEW}
_WORD_OF_PHASE = " ".join(
    f"WHEN '{phase.value}' THEN '{_WORDS.get(status, status).value}'"
    for phase, status in STATUS_OF_PHASE.items()
)
_WANTED = "CREATE TEMP TABLE wanted (position INTEGER PRIMARY KEY, row_key TEXT, id TEXT, source TEXT)"
_GONE = """
CREATE TEMP TABLE gone AS SELECT row, id, source, attempt FROM main.rows AS rows
WHERE attempt IS NOT NULL AND NOT EXISTS (SELECT 1 FROM wanted WHERE wanted.row_key = rows.row_key)
"""
# A derived id has digits of its row's key in it, and so is another one after an edit: there the place tells.
_IS_DERIVED = "instr(wanted.id, substr(wanted.row_key, instr(wanted.row_key, '-') + 1, 10))"
_MARKED = f"""
INSERT INTO marked SELECT wanted.position, CASE
    WHEN rows.attempt IS NULL AND (
        wanted.id IN (SELECT id FROM gone)
        OR wanted.source IN (SELECT source FROM gone) AND {_IS_DERIVED}
    ) THEN 'changed'
    WHEN rows.attempt IS NULL THEN 'new'
    WHEN {REPEATED} THEN 'again'
    ELSE CASE attempts.phase {_WORD_OF_PHASE} END END
FROM wanted LEFT JOIN main.rows AS rows ON rows.row_key = wanted.row_key
LEFT JOIN attempts ON attempts.attempt = rows.attempt
"""
_LEFT_ALONE = f"""
SELECT {KIND}, count(*) FROM wanted JOIN marked USING (position) JOIN main.rows AS rows USING (row_key)
WHERE marked.word NOT IN ({", ".join(f"'{word.value}'" for word in sorted(TO_PAY))})
{BY_KIND}
"""
# A changed row stands for what was sent under its id, or for as many of its place as there are such rows.
_GONE_PHASES = f"""
WITH changed AS (SELECT wanted.* FROM wanted JOIN marked USING (position) WHERE marked.word = 'changed'),
replaced AS (SELECT source, count(*) AS rows FROM changed AS wanted WHERE {_IS_DERIVED} GROUP BY source),
others AS (
    SELECT attempt, source, row_number() OVER (PARTITION BY source ORDER BY row DESC) AS nth
    FROM gone WHERE id NOT IN (SELECT id FROM changed)
)
SELECT attempts.phase, count(*) FROM others JOIN attempts USING (attempt)
LEFT JOIN replaced USING (source) WHERE nth > coalesce(replaced.rows, 0) GROUP BY 1
"""


class Comparison:
    """One roster beside one state, as of the moment at which it is made."""

    def __init__(self, db: sqlite3.Connection, roster: Roster, max_attempts: int) -> None:
        self._db = db
        if not db.in_transaction:  # all that is asked later is answered from this moment
            db.execute("BEGIN")
        for name in ("wanted", "gone", "marked"):
            db.execute(f"DROP TABLE IF EXISTS temp.{name}")
        db.execute(_WANTED)
        names = ((position, key, id_, source) for key, position, id_, *_, source in roster.columns())
        db.executemany("INSERT INTO wanted VALUES (?, ?, ?, ?)", names)
        # Sorted once when all are there, which is quicker than to find a place for each.
        db.execute("CREATE UNIQUE INDEX temp.wanted_keys ON wanted (row_key)")
        db.execute(_GONE)
        db.execute("CREATE TEMP TABLE marked (position INTEGER PRIMARY KEY, word TEXT)")
        db.execute(_MARKED, (max_attempts,))

    def counts(self) -> Counter[Prospect]:
        """How many rows of the manifest stand where."""
        found = self._db.execute("SELECT word, count(*) FROM marked GROUP BY word")
        return Counter({Prospect(word): count for word, count in found})

    def prospects(self) -> Iterator[Prospect]:
        """Each row's, in manifest order, streamed."""
        for (word,) in self._db.execute("SELECT word FROM marked ORDER BY position"):
            yield Prospect(word)

    def prospect(self, position: int) -> Prospect:
        """One row's."""
        found = self._db.execute("SELECT word FROM marked WHERE position = ?", (position,)).fetchone()
        return Prospect(found[0])

    def left_alone(self) -> Counter[PriceClass]:
        """Requests that no run pays for, by what they cost."""
        return counted(self._db.execute(_LEFT_ALONE))

    def gone(self) -> Counter[RowStatus]:
        """Requests that were sent, and that no row of the manifest asks for and no changed one replaces."""
        counts: Counter[RowStatus] = Counter()
        for phase, count in self._db.execute(_GONE_PHASES):
            counts[STATUS_OF_PHASE[phase]] += count
        return counts
