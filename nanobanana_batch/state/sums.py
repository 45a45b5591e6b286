"""What all requests of a folder add up to: by kind, by time, by code, by what is owed; for the report.

SQLite adds up, so that memory does not grow with the rows; money is shared out as `prices.Share` does it, so
that sums are those of `status`. Sums by time come in buckets: a bucket's number is its time (Unix seconds) by
its length.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import NamedTuple

from nanobanana_batch.model import Kind
from nanobanana_batch.state.lifecycle import (
    FAILURES,
    GIVEN_UP,
    RUNNING,
    UNANSWERED,
    ImagePhase,
    Phase,
    in_sql,
)
from nanobanana_batch.state.prices import ATTEMPTS, SHARE, SHARES, SPENT
from nanobanana_batch.state.reader import Reader
from nanobanana_batch.state.soundness import understood

SPAN_S = 10
"""In how fine steps it is told when anything happened."""
TENTHS = 10
"""Of a second: how fine lengths of time are told."""
LONGEST_LIST = 40


class Request(NamedTuple):
    """What requests of one model and resolution came to."""

    model: str
    resolution: str
    """Empty: none was asked for."""
    requests: int
    accepted: int
    """By the provider, with a task."""
    completed: int
    failed: int
    refused: int
    credits: float
    """Spent; what was refunded is not in it."""


class Images(NamedTuple):
    """Images of one model and resolution that were saved."""

    model: str
    resolution: str
    images: int
    size_bytes: int


class Took(NamedTuple):
    """How many images took so long, from when the provider had taken the request until it was saved."""

    model: str
    resolution: str
    tenths: int
    """Of a second."""
    images: int


class Ended(NamedTuple):
    """Requests that ended without an image."""

    bucket: int
    phase: Phase
    code: str
    requests: int


class Again(NamedTuple):
    """Requests after which another one was made for the same row, by how they had ended."""

    code: str
    requests: int
    completed: int
    """Of their rows, in the end."""
    credits: float
    """That they have cost all the same."""


class Owed(NamedTuple):
    """Payments, or what may be some, without an image to show for them."""

    requests: int
    credits: float
    since: float | None
    """Unix seconds, of the oldest."""


class Waiting(NamedTuple):
    """One request that is owed something."""

    id: str
    phase: Phase
    task_id: str | None
    since: float
    """Unix seconds."""
    credits: float | None


class Judged(NamedTuple):
    """A row of the manifest of which the provider has said whether it makes it."""

    position: int
    is_refused: bool
    prompt: str
    fields: dict[str, str]
    """Model, resolution and ratio as far as they were asked for, and its variables."""


class Totals(NamedTuple):
    """Of all requests, as `audit` counts them."""

    requests: int
    accepted: int
    completed: int
    refunded_credits: float
    further: int
    """Requests for rows that had one before."""
    further_completed: int
    further_credits: float
    rows_tried_again: int


_MODEL = "json_extract(rows.request, '$.model'), coalesce(json_extract(rows.request, '$.resolution'), '')"
_PRICE = f"coalesce({SHARE.used}, {SHARE.reserved})"
_COST = f"iif({SPENT}, {_PRICE}, NULL)"
_IS_GIVEN_UP = f"coalesce(attempts.error_code, '') = '{GIVEN_UP}'"
_REFUNDED = (
    f"iif(accepted_at IS NOT NULL AND attempts.phase IN ('{Phase.FAILED}', '{Phase.REFUSED}')"
    f" AND NOT {SPENT}, {SHARE.reserved}, NULL)"
)
_REQUESTS = f"""
{SHARES}
SELECT {_MODEL}, count(*), count(accepted_at), sum(attempts.phase = '{Phase.SAVED}'),
       sum(attempts.phase IN ('{Phase.FAILED}', '{Phase.REJECTED}')), sum(attempts.phase = '{Phase.REFUSED}'),
       total({_COST})
FROM {ATTEMPTS} JOIN rows USING (row) GROUP BY 1, 2 ORDER BY 1, 2
"""
_IMAGES = f"""
SELECT {_MODEL}, count(*), coalesce(sum(images.size_bytes), 0)
FROM images JOIN attempts USING (attempt) JOIN rows USING (row)
WHERE images.phase = '{ImagePhase.SAVED}' GROUP BY 1, 2 ORDER BY 1, 2
"""
_TOTALS = f"""
{SHARES}
SELECT count(*), count(accepted_at), coalesce(sum(attempts.phase = '{Phase.SAVED}'), 0), total({_REFUNDED}),
       coalesce(sum(attempts.number > 1), 0),
       coalesce(sum(attempts.number > 1 AND attempts.phase = '{Phase.SAVED}'), 0),
       total(iif(attempts.number > 1, {_COST}, NULL)),
       count(DISTINCT iif(attempts.number > 1, attempts.row, NULL))
