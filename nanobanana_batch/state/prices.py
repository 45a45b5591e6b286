"""What requests cost: which of them cost the same, and what this folder's own replies said of each kind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

from nanobanana_batch.model import Kind, Request
from nanobanana_batch.state.lifecycle import FAILURES, FETCHED, GIVEN_UP, OPEN, PAID, Phase, in_sql


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

_IS_GIVEN_UP = f"error_code = '{GIVEN_UP}'"
_COUNTS = f"(one.phase NOT IN ({in_sql(FAILURES)}) OR one.error_code IS '{GIVEN_UP}')"
SHARES = f"""
WITH jobs AS MATERIALIZED (SELECT DISTINCT request FROM attempts WHERE request != attempt),
shares AS MATERIALIZED (
    SELECT jobs.request AS request, max(1, sum({_COUNTS})) AS counting, count(*) AS of_all
    FROM jobs CROSS JOIN attempts AS one
    WHERE one.attempt = jobs.request OR (one.request = jobs.request AND one.request != one.attempt)
    GROUP BY 1
)
"""
"""Of a job it is known what all of its rows cost, which those share that have, or may have, images."""
ATTEMPTS = "attempts JOIN requests USING (request) LEFT JOIN shares USING (request)"
COUNTING, OF_ALL = "coalesce(shares.counting, 1)", "coalesce(shares.of_all, 1)"
CREDITS_OF_ENDED = f"""
{SHARES}
SELECT total(CASE WHEN attempts.phase IN ({in_sql(FETCHED)}) OR {_IS_GIVEN_UP}
                  THEN coalesce(credits_used, credits_reserved, credits_expected, 0) ELSE 0 END / {COUNTING}
             + (sent - 1) * coalesce(credits_reserved, credits_expected, credits_used, 0) / {OF_ALL})
FROM {ATTEMPTS} WHERE (accepted_at IS NOT NULL OR {_IS_GIVEN_UP})
  AND attempts.phase IN ({in_sql(FETCHED | {Phase.FAILED, Phase.REFUSED})})
"""
CREDITS_OF_OPEN = f"""
{SHARES}
SELECT attempts.attempt, attempts.phase, rows.request,
       coalesce(credits_used, credits_reserved, credits_expected) / {COUNTING}, sent,
       iif(kind = '{Kind.JOB}', requests.request, NULL)
FROM {ATTEMPTS} JOIN rows USING (row) WHERE attempts.phase IN ({in_sql(OPEN)})
"""
UNPRICED = f"""
SELECT 1 FROM attempts JOIN requests USING (request)
WHERE accepted_at IS NOT NULL AND credits_reserved IS NULL AND credits_used IS NULL
  AND attempts.phase IN ({in_sql(PAID)}) LIMIT 1
"""

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
