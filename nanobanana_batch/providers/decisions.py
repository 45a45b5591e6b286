"""Every error of the API and what a client does about it, in one place (contract: "Errors").

A 5xx and everything that is not the provider's own clear "no" is not in here: such a request may
have been paid, and `task_api` calls it unknown.
"""

from __future__ import annotations

from nanobanana_batch.providers.base import Decision

FAIL, REFUSE, AGAIN = Decision.FAIL_ROW, Decision.REFUSE, Decision.NEW_ATTEMPT
RETRY, SLOW, STOP = Decision.RETRY_REQUEST, Decision.SLOW_DOWN, Decision.STOP_RUN

BY_CODE = {
    "invalid_request": FAIL,
    "invalid_task_id": FAIL,
    "unauthorized": STOP,
    "insufficient_quota": STOP,
    "quota_exceeded": STOP,
    "insufficient_token_quota": STOP,
    "token_daily_quota_exceeded": STOP,
    "model_access_denied": FAIL,
    "permission_denied": FAIL,
    "task_not_found": FAIL,
    "model_not_found": FAIL,
    "request_too_large_error": FAIL,
    "rate_limit_exceeded": SLOW,
    "content_policy_violation": REFUSE,
}
"""Codes of a rejected request."""

BY_STATUS = {
    400: FAIL,
    401: STOP,
    402: STOP,
    403: FAIL,
    404: FAIL,
    405: FAIL,
    413: FAIL,
    415: FAIL,
    422: FAIL,
    429: SLOW,
}
"""HTTP statuses that say by themselves that no task was made; any other is an unknown outcome."""

VERDICTS = frozenset({400, 404, 413, 422})
"""Of these, those that judge the request itself and not who sends it or when."""

UNDECIDED = frozenset({"paid_outcome_unknown", "idempotency_conflict"})
"""Codes about an earlier request under the same key, which may have been paid, whatever the status."""

BY_TASK_CODE = {
    "content_policy_violation": REFUSE,
    "content_filter": REFUSE,
    "sensitive_content": REFUSE,
    "moderation_blocked": REFUSE,
    "input_moderation_failed": REFUSE,
    "invalid_parameters": FAIL,
    "image_processing_error": FAIL,
    "image_dimension_mismatch": FAIL,
    "resource_not_found": FAIL,
    "model_unavailable": FAIL,
    "request_cancelled": AGAIN,
    "generation_failed_no_content": AGAIN,
    "service_error": AGAIN,
    "generation_timeout": AGAIN,
    "resource_exhausted": AGAIN,
    "quota_exceeded": AGAIN,
    "service_unavailable": AGAIN,
    "upstream_error": AGAIN,
    "unknown_error": AGAIN,
}
"""Codes of a task that was accepted and then failed (refunded)."""


def on_rejection(status: int, code: str, *, own_words: bool) -> Decision | None:
    """What to do about a reply that is no success; None: its outcome is unknown.

    `own_words` says that the body was the provider's error envelope. Without it a 404 or 405 means
    that the address is wrong, for this row and for all.
    """
    if status not in BY_STATUS or code in UNDECIDED:
        return None
    if not own_words and status in (404, 405):
        return STOP
    if code in BY_CODE and status >= 400:
        return BY_CODE[code]
    return BY_STATUS[status]


def on_failed_task(code: str) -> Decision:
    """What to do about a failed task; a code that nobody documented is not retried for money."""
    return BY_TASK_CODE.get(code, FAIL)