FROM {ATTEMPTS}
"""
_SPANS = f"""
SELECT CAST(at / {SPAN_S} AS INTEGER) FROM (
    SELECT intended_at AS at FROM requests UNION ALL SELECT accepted_at FROM requests
    UNION ALL SELECT answered_at FROM requests UNION ALL SELECT ended_at FROM attempts
    UNION ALL SELECT saved_at FROM images
) WHERE at IS NOT NULL GROUP BY 1 ORDER BY 1
"""
_SAVED_IN = f"""
SELECT CAST(saved_at / {{bucket_s}} AS INTEGER), count(*) FROM images
WHERE phase = '{ImagePhase.SAVED}' AND saved_at IS NOT NULL GROUP BY 1
"""
_SPENT_IN = f"""
{SHARES}
SELECT CAST(coalesce(accepted_at, intended_at) / {{bucket_s}} AS INTEGER), total({_COST})
FROM {ATTEMPTS} WHERE {SPENT} GROUP BY 1
"""
_ENDED_IN = f"""
SELECT CAST(coalesce(attempts.ended_at, answered_at, intended_at) / {{bucket_s}} AS INTEGER), attempts.phase,
       coalesce(attempts.error_code, ''), count(*)
FROM attempts JOIN requests USING (request)
WHERE attempts.phase IN ({in_sql(FAILURES | {Phase.EXPIRED})}) GROUP BY 1, 2, 3
"""
_BEGAN = f"iif(kind IN ('{Kind.TASK}', '{Kind.JOB}'), coalesce(accepted_at, intended_at), intended_at)"
_TOOK = f"""
SELECT {_MODEL}, CAST((images.saved_at - {_BEGAN}) * {TENTHS} AS INTEGER), count(*)
FROM images JOIN attempts USING (attempt) JOIN requests USING (request) JOIN rows USING (row)
WHERE images.number = 1 AND images.phase = '{ImagePhase.SAVED}' AND images.saved_at IS NOT NULL
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
_AGAIN = f"""
{SHARES}
SELECT coalesce(attempts.error_code, attempts.phase), count(*), sum(latest.phase = '{Phase.SAVED}'),
       total({_COST})
FROM {ATTEMPTS} JOIN rows USING (row) JOIN attempts AS latest ON latest.attempt = rows.attempt
WHERE attempts.attempt != rows.attempt GROUP BY 1 ORDER BY 2 DESC, 1
"""
_OWED = {
    "running": (f"attempts.phase IN ({in_sql(RUNNING)})", _PRICE),
    "unknown": (f"attempts.phase IN ({in_sql(UNANSWERED)})", f"sent * {SHARE.expected}"),
    "resent": (
        f"sent > 1 AND accepted_at IS NOT NULL AND attempts.phase NOT IN ({in_sql(UNANSWERED)})",
        f"(sent - 1) * coalesce({SHARE.expected}, {SHARE.reserved})",
    ),
    "given_up": (f"{_IS_GIVEN_UP} AND accepted_at IS NOT NULL", _PRICE),
    "given_up_unknown": (f"{_IS_GIVEN_UP} AND accepted_at IS NULL", f"sent * {SHARE.expected}"),
    "expired": (f"attempts.phase = '{Phase.EXPIRED}'", _PRICE),
    "charged": (
        f"attempts.phase IN ('{Phase.FAILED}', '{Phase.REFUSED}') AND NOT {_IS_GIVEN_UP} AND {SPENT}"
        f" AND {_PRICE} > 0",
        _PRICE,
    ),
}
_ONE_OWED = f"""
{SHARES}
SELECT count(*), total({{credits}}), min(coalesce(accepted_at, intended_at)) FROM {ATTEMPTS} WHERE {{which}}
"""
_LOST = f"""
SELECT count(*), 0.0, min(saved_at) FROM images WHERE phase = '{ImagePhase.LOST}'
"""
_WAITING = f"""
{SHARES}
SELECT rows.id, attempts.phase, requests.task_id, coalesce(accepted_at, intended_at),
       coalesce({_PRICE}, {SHARE.expected})
FROM {ATTEMPTS} JOIN rows USING (row)
WHERE attempts.phase IN ({in_sql(RUNNING | UNANSWERED | {Phase.EXPIRED})}) OR {_IS_GIVEN_UP}
ORDER BY 4 LIMIT {LONGEST_LIST}
"""
_JUDGED_PHASES = {Phase.SAVED, Phase.READY, Phase.EXPIRED, Phase.REFUSED}
_JUDGED = f"""
SELECT rows.position, attempts.phase = '{Phase.REFUSED}', json_extract(rows.request, '$.prompt'),
       json_extract(rows.request, '$.model'), json_extract(rows.request, '$.resolution'),
       json_extract(rows.request, '$.aspect_ratio'), rows.variables
FROM rows JOIN attempts ON attempts.attempt = rows.attempt
WHERE rows.position IS NOT NULL AND attempts.phase IN ({{phases}})
"""


