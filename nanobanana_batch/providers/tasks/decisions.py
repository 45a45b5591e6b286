"""Every error of the API and what a client does about it, in one table (contract: "Errors").

An error comes as the answer to a request, or as the end of a task that had been accepted. Of a request
RETRY means that nobody can tell what became of it: where it cost nothing it is sent again with backoff,
where it may have been paid it is an unknown outcome, and only its very idempotency key may be sent again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanobanana_batch.providers.base import Decision

FAIL, REFUSE, AGAIN = Decision.FAIL_ROW, Decision.REFUSE, Decision.NEW_ATTEMPT
RETRY, SLOW, STOP = Decision.RETRY_REQUEST, Decision.SLOW_DOWN, Decision.STOP_RUN
RESET = Decision.WAIT_FOR_RESET


@dataclass(frozen=True, slots=True)
class Error:
    """One line of the table."""

    status: int | None
    """The HTTP status that it comes with; None: it is known of tasks only."""
    code: str
    """Empty: the status with any other code, with the status as an integer code, or without a code."""
    request: Decision
    task: Decision
    nothing_made: bool = False
    """Of RETRY: the code itself says that no task can have come of the request."""


MAKERS_REFUSALS = (
    "SAFETY",
    "IMAGE_SAFETY",
    "PROHIBITED_CONTENT",
    "IMAGE_PROHIBITED_CONTENT",
    "RECITATION",
    "IMAGE_RECITATION",
    "BLOCKLIST",
    "SPII",
)
"""The words of the models' maker for a refusal, which some providers hand on."""

TABLE = (
    #  status  code                          a request   a task
    Error(400, "", FAIL, FAIL),
    Error(400, "invalid_request", FAIL, FAIL),
    Error(400, "invalid_task_id", FAIL, FAIL),
    Error(401, "", STOP, FAIL),
    Error(401, "unauthorized", STOP, FAIL),
    Error(401, "key_disabled", STOP, FAIL),
    Error(401, "key_expired", STOP, FAIL),
    Error(401, "user_disabled", STOP, FAIL),
    Error(402, "", STOP, FAIL),
    Error(402, "insufficient_quota", STOP, FAIL),
    Error(402, "insufficient_user_quota", STOP, FAIL),
    Error(402, "quota_not_enough", STOP, FAIL),
    Error(402, "account_balance_insufficient", STOP, FAIL),
    Error(402, "quota_exceeded", STOP, AGAIN),  # of a task: the provider's own quota
    Error(402, "insufficient_token_quota", STOP, FAIL),
    Error(402, "key_quota_exhausted", STOP, FAIL),
    Error(402, "token_daily_quota_exceeded", RESET, FAIL),
    Error(402, "key_daily_quota_exhausted", RESET, FAIL),
    Error(403, "", FAIL, FAIL),
    Error(403, "model_access_denied", FAIL, FAIL),
    Error(403, "key_model_not_allowed", FAIL, FAIL),
    Error(403, "permission_denied", FAIL, FAIL),
    Error(404, "", FAIL, FAIL),
    Error(404, "task_not_found", FAIL, FAIL),
    Error(404, "model_not_found", FAIL, FAIL),
    Error(405, "", FAIL, FAIL),
    Error(413, "", FAIL, FAIL),
    Error(413, "request_too_large_error", FAIL, FAIL),
    Error(415, "", FAIL, FAIL),
    Error(422, "", FAIL, FAIL),
    Error(429, "", SLOW, AGAIN),
    Error(429, "rate_limit_exceeded", SLOW, AGAIN),
    Error(429, "rate_limited", SLOW, AGAIN),
    Error(429, "resource_exhausted", SLOW, AGAIN),
    Error(500, "", RETRY, AGAIN),
    Error(500, "internal_error", RETRY, AGAIN),
    Error(502, "", RETRY, AGAIN),
    Error(502, "upstream_error", RETRY, AGAIN),
    Error(503, "", RETRY, AGAIN),
    Error(503, "service_unavailable_error", RETRY, AGAIN),
    Error(503, "no_available_channel", RETRY, AGAIN, nothing_made=True),
    Error(503, "channel_selection_failed", RETRY, AGAIN, nothing_made=True),
    Error(503, "channel:*", RETRY, AGAIN, nothing_made=True),
    Error(504, "", RETRY, AGAIN),
    # Of a task; as the answer to a request they judge the request, whatever its status.
    Error(None, "content_policy_violation", REFUSE, REFUSE),
    Error(None, "content_filter", REFUSE, REFUSE),
    Error(None, "sensitive_content", REFUSE, REFUSE),
    Error(None, "moderation_blocked", REFUSE, REFUSE),
    Error(None, "input_moderation_failed", REFUSE, REFUSE),
    *(Error(None, word.lower(), REFUSE, REFUSE) for word in MAKERS_REFUSALS),
    Error(None, "invalid_parameters", FAIL, FAIL),
    Error(None, "image_processing_error", FAIL, FAIL),
    Error(None, "image_dimension_mismatch", FAIL, FAIL),
    Error(None, "resource_not_found", FAIL, FAIL),
    Error(None, "model_unavailable", FAIL, FAIL),
    # Of a task; as the answer to a request they leave open what became of it.
    Error(None, "request_cancelled", RETRY, AGAIN),
    Error(None, "generation_failed_no_content", RETRY, AGAIN),
    Error(None, "no_image", RETRY, AGAIN),
    Error(None, "image_other", RETRY, AGAIN),
    Error(None, "service_error", RETRY, AGAIN),
    Error(None, "generation_timeout", RETRY, AGAIN),
    Error(None, "service_unavailable", RETRY, AGAIN),
    Error(None, "unknown_error", RETRY, AGAIN),
    # About an earlier request under the same key, which may have been paid.
    Error(None, "paid_outcome_unknown", RETRY, FAIL),
    Error(None, "idempotency_conflict", RETRY, FAIL),
)

