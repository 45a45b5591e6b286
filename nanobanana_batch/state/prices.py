"""What requests cost: which of them cost the same, and what this folder's own replies said of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple

from nanobanana_batch.model import Kind, Request
from nanobanana_batch.state.lifecycle import (
    FAILURES,
    FETCHED,
    GIVEN_UP,
    NOT_TOLD,
    OPEN,
    PAID,
    Phase,
    in_sql,
)


class PriceClass(NamedTuple):
    """Requests that cost the same, as far as anyone says."""

    model: str
    resolution: str | None
    images: int
    web_search: bool
    image_search: bool
    thinking_level: str | None
    extra: str | None = None
    """What settings of the model's own have to do with it, as `Request.priced_by` says."""


def price_class(request: Request) -> PriceClass:
    """What the price of a request can depend on: not its words."""
    return PriceClass(
        request.model,
        request.resolution,
        len(request.images),
        bool(request.web_search),
        bool(request.image_search),
        request.thinking_level,
        request.priced_by or None,
    )


KIND = """
json_extract(rows.request, '$.model'), json_extract(rows.request, '$.resolution'),
coalesce(json_array_length(rows.request, '$.images'), 0),
coalesce(json_extract(rows.request, '$.web_search'), 0),
coalesce(json_extract(rows.request, '$.image_search'), 0), json_extract(rows.request, '$.thinking_level'),
json_extract(rows.request, '$.priced_by')
"""
"""The columns of a `PriceClass` in a query over stored requests, at its beginning; `BY_KIND` goes with it."""
BY_KIND = "GROUP BY 1, 2, 3, 4, 5, 6, 7"

PRICES = f"""
SELECT {KIND}, max(max(coalesce(credits_reserved, 0), coalesce(credits_used, 0)))
FROM attempts JOIN requests USING (request) JOIN rows USING (row)
WHERE coalesce(credits_reserved, credits_used) IS NOT NULL AND kind != '{Kind.JOB}'
{BY_KIND}
"""

TASKS_OF_ROW = """(
    SELECT count(accepted_at) FROM attempts AS every JOIN requests USING (request) WHERE every.row = rows.row
)"""
"""How many requests for a row the provider took."""

_ENDED = frozenset({Phase.FAILED, Phase.REFUSED})
_IS_GIVEN_UP = f"attempts.error_code = '{GIVEN_UP}'"
_UNIT = 1e6
"""Credits are shared out in millionths: what is left of them has the first of those who share."""


def _counts(one: str, kind: str) -> str:
    """Whether an attempt has a part in what its request cost: it has images, or may have."""
    return (
        f"({one}.phase NOT IN ({in_sql(FAILURES)}) OR coalesce({one}.error_code, '') = '{GIVEN_UP}'"
        f" OR ({kind} != '{Kind.TASK}' AND coalesce({one}.error_code, '') = '{NOT_TOLD}'))"
    )


def shares_in(jobs: str) -> str:
    """What begins a query that asks for shares in these requests, which are a query of their own."""
    return f"""
WITH jobs AS MATERIALIZED ({jobs}),
shares AS MATERIALIZED (
    SELECT jobs.request AS request, sum({_counts("one", "''")}) AS counting, count(*) AS of_all,
           min(iif({_counts("one", "''")}, one.attempt, NULL)) AS first
    FROM jobs CROSS JOIN attempts AS one
    WHERE one.attempt = jobs.request OR (one.request = jobs.request AND one.request != one.attempt)
    GROUP BY 1
)
"""


SHARES = shares_in("SELECT DISTINCT request FROM attempts WHERE request != attempt")
"""The same for all jobs: of one it is known what all of its rows cost."""


