"""What has not ended, or had to be left: each attempt with its request and the images that it is owed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from nanobanana_batch.file_names import ANSWERS, is_answer_path
from nanobanana_batch.model import Kind
from nanobanana_batch.state.lifecycle import ImagePhase, Phase, in_sql
from nanobanana_batch.state.prices import ATTEMPTS, SHARE, shares_in
from nanobanana_batch.state.soundness import names_what_no_run_names, refuse_ways_out, texts, understood

Named = Callable[..., Iterable[dict[str, Any]]]
"""Runs a query with its values; all rows, by the names of their columns."""
Numbers = Callable[..., Sequence[int]]
"""Runs a query for one number a row; all of them, packed."""
_AT_ONCE = 256
"""So many attempts are read from the state together."""


@dataclass(slots=True)
class OwedImage:
    """One file that an attempt is owed."""

    number: int
    """1-based; the first one is the row's image, the others stand beside it."""
    stem: str
    """The name of its file, without its ending."""
    links: tuple[str, ...] = ()
    """Where it is to be had, what is to be tried first in front; none where it is in the results' file."""
    dies_at: float = 0.0
    """Unix seconds at which the links end."""
    is_saved: bool = False
    sha256: str = ""
    """Of a saved one."""
    others: tuple[str, ...] = ()
    """Links that may be its own where the first of `links` turns out to be another image's."""


@dataclass(slots=True, kw_only=True)
class OpenAttempt:
    """A row's share in a request: all that the state knows of both."""

    attempt: int
    request: int = 0
    """The number of its request's first attempt."""
    name: str = ""
    """By which its answer is found among those of a job."""
    row: int
    number: int
    """Of this attempt among its row's, 1-based."""
    row_key: str = ""
    id: str
    model: str
    resolution: str | None
    """As the row asks for it."""
    stem: str
    phase: Phase = Phase.INTENT
    """As it was when this was looked up."""
    position: int | None = None
    """In the manifest; None when its row has left it."""
    kind: Kind = Kind.TASK
    provider: str = ""
    account: str = ""
    body: bytes
    idempotency_key: str
    intended_at: float
    """Unix seconds, as all times of an attempt."""
    sent: int = 1
    """How many of its sendings may have been paid, each for itself."""
    task_id: str = ""
    """Empty: none is known."""
    estimated_s: float | None = None
    credits: float = 0.0
    """What it costs, as far as the provider has said; 0: it has not."""
    is_billed: bool = False
    """It was said with the answer, whatever becomes of the row."""
    accepted_at: float = 0.0
    results: str = ""
    """The file of the folder that has what came of the request; empty: none has."""
    error_message: str = ""
    rests: bool = False
    """Its row has left the manifest, and all that is free was asked about it."""
    images: list[OwedImage] = field(default_factory=list)
    """Empty while it is not known what there is."""


_WHICH = f"""
JOIN rows USING (row)
WHERE attempts.phase = ? AND attempts.phase != '{Phase.SAVED}'
  AND (attempts.phase NOT IN ({in_sql({Phase.NOT_SENT, Phase.EXPIRED})}) OR rows.attempt = attempts.attempt)
"""
_RESTS = "rows.position IS NULL AND requests.rests_since IS NOT NULL"
_IS_ALONE = f"(requests.kind = '{Kind.TASK}' AND requests.results IS NULL)"
_NUMBERS = f"""
SELECT attempts.attempt FROM attempts JOIN requests USING (request) {_WHICH}
  AND (? IS NULL OR {_IS_ALONE} = ?)
ORDER BY (SELECT min(dies_at) FROM images WHERE images.attempt = attempts.attempt), attempts.attempt
"""
_WANTED_JOBS = f"""
SELECT DISTINCT attempts.request AS request
FROM json_each(?) AS wanted CROSS JOIN attempts ON attempts.attempt = wanted.value
JOIN requests USING (request)
WHERE requests.kind = '{Kind.JOB}'
"""
_OPEN = f"""
{shares_in(_WANTED_JOBS)}
SELECT attempts.attempt, attempts.request, attempts.name, attempts.row, attempts.number, rows.row_key,
       rows.id, json_extract(rows.request, '$.model') AS model,
       json_extract(rows.request, '$.resolution') AS resolution, rows.stem, attempts.phase, rows.position,
       requests.kind, requests.provider, requests.account, requests.body, requests.idempotency_key,
       requests.intended_at, requests.sent, coalesce(requests.task_id, '') AS task_id, requests.estimated_s,
       coalesce({SHARE.used}, {SHARE.reserved}, 0) AS credits,
       requests.kind != '{Kind.TASK}' AND requests.credits_used IS NOT NULL AS is_billed,
       coalesce(requests.accepted_at, requests.intended_at) AS accepted_at,
       coalesce(requests.results, '') AS results, coalesce(attempts.error_message, '') AS error_message,
       {_RESTS} AS rests,
       (SELECT json_group_array(json_array(number, phase, links, dies_at, stem, sha256))
        FROM images WHERE images.attempt = attempts.attempt) AS images
FROM (SELECT key, value AS attempt FROM json_each(?)) AS wanted CROSS JOIN {ATTEMPTS} {_WHICH}
  AND attempts.attempt = wanted.attempt
ORDER BY wanted.key
"""