REJECTING = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""HTTP statuses that say by themselves that no task was made; any other is an unknown outcome."""

FORBIDDEN = 403
"""Of these the one that a wall in front of a provider sends as a page, also in the place of its answer, when
the task is made: without any words of an error it says nothing."""

VERDICTS = frozenset({400, 404, 413, 422})
"""Of these, those that judge the request itself and not who sends it or when."""

FULL = "40003"
"""The files API's code for an account that holds as many files as it may."""
_FILE_CODES = {"40001": FAIL, "40002": FAIL, FULL: RETRY, "40004": FAIL, "50001": RETRY}
_BY_CODE = {error.code or str(error.status): error for error in TABLE}
_LONGEST_CODE = 200
_ANY_CHANNEL = "channel:*"


def plain(code: str) -> str:
    """A code as the table spells it: neither case nor the kind of dash makes another one of it."""
    return re.sub(r"[\s-]+", "_", code.strip().lower())


def known(code: str) -> Error | None:
    """The line of a code, a word or a status as a number, if the table has it."""
    if len(code) > _LONGEST_CODE:
        return None  # a message in the place of a code may have megabytes
    spelt = plain(code)
    is_channel = spelt.startswith("channel:") and len(spelt) > len("channel:")
    return _BY_CODE.get(_ANY_CHANNEL if is_channel else spelt)


def is_word(code: str) -> bool:
    """Whether the table has a code as a word of this API; a number might be anybody's."""
    return not code.strip().isdecimal() and known(code) is not None


def on_request(status: int, code: str, *, own_words: bool) -> Decision:
    """What to do about a reply that is no success.

    `own_words` says that the provider itself speaks: without it a 404 or 405 means that the address is
    wrong, for this request and for all, unless the text is that of a known error.
    """
    line = known(code)
    if line is not None and nothing_made(status, code, own_words=own_words):
        return line.request
    if status not in REJECTING:
        return RETRY
    if is_address(status, code, own_words=own_words):
        return STOP
    return (line or _BY_CODE[str(status)]).request


def nothing_made(status: int, code: str, *, own_words: bool) -> bool:
    """Whether the provider's own word says that no task came of a request, although it may succeed later."""
    line = known(code)
    is_said = own_words and line is not None and line.nothing_made
    return is_said and (status in REJECTING or status == 503)


def is_verdict(status: int, code: str, *, own_words: bool) -> bool:
    """Whether the provider itself judged this very request, by the status and by the code."""
    line = known(code)
    meant = status if line is None or line.status is None else line.status
    return own_words and status in VERDICTS and meant in VERDICTS


def is_address(status: int, code: str, *, own_words: bool) -> bool:
    """Whether somebody else says that there is no such page: the address may be wrong."""
    line = known(code)
    names_what = is_word(code) and line is not None and line.status == 404
    return status in (404, 405) and not own_words and not names_what


def is_lasting(status: int, code: str, *, own_words: bool) -> bool:
    """Whether a read that failed will fail again: a proxy's page is believed about the key only."""
    return on_request(status, code, own_words=own_words) is STOP and (own_words or status == 401)


def stands_for(code: str) -> int | None:
    """The HTTP status that an error inside of a success stands for; None: it is none that is known."""
    if re.fullmatch(r"[45][0-9]{2}", code):
        return int(code)
    line = known(code) if is_word(code) else None
    if line is None:
        return None
    return line.status or (500 if line.request is RETRY else 400)


def is_of_files(code: str) -> bool:
    """Whether a code is one of the files API's own."""
    return code in _FILE_CODES


def on_upload(status: int, code: str, *, own_words: bool) -> Decision:
    """What to do about an upload that failed: nothing of it is about a row's content or a task."""
    decision = _FILE_CODES.get(code) or on_request(status, code, own_words=own_words)
    return {REFUSE: FAIL, RESET: RETRY}.get(decision, decision)


def on_failed_task(code: str) -> Decision:
    """What to do about a failed task; a code that nobody documented is not retried for money."""
    line = known(code)
    return line.task if line else FAIL


def is_busy(code: str) -> bool:
    """Whether a task failed since too much was asked of the provider: it is to be asked for less."""
    return plain(code) in ("rate_limited", "rate_limit_exceeded", "429")
