"""The table of errors says what the contract says: no line too few, none too many, none different."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from nanobanana_batch.providers.base import Decision, Rejected, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks import decisions
from nanobanana_batch.providers.tasks.decisions import REJECTING, TABLE, VERDICTS, on_failed_task, on_request
from nanobanana_batch.providers.tasks.replies import read_submit_reply, read_task

FAIL, REFUSE, AGAIN = Decision.FAIL_ROW, Decision.REFUSE, Decision.NEW_ATTEMPT
RETRY, SLOW, STOP = Decision.RETRY_REQUEST, Decision.SLOW_DOWN, Decision.STOP_RUN
RESET = Decision.WAIT_FOR_RESET

CONTRACT = """
| 400 | invalid_request, invalid_task_id | the row fails, no retry |
| 401 | unauthorized | the run stops: nothing else will work |
| 402 | insufficient_quota, insufficient_user_quota, quota_not_enough | the run stops cleanly |
| 402 | account_balance_insufficient, quota_exceeded | the run stops cleanly |
| 402 | insufficient_token_quota, key_quota_exhausted | the run stops cleanly |
| 402 | token_daily_quota_exceeded, key_daily_quota_exhausted | temporary: resets at midnight |
| 401, 403 | key_disabled, key_expired, user_disabled | the run stops |
| 403 | model_access_denied, key_model_not_allowed, permission_denied | the row fails |
| 404 | task_not_found, model_not_found | the row fails |
| 413 | request_too_large_error | the row fails |
| 429 | rate_limit_exceeded, rate_limited | wait |
| 500, 502, 503, 504 | internal_error, upstream_error, service_unavailable_error | retry with backoff |
"""
MEANT = {
    "the row fails": FAIL,
    "the run stops": STOP,
    "temporary": RESET,
    "wait": SLOW,
    "retry with backoff": RETRY,
}

TASKS = """
| content_policy_violation, content_filter, sensitive_content | refused |
| moderation_blocked, input_moderation_failed | refused |
| SAFETY, IMAGE_SAFETY, PROHIBITED_CONTENT, IMAGE_PROHIBITED_CONTENT | refused |
| RECITATION, IMAGE_RECITATION, BLOCKLIST, SPII | refused |
| rate_limited | yes |
| NO_IMAGE, IMAGE_OTHER | yes |
| invalid_parameters, image_processing_error, image_dimension_mismatch | no |
| resource_not_found, model_unavailable | no |
| request_cancelled | yes |
| generation_failed_no_content | yes |
| service_error, generation_timeout, resource_exhausted, quota_exceeded, service_unavailable | yes |
| upstream_error, unknown_error | yes |
"""
AS_A_TASK = {"refused": REFUSE, "no": FAIL, "yes": AGAIN}
CHANNELS = ("no_available_channel", "channel_selection_failed", "channel:*")
"""Temporary, and nothing was made (contract, "Errors", the second line)."""
EARLIER = {"paid_outcome_unknown", "idempotency_conflict"}


def lines(text: str) -> list[list[str]]:
    """The cells of a table of the contract."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.split("\n") if line]


def cases() -> list[tuple[int, str, Decision]]:
    """Every status with every code of its line, and what is to be done."""
    return [
        (int(status), code.strip(), next(what for words, what in MEANT.items() if meaning.startswith(words)))
        for statuses, codes, meaning in lines(CONTRACT)
        for status in statuses.split(",")
        for code in codes.split(",")
    ]


TASK_CASES = [(code.strip(), AS_A_TASK[what]) for codes, what in lines(TASKS) for code in codes.split(",")]


def submit(status: int, code: object) -> Rejected | Unknown:
    """What is made of an error in the provider's words."""
    body = json.dumps({"error": {"code": code, "message": "because", "type": "x"}}).encode()
    found = read_submit_reply(Reply(status, {"x-request-id": "req-1"}, body))
    assert isinstance(found, Rejected | Unknown)
    return found


def decision_of(found: Rejected | Unknown) -> Decision:
    """An unknown outcome is what the table calls RETRY."""
    return found.decision if isinstance(found, Rejected) else RETRY


@pytest.mark.parametrize(("status", "code", "decision"), cases())
def test_a_request_is_decided_as_the_contract_says(status: int, code: str, decision: Decision) -> None:
    """By its code, and by the status as an integer code; message and request id are kept."""
    by_status = next(error.request for error in TABLE if error.status == status and not error.code)
    for given in (code, status, str(status)):
        found = submit(status, given)
        assert decision_of(found) is (decision if given == code else by_status)
        assert (found.code, found.request_id) == (str(given), "req-1")
        assert "because" in (found.message if isinstance(found, Rejected) else found.reason)


@pytest.mark.parametrize("spelt", [str.upper, str.title, lambda code: code.replace("_", "-")])
def test_a_code_is_the_same_however_it_is_spelt(spelt: Callable[[str], str]) -> None:
    """Case and dashes make no other error of it; a person is shown what was given."""
    for status, code, decision in cases():
        found = submit(status, spelt(code))
        assert decision_of(found) is decision
        assert found.code == (spelt(code) if isinstance(found, Rejected) else decisions.plain(code))
    for code, decision in TASK_CASES:
        report = read_task({"id": "t", "status": "failed", "error": {"code": spelt(code)}})
        assert report is not None
        assert (report.decision, report.error_code) == (decision, spelt(code))
    for code in EARLIER:
        found = submit(400, spelt(code))
        assert isinstance(found, Unknown)
        assert found.code == code
    assert not decisions.is_verdict(400, spelt("rate_limit_exceeded"), own_words=True)


