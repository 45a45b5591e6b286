"""Every error of the API and what a client does about it, in one table (contract: "Errors").

An error comes as the answer to a request, or as the end of a task that had been accepted. Of a request
RETRY means that nobody can tell what became of it: where it cost nothing it is sent again with backoff,
where it may have been paid it is an unknown outcome, and only its very idempotency key may be sent again.
"""

from __future__ import annotations

from dataclasses import dataclass

from nanobanana_batch.providers.base import Decision

FAIL, REFUSE, AGAIN = Decision.FAIL_ROW, Decision.REFUSE, Decision.NEW_ATTEMPT
RETRY, SLOW, STOP = Decision.RETRY_REQUEST, Decision.SLOW_DOWN, Decision.STOP_RUN


@dataclass(frozen=True, slots=True)
class Error:
    """One line of the table."""

    status: int | None
    """The HTTP status that it comes with; None: it is known of tasks only."""
    code: str
    """Empty: the status with any other code, with the status as an integer code, or without a code."""
    request: Decision
    task: Decision


TABLE = (
    #  status  code                          a request   a task
    Error(400, "", FAIL, FAIL),
    Error(400, "invalid_request", FAIL, FAIL),
    Error(400, "invalid_task_id", FAIL, FAIL),
    Error(401, "", STOP, FAIL),
    Error(401, "unauthorized", STOP, FAIL),
    Error(402, "", STOP, FAIL),
    Error(402, "insufficient_quota", STOP, FAIL),
    Error(402, "quota_exceeded", STOP, AGAIN),  # of a task: the provider's own quota
    Error(402, "insufficient_token_quota", STOP, FAIL),
    Error(402, "token_daily_quota_exceeded", STOP, FAIL),
    Error(403, "", FAIL, FAIL),
    Error(403, "model_access_denied", FAIL, FAIL),
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
    Error(500, "", RETRY, AGAIN),
    Error(500, "internal_error", RETRY, AGAIN),
    Error(502, "", RETRY, AGAIN),
    Error(502, "upstream_error", RETRY, AGAIN),
    Error(503, "", RETRY, AGAIN),
    Error(503, "service_unavailable_error", RETRY, AGAIN),
    Error(504, "", RETRY, AGAIN),
    # Of a task; as the answer to a request they judge the request, whatever its status.
    Error(None, "content_policy_violation", REFUSE, REFUSE),
    Error(None, "content_filter", REFUSE, REFUSE),
    Error(None, "sensitive_content", REFUSE, REFUSE),
    Error(None, "moderation_blocked", REFUSE, REFUSE),
    Error(None, "input_moderation_failed", REFUSE, REFUSE),
    Error(None, "invalid_parameters", FAIL, FAIL),
    Error(None, "image_processing_error", FAIL, FAIL),
    Error(None, "image_dimension_mismatch", FAIL, FAIL),
    Error(None, "resource_not_found", FAIL, FAIL),
    Error(None, "model_unavailable", FAIL, FAIL),
    # Of a task; as the answer to a request they leave open what became of it.
    Error(None, "request_cancelled", RETRY, AGAIN),
    Error(None, "generation_failed_no_content", RETRY, AGAIN),
    Error(None, "service_error", RETRY, AGAIN),
    Error(None, "generation_timeout", RETRY, AGAIN),
    Error(None, "resource_exhausted", RETRY, AGAIN),
    Error(None, "service_unavailable", RETRY, AGAIN),
    Error(None, "unknown_error", RETRY, AGAIN),
    # About an earlier request under the same key, which may have been paid.
    Error(None, "paid_outcome_unknown", RETRY, FAIL),
    Error(None, "idempotency_conflict", RETRY, FAIL),
)

REJECTING = frozenset({400, 401, 402, 403, 404, 405, 413, 415, 422, 429})
"""HTTP statuses that say by themselves that no task was made; any other is an unknown outcome."""

VERDICTS = frozenset({400, 404, 413, 422})
"""Of these, those that judge the request itself and not who sends it or when."""

_BY_CODE = {error.code or str(error.status): error for error in TABLE}


def plain(code: str) -> str:
    """A code as the table spells it: neither case nor the kind of dash makes another one of it."""
    return code.lower().replace("-", "_")


def on_request(status: int, code: str, *, own_words: bool) -> Decision:
    """What to do about a reply that is no success.

    `own_words` says that the body was the provider's error envelope. Without it a 404 or 405 means
    that the address is wrong, for this request and for all.
    """
    if status not in REJECTING:
        return RETRY
    if not own_words:
        return STOP if is_address(status, own_words=False) else _BY_CODE[str(status)].request
    return _BY_CODE.get(plain(code), _BY_CODE[str(status)]).request


def is_verdict(status: int, code: str, *, own_words: bool) -> bool:
    """Whether the provider itself judged this very request, by the status and by the code."""
    known = _BY_CODE.get(plain(code))
    meant = status if known is None or known.status is None else known.status
    return own_words and status in VERDICTS and meant in VERDICTS


def is_address(status: int, *, own_words: bool) -> bool:
    """Whether somebody else says that there is no such page: the address may be wrong."""
    return status in (404, 405) and not own_words


def is_lasting(status: int, code: str, *, own_words: bool) -> bool:
    """Whether a read that failed will fail again: a proxy's page is believed about the key only."""
    return on_request(status, code, own_words=own_words) is STOP and (own_words or status == 401)


def on_upload(status: int, code: str, *, own_words: bool) -> Decision:
    """What to do about an upload that failed: nothing of it is about a row's content or a task."""
    decision = on_request(status, code, own_words=own_words)
    return FAIL if decision is REFUSE else decision


def on_failed_task(code: str) -> Decision:
    """What to do about a failed task; a code that nobody documented is not retried for money."""
    known = _BY_CODE.get(plain(code))
    return known.task if known else FAIL