def requests(reader: Reader) -> Iterator[Request]:
    """All requests, by model and resolution."""
    return (Request(*found) for found in reader.each(_REQUESTS))


def images(reader: Reader) -> Iterator[Images]:
    """All images, by model and resolution."""
    return (Images(*found) for found in reader.each(_IMAGES))


def totals(reader: Reader) -> Totals:
    """Sums over all requests."""
    return Totals(*next(reader.each(_TOTALS)))


def spans(reader: Reader) -> Iterator[int]:
    """The numbers of the spans of `SPAN_S` in which anything happened, in order."""
    return (int(found) for (found,) in reader.each(_SPANS))


def saved_in(reader: Reader, bucket_s: int) -> Iterator[tuple[int, int]]:
    """How many images were saved in each bucket."""
    return ((int(bucket), int(count)) for bucket, count in reader.each(_SAVED_IN.format(bucket_s=bucket_s)))


def spent_in(reader: Reader, bucket_s: int) -> Iterator[tuple[int, float]]:
    """What those requests have cost that the provider took in each bucket."""
    return ((int(bucket), cost) for bucket, cost in reader.each(_SPENT_IN.format(bucket_s=bucket_s)))


def ended_in(reader: Reader, bucket_s: int) -> Iterator[Ended]:
    """Requests that ended without an image in each bucket, by code."""
    for bucket, phase, code, count in reader.each(_ENDED_IN.format(bucket_s=bucket_s)):
        yield Ended(int(bucket), Phase(phase), str(code), int(count))


def took(reader: Reader) -> Iterator[Took]:
    """How long images took; negative where a clock was set back."""
    return (Took(*found) for found in reader.each(_TOOK))


def tried_again(reader: Reader) -> Iterator[Again]:
    """Requests that were not the last ones of their rows, the most frequent end first."""
    return (Again(*found) for found in reader.each(_AGAIN))


def owed(reader: Reader) -> dict[str, Owed]:
    """What is, or may be, paid for and is not there, by why."""
    found = {
        name: Owed(*next(reader.each(_ONE_OWED.format(which=which, credits=credits))))
        for name, (which, credits) in _OWED.items()
    }
    return {**found, ImagePhase.LOST.value: Owed(*next(reader.each(_LOST)))}


def waiting(reader: Reader) -> Iterator[Waiting]:
    """The oldest of the requests that are owed something, some dozens at most."""
    for id_, phase, *rest in reader.each(_WAITING):
        yield Waiting(id_, Phase(phase), *rest)


def judged(reader: Reader, *, only_refused: bool = False) -> Iterator[Judged]:
    """Rows of the manifest that the provider has made or refused, streamed.

    Raises:
        StateFailed: one of them is damaged.
    """
    phases = in_sql({Phase.REFUSED} if only_refused else _JUDGED_PHASES)
    with understood("rows"):
        for position, is_refused, prompt, model, resolution, ratio, variables in reader.each(
            _JUDGED.format(phases=phases)
        ):
            asked = {"model": model, "resolution": resolution, "aspect_ratio": ratio}
            fields = {name: str(value) for name, value in asked.items() if value is not None}
            fields |= {str(name): str(value) for name, value in dict(json.loads(variables)).items()}
            yield Judged(position, bool(is_refused), str(prompt), fields)
