"""Requests that may have made a task which nobody knows to be theirs, and keys by which that can be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

from nanobanana_batch.state.lifecycle import OPEN, UNANSWERED, Phase, in_sql

Read = Callable[..., list[Any]]
"""Runs a query with its values; all rows."""
Streamed = Callable[..., Iterator[Any]]
"""The same, one row after the other."""
_SOON_S = 600
"""After its intent a request that met no trouble is accepted."""


@dataclass(frozen=True, slots=True)
class Unaccounted:
    """A request that may have made a task which is not known to be its own."""

    attempt: int
    model: str
    intended_at: float
    """Unix seconds; of the latest of its sendings where it was sent anew."""
    sent: int
    """How many of its sendings may have been paid, each for itself."""


class UsedKey(NamedTuple):
    """An idempotency key of a request that was accepted, and when that was begun (Unix seconds)."""

    key: str
    used_at: float


LATER_ONES = f"""
WITH seen AS (
    SELECT attempt, attempts.phase AS phase, intended_at,
           min(coalesce(accepted_at, intended_at)) OVER (
               ORDER BY attempt DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
           ) AS later_one
    FROM attempts JOIN requests USING (request)
    WHERE attempt >= (
        SELECT min(attempt) FROM attempts WHERE phase != '{Phase.SAVED}' AND phase IN ({in_sql(UNANSWERED)})
    )
)
SELECT attempt FROM seen WHERE phase IN ({in_sql(UNANSWERED)}) AND intended_at > later_one + ?
"""
_BEGUN_AT = "CASE WHEN accepted_at < intended_at - 60 THEN NULL ELSE intended_at END"
"""An intent that was dated after its own acceptance was dated by a clock that was wrong."""
EARLIER_ONES = f"""
WITH seen AS (
    SELECT attempt, attempts.phase AS phase, coalesce(accepted_at, intended_at) AS dated_at,
           max({_BEGUN_AT}) OVER (ORDER BY attempt ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)
               AS earlier_one
    FROM attempts JOIN requests USING (request)
)
SELECT attempt, earlier_one FROM seen
WHERE phase IN ({in_sql(OPEN | {Phase.EXPIRED})}) AND earlier_one > dated_at + ?
"""


class Doubts:
    """What the state says of them, for one provider as one account knows it.

    What may have made a task counts whatever the provider was called: another profile's name, another
    spelling of its host and another key of the same account lead to the same list of tasks.
    """

    def __init__(self, read: Read, streamed: Streamed, provider: str, account: str) -> None:
        self._read = read
        self._streamed = streamed
        self._provider = provider
        self._account = account

    def unanswered(self) -> Iterator[Unaccounted]:
        """Those that have no answer (yet)."""
        return self._find(f"attempts.phase != '{Phase.SAVED}' AND attempts.phase IN ({in_sql(UNANSWERED)})")

    def sent_anew(self) -> Iterator[Unaccounted]:
        """Those with a task that were sent anew before that: an earlier sending may have made another one."""
        return self._find("sent > 1 AND task_id IS NOT NULL")

    def accepted_key_near(self, attempt: int, within_s: float) -> UsedKey | None:
        """The key of an accepted request that is about as old as an attempt, or older.

        The newest one before the attempt that was not sent again since; without one the oldest that was
        accepted at most `within_s` after the attempt's intent. Not one that was accepted before its intent or
        long after it: the clock was set meanwhile, or its reply was lost first.
        """
        older = (
            "SELECT earlier.idempotency_key, earlier.intended_at"
            " FROM requests AS earlier, requests AS asked"
            " WHERE asked.request = ? AND earlier.request < asked.request"
            " AND earlier.intended_at <= asked.intended_at"
            f" AND earlier.accepted_at - earlier.intended_at BETWEEN {-_SOON_S} AND {_SOON_S}"
            " AND earlier.provider = ? AND earlier.account = ? AND earlier.task_id IS NOT NULL"
            " ORDER BY earlier.request DESC LIMIT 1"
        )
        younger = (
            "SELECT later.idempotency_key, later.intended_at"
            " FROM requests AS later, requests AS asked"
            " WHERE asked.request = ?"
            " AND later.request != asked.request AND later.provider = ? AND later.account = ?"
            " AND later.task_id IS NOT NULL"
            f" AND later.accepted_at - later.intended_at BETWEEN {-_SOON_S} AND {_SOON_S}"
            " AND later.accepted_at BETWEEN asked.intended_at AND asked.intended_at + ?"
            " ORDER BY later.accepted_at LIMIT 1"
        )
        found = self._read(older, attempt, self._provider, self._account)
        found = found or self._read(younger, attempt, self._provider, self._account, within_s)
        return UsedKey(*found[0]) if found else None

    def dated_after_later_ones(self, by_s: float) -> frozenset[int]:
        """Those without an answer that a later attempt was dated before, by more than that.

        Attempts are numbered in the order in which they are begun, whatever a clock says.
        """
        return frozenset(attempt for (attempt,) in self._streamed(LATER_ONES, by_s))

    def dated_before_earlier_ones(self, by_s: float) -> dict[int, float]:
        """Those without an image that an earlier attempt was dated after, by more than that, and when."""
        return dict(self._streamed(EARLIER_ONES, by_s))

    def _find(self, condition: str) -> Iterator[Unaccounted]:
        query = (
            "SELECT attempts.attempt, json_extract(rows.request, '$.model'), intended_at, sent"
            " FROM requests JOIN attempts ON attempts.attempt = requests.request JOIN rows USING (row)"
            f" WHERE {condition} AND (requests.provider = ? OR requests.account = ?)"
        )
        return (Unaccounted(*found) for found in self._streamed(query, self._provider, self._account))