@pytest.mark.parametrize(("code", "decision"), TASK_CASES)
def test_a_failed_task_is_decided_as_the_contract_says(code: str, decision: Decision) -> None:
    """By its code; code and message are kept."""
    error = {"code": code, "message": "because", "type": "task_error"}
    report = read_task({"id": "t", "status": "failed", "error": error})
    assert report is not None
    assert (report.decision, report.error_code, report.error_message) == (decision, code, "because")


def test_the_table_holds_nothing_else() -> None:
    """A line that the contract does not have would be an invention."""
    statuses = {status for status, _, _ in cases()} | {405, 415, 422}
    codes = {code for _, code, _ in cases()} | {code.lower() for code, _ in TASK_CASES} | EARLIER
    codes |= set(CHANNELS)
    assert {error.code for error in TABLE} - {""} == codes
    assert {error.status for error in TABLE} - {None} == statuses
    assert {error.status for error in TABLE if not error.code} == statuses
    assert len({(error.code or error.status) for error in TABLE}) == len(TABLE)


def test_a_status_that_may_have_been_paid_is_never_a_rejection() -> None:
    """Whatever code stands beside it."""
    for error in TABLE:
        may_have_been_paid = (*range(100, 200), *range(300, 400), 408, 409, 425, 451, *range(500, 600))
        for status in may_have_been_paid:
            assert on_request(status, error.code or str(error.status), own_words=True) is RETRY
    assert {error.status for error in TABLE if error.status and error.request is not RETRY} == set(REJECTING)


@pytest.mark.parametrize("status", sorted(REJECTING))
@pytest.mark.parametrize("code", [500, 503, "internal_error", "service_error", "idempotency_conflict"])
def test_a_code_that_leaves_it_open_is_no_rejection_either(status: int, code: object) -> None:
    """The status says no, the code says that nobody knows: it may have been paid."""
    assert isinstance(submit(status, code), Unknown)


@pytest.mark.parametrize("status", [400, 503])
@pytest.mark.parametrize(
    "code", ["no_available_channel", "channel-selection-failed", "Channel:No_Available_Key"]
)
def test_a_request_without_a_channel_was_never_made(status: int, code: str) -> None:
    """The provider's own word for it, also with 503: the same request may simply go again."""
    found = submit(status, code)
    assert isinstance(found, Rejected)
    assert (found.decision, found.is_verdict, found.code) == (RETRY, False, code)
    for elsewhere in (500, 502, 504, 520):
        assert isinstance(submit(elsewhere, code), Unknown)


@pytest.mark.parametrize(
    "code", ["channel:", "channels:busy", "no channel", 503, "service_unavailable_error"]
)
def test_nothing_else_says_that_a_request_was_not_made(code: object) -> None:
    """A 503 may have been paid."""
    assert isinstance(submit(503, code), Unknown)


@pytest.mark.parametrize("status", [401, 402, 403, 429])
@pytest.mark.parametrize("code", ["token_daily_quota_exceeded", "key-daily-quota-exhausted"])
def test_a_daily_quota_comes_back(status: int, code: str) -> None:
    """Whatever status it comes with."""
    assert decision_of(submit(status, code)) is RESET


@pytest.mark.parametrize("status", sorted(REJECTING))
@pytest.mark.parametrize("code", [code for code, what in TASK_CASES if what is REFUSE])
def test_content_rules_refuse_a_request_whatever_its_status(status: int, code: str) -> None:
    """Repeating it would be refused again."""
    found = submit(status, code)
    assert isinstance(found, Rejected)
    assert found.decision is REFUSE


@pytest.mark.parametrize(
    ("status", "code", "decision", "is_verdict"),
    [
        (400, 429, SLOW, False),
        (400, "rate_limit_exceeded", SLOW, False),
        (400, "unauthorized", STOP, False),
        (400, 402, STOP, False),
        (400, "model_access_denied", FAIL, False),
        (400, "task_not_found", FAIL, True),
        (400, "content_filter", REFUSE, True),
        (400, "a_code_of_next_year", FAIL, True),
        (403, "invalid_request", FAIL, False),
        (429, "a_code_of_next_year", SLOW, False),
        (429, 429, SLOW, False),
        (429, "resource_exhausted", SLOW, False),
    ],
)
def test_a_verdict_needs_status_and_code(
    status: int, code: object, decision: Decision, is_verdict: bool
) -> None:
    """Who is limited or locked out was not judged: a request that may have been paid stays unknown."""
    found = submit(status, code)
    assert isinstance(found, Rejected)
    assert (found.decision, found.is_verdict) == (decision, is_verdict)


@pytest.mark.parametrize("status", sorted(VERDICTS))
def test_a_page_of_somebody_else_is_no_verdict(status: int) -> None:
    """The words have to be the provider's own."""
    assert not decisions.is_verdict(status, f"http_{status}", own_words=False)


@pytest.mark.parametrize(
    ("code", "decision"),
    [("500", AGAIN), ("503", AGAIN), ("429", AGAIN), ("400", FAIL), ("402", FAIL), ("418", FAIL), ("", FAIL)],
)
def test_an_integer_code_of_a_task_stands_for_a_status(code: str, decision: Decision) -> None:
    """And one that nobody knows is not retried for money."""
    assert on_failed_task(code) is decision