@dataclass(frozen=True, slots=True)
class Share:
    """What an attempt has cost, or may cost, as SQL: `one` is the attempt there, `paid` its request.

    All shares of a job make what the provider says of it, to the last millionth.
    """

    one: str = "attempts"
    paid: str = "requests"

    @property
    def counts(self) -> str:
        """Whether it has a part in what its request has cost.

        Where no row has, and the provider names a price in the end, all have.
        """
        is_billed = f"{self.paid}.credits_used IS NOT NULL AND coalesce(shares.counting, 0) = 0"
        of_itself = _counts(self.one, f"{self.paid}.kind")
        return f"({of_itself} OR ({self.paid}.kind != '{Kind.TASK}' AND {is_billed}))"

    @property
    def used(self) -> str:
        """Of what the provider says in the end; it holds for those that count."""
        some = "shares.counting > 0"
        return self._of(
            "credits_used",
            f"iif({some}, shares.counting, shares.of_all)",
            f"iif({some}, shares.first, shares.request)",
        )

    @property
    def reserved(self) -> str:
        """Of what it says when it takes the request, the same for each row."""
        return self._of("credits_reserved", "shares.of_all", "shares.request")

    @property
    def expected(self) -> str:
        """Of what was set aside before that."""
        return self._of("credits_expected", "shares.of_all", "shares.request")

    def _of(self, told: str, several: str, first: str) -> str:
        told = f"{self.paid}.{told}"
        part = f"(CAST(round({told} * {_UNIT}) AS INTEGER) / {several}) / {_UNIT}"
        return (
            f"CASE WHEN shares.request IS NULL OR {told} IS NULL THEN {told}"
            f" WHEN {self.one}.attempt = {first} THEN {told} - ({several} - 1) * {part} ELSE {part} END"
        )


SHARE = Share()
ATTEMPTS = "attempts JOIN requests USING (request) LEFT JOIN shares USING (request)"
SPENT = (
    f"(attempts.phase IN ({in_sql(FETCHED)}) OR (attempts.phase IN ({in_sql(_ENDED)}) AND {SHARE.counts}))"
)
"""Whether what it cost is spent, in a query with `ATTEMPTS`: an attempt that ended, and was not refunded."""
CREDITS_OF_ENDED = f"""
{SHARES}
SELECT total(iif({SPENT}, coalesce({SHARE.used}, {SHARE.reserved}, {SHARE.expected}, 0), 0)
             + (sent - 1) * coalesce({SHARE.reserved}, {SHARE.expected}, {SHARE.used}, 0))
FROM {ATTEMPTS} WHERE (accepted_at IS NOT NULL OR {_IS_GIVEN_UP})
  AND attempts.phase IN ({in_sql(FETCHED | _ENDED)})
"""
CREDITS_OF_OPEN = f"""
{SHARES}
SELECT attempts.attempt, attempts.phase, rows.request,
       coalesce({SHARE.used}, {SHARE.reserved}, {SHARE.expected}), sent,
       iif(kind = '{Kind.JOB}', requests.request, NULL), kind,
       kind != '{Kind.TASK}' AND credits_used IS NOT NULL
FROM {ATTEMPTS} JOIN rows USING (row) WHERE attempts.phase IN ({in_sql(OPEN)})
"""
UNTOLD = (
    "(accepted_at IS NOT NULL AND credits_reserved IS NULL AND credits_used IS NULL"
    f" AND attempts.phase IN ({in_sql(PAID)}))"
)
"""Whether it is paid for, and the provider has not said what it costs; for attempts with their requests."""
UNPRICED = f"SELECT 1 FROM attempts JOIN requests USING (request) WHERE {UNTOLD} LIMIT 1"

Found = Iterable[tuple[Any, ...]]


def by_kind(found: Found) -> dict[PriceClass, float]:
    """The most that was ever reserved or used for each kind of request, from what `PRICES` found."""
    return {_kind(columns): float(price) for *columns, price in found}


def counted(found: Found) -> Counter[PriceClass]:
    """How many requests there are of each kind, from rows of `KIND` and a number."""
    return Counter({_kind(columns): int(count) for *columns, count in found})


def _kind(columns: list[Any]) -> PriceClass:
    model, resolution, images, web_search, image_search, thinking_level, extra = columns
    return PriceClass(model, resolution, images, bool(web_search), bool(image_search), thinking_level, extra)