_ANY = f"""
SELECT 1 AS found FROM attempts JOIN requests USING (request) {_WHICH}
  AND requests.provider = ? AND (? OR NOT ({_RESTS})) LIMIT 1
"""


def is_any_open(read: Named, phase: Phase, provider: str, *, with_resting: bool) -> bool:
    """Whether a provider has an attempt in a phase, without reading any."""
    return any(True for _ in read(_ANY, phase, provider, with_resting))


def open_attempts(
    read: Named, numbers: Numbers, phase: Phase, *, is_alone: bool | None = None
) -> Iterator[OpenAttempt]:
    """All attempts that are in a phase now, those whose links die first at the front; of saved ones none.

    Which they are is looked up at once; each is read when it is nearly its turn, and left out if it is in
    another phase by then. So memory hardly grows with them. `is_alone`: only those of tasks without any
    results in a file, of which no fact about another attempt says anything; or only the others.

    Raises:
        StateFailed: one of them is damaged; when it is read, and not by the call.
    """
    return _a_few_at_a_time(read, numbers(_NUMBERS, phase, is_alone, is_alone), phase)


def _a_few_at_a_time(read: Named, all_of_them: Sequence[int], phase: Phase) -> Iterator[OpenAttempt]:
    for begin in range(0, len(all_of_them), _AT_ONCE):
        wanted = json.dumps(list(all_of_them[begin : begin + _AT_ONCE]))
        found = read(_OPEN, wanted, wanted, phase)
        with understood("attempts"):
            known = [_open_attempt(each) for each in found]
        yield from known


def _open_attempt(known: dict[str, Any]) -> OpenAttempt:
    refuse_ways_out(known["stem"])
    if known["results"] and not is_answer_path(known["results"]):
        raise names_what_no_run_names(known["results"])
    if known["kind"] != Kind.TASK and not is_answer_path(f"{ANSWERS}/{known['idempotency_key']}"):
        raise names_what_no_run_names(known["idempotency_key"])
    known |= {
        "phase": Phase(known["phase"]),
        "kind": Kind(known["kind"]),
        "body": bytes(known["body"]),
        "rests": bool(known["rests"]),
        "is_billed": bool(known["is_billed"]),
        "images": [_owed(known["stem"], *image) for image in sorted(json.loads(known["images"]))],
    }
    return OpenAttempt(**known)


def _owed(
    row_stem: str,
    number: int,
    phase: str,
    links: str | None,
    dies_at: float | None,
    stem: str | None,
    sha256: str | None,
) -> OwedImage:
    stem = stem or (row_stem if number == 1 else f"{row_stem}-{number}")
    refuse_ways_out(stem)
    is_saved = ImagePhase(phase) is ImagePhase.SAVED
    return OwedImage(number, stem, texts(links or "[]"), dies_at or 0.0, is_saved, sha256 or "")
