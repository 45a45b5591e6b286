"""A reply is a clear yes, a clear no of the provider's own, or unknown: it may have been paid."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanobanana_batch.providers.base import Accepted, Decision, Rejected, TaskReport, TaskState, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.replies import read_submit_reply, read_task, retry_after_s

FAIL, REFUSE, AGAIN = Decision.FAIL_ROW, Decision.REFUSE, Decision.NEW_ATTEMPT
SLOW, STOP = Decision.SLOW_DOWN, Decision.STOP_RUN
HTML = b"<html><body><h1>Not what you think</h1></body></html>"


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with a JSON body, or with bytes as they are."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Reply(status, headers or {}, content)


def envelope(code: object, message: str = "because", **more: object) -> dict[str, Any]:
    """The provider's error envelope."""
    return {"error": {"code": code, "message": message, "type": "error", **more}}


TASK = {
    "created": 1,
    "id": "task-unified-1-abcdefgh",
    "model": "m",
    "object": "image.generation.task",
    "progress": 0,
    "status": "pending",
    "task_info": {"can_cancel": True, "estimated_time": 45},
    "type": "image",
    "usage": {"billing_rule": "per_call", "credits_reserved": 3.5, "user_group": "default"},
}


def test_an_accepted_task_is_read_with_what_it_costs() -> None:
    """Contract: reply 200."""
    assert read_submit_reply(reply(200, TASK, {"x-request-id": "req-9"})) == Accepted(
        task_id="task-unified-1-abcdefgh", request_id="req-9", credits_reserved=3.5, estimated_s=45.0
    )


def test_a_task_without_usage_is_accepted() -> None:
    """The unified dialect says nothing of credits."""
    assert read_submit_reply(reply(200, {"id": "t-1"})) == Accepted("t-1")


@pytest.mark.parametrize(
    ("value", "replayed"), [("true", True), ("True", True), ("false", False), ("", False)]
)
def test_a_replay_is_noticed(value: str, replayed: bool) -> None:
    """The first task of this key, not a second one."""
    found = read_submit_reply(reply(200, TASK, {"idempotency-replayed": value}))
    assert isinstance(found, Accepted)
    assert found.replayed is replayed


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"credits_reserved": "3"}},
        {"usage": {"credits_reserved": True}},
        {"usage": {"credits_reserved": -1}},
        {"usage": {"credits_reserved": float("-inf")}},
        {"usage": [], "task_info": "soon"},
        {"usage": {"credits_reserved": float("nan")}, "task_info": {"estimated_time": float("inf")}},
        {"usage": {"credits_reserved": 10**400}, "task_info": {"estimated_time": 10**400}},
    ],
)
def test_odd_numbers_do_not_lose_a_paid_task(odd: dict[str, Any]) -> None:
    """The id counts; what makes no sense beside it is not known."""
    assert read_submit_reply(reply(200, {"id": "t-1", **odd})) == Accepted("t-1")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": None},
        {"id": ""},
        {"id": 7},
        {"id": ["t"]},
        {"id": "../../account"},
        {"id": "a b"},
        {"id": "t?x=1"},
        [TASK],
        b"",
        HTML,
        b'{"id": "t-1"',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_success_without_a_usable_id_may_have_been_paid(body: object) -> None:
    """Never a rejection, never an id that would lead elsewhere."""
    assert isinstance(read_submit_reply(reply(200, body)), Unknown)


VERDICTS = {400, 404, 413, 422}
REJECTIONS = [
    (400, "invalid_request", FAIL),
    (400, "invalid_task_id", FAIL),
    (401, "unauthorized", STOP),
    (402, "insufficient_quota", STOP),
    (402, "quota_exceeded", STOP),
    (402, "insufficient_token_quota", STOP),
    (402, "token_daily_quota_exceeded", STOP),
    (403, "model_access_denied", FAIL),
    (403, "permission_denied", FAIL),
    (404, "task_not_found", FAIL),
    (404, "model_not_found", FAIL),
    (413, "request_too_large_error", FAIL),
    (429, "rate_limit_exceeded", SLOW),
]


@pytest.mark.parametrize(("status", "code", "decision"), REJECTIONS)
def test_the_providers_own_no_is_a_rejection(status: int, code: str, decision: Decision) -> None:
    """Contract, table of errors; with code and message, and the request id for support."""
    found = read_submit_reply(reply(status, envelope(code), {"x-request-id": "req"}))
    is_verdict = status in VERDICTS
    assert found == Rejected(decision, code, "because", "req", is_verdict=is_verdict, status=status)


@pytest.mark.parametrize(
    ("status", "decision"), sorted({(status, what) for status, _, what in REJECTIONS}, key=str)
)
def test_integer_codes_of_older_pages_mean_the_same(status: int, decision: Decision) -> None:
    """The status as a number in place of the code."""
    found = read_submit_reply(reply(status, envelope(status)))
    is_verdict = status in VERDICTS
    assert found == Rejected(decision, str(status), "because", is_verdict=is_verdict, status=status)


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_only_the_provider_itself_judges_a_request(status: int) -> None:
    """A proxy's page with the same status says nothing of it, nor does a rejected key or a rate limit."""
    own, page = read_submit_reply(reply(status, envelope("x"))), read_submit_reply(reply(status, HTML))
    assert isinstance(own, Rejected)
    assert isinstance(page, Rejected)
    assert (own.is_verdict, page.is_verdict) == (True, False)


@pytest.mark.parametrize("status", [500, 502, 503, 504, 520, 524, 408, 409, 425])
@pytest.mark.parametrize(
    "body", [envelope("internal_error"), envelope("upstream_error"), envelope(500), HTML, b""]
)
def test_a_server_error_may_have_been_paid(status: int, body: object) -> None:
    """Also in the provider's own words: the task may have been made before it failed."""
    assert isinstance(read_submit_reply(reply(status, body)), Unknown)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304, 100])
def test_a_redirect_may_have_been_paid(status: int) -> None:
    """It is not followed, and it is no answer."""
    assert isinstance(read_submit_reply(reply(status, b"", {"location": "https://elsewhere"})), Unknown)


@pytest.mark.parametrize("status", [400, 409, 422, 429, 500, 503])
@pytest.mark.parametrize("code", ["paid_outcome_unknown", "idempotency_conflict"])
def test_an_undecided_earlier_request_is_never_a_rejection(status: int, code: str) -> None:
    """Whatever status it comes with: the first request under this key may have been paid."""
    found = read_submit_reply(reply(status, envelope(code)))
    assert isinstance(found, Unknown)
    assert found.code == code


def test_a_missing_page_of_somebody_else_stops_the_run() -> None:
    """HTML with 404 or 405: the address is wrong, for this row and for all."""
    for status in (404, 405):
        found = read_submit_reply(reply(status, HTML))
        assert isinstance(found, Rejected)
        assert (found.decision, found.is_address, found.status) == (STOP, True, status)


@pytest.mark.parametrize(
    ("status", "body"), [(404, envelope("model_not_found")), (405, envelope(405)), (401, HTML), (402, HTML)]
)
def test_nothing_else_speaks_against_the_address(status: int, body: object) -> None:
    """The provider's own words come from the right place; a key is not an address."""
    found = read_submit_reply(reply(status, body))
    assert isinstance(found, Rejected)
    assert not found.is_address


def test_content_rules_refuse_at_once() -> None:
    """Not a failure that anybody should repeat."""
    found = read_submit_reply(reply(400, envelope("content_policy_violation")))
    assert isinstance(found, Rejected)
    assert found.decision is REFUSE


@pytest.mark.parametrize("body", [HTML, b"", {"error": "text"}, {"error": None}, [1]])
@pytest.mark.parametrize(("status", "decision"), [(401, STOP), (402, STOP), (429, SLOW), (413, FAIL)])
def test_a_status_alone_says_enough(status: int, decision: Decision, body: object) -> None:
    """These come from proxies in front of the provider, without its envelope."""
    found = read_submit_reply(reply(status, body))
    assert isinstance(found, Rejected)
    assert (found.decision, found.code) == (decision, f"http_{status}")


def test_text_that_cannot_be_stored_is_made_storable() -> None:
    """JSON may hold half a surrogate pair; a state file cannot."""
    found = read_submit_reply(reply(400, envelope("bad\ud800", "oh \udfff no")))
    assert isinstance(found, Rejected)
    assert (found.code, found.message) == ("bad?", "oh ? no")
    task = {"id": "t", "status": "failed", "error": {"code": "c\ud800", "message": "\ud800"}}
    report = read_task(json.loads(json.dumps(task)))
    assert report is not None
    assert (report.error_code, report.error_message) == ("c?", "?")


# --- how long to wait ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "error", "wait"),
    [
        ({"retry-after": "7"}, {}, 7.0),
        ({"retry-after": " 0 "}, {}, 0.0),
        ({"retry-after": "7"}, {"fallback_suggestion": "retry after 60 seconds"}, 7.0),
        ({}, {"fallback_suggestion": "retry after 60 seconds"}, 60.0),
        ({}, {"fallback_suggestion": "Please Retry After 5 second(s)."}, 5.0),
        ({}, {"message": "Too many requests, retry after 60 seconds"}, 60.0),
        ({}, {"message": "try again in 45s"}, 45.0),
        ({}, {"message": "retry after 9 seconds", "fallback_suggestion": "retry after 3 minutes"}, 180.0),
        ({}, {"fallback_suggestion": "retry after 1 min"}, 60.0),
        ({}, {"message": "retry after 5 students"}, None),
        ({}, {"message": "60 seconds"}, None),
        ({"retry-after": "soon"}, {"fallback_suggestion": "retry after 60 seconds"}, 60.0),
        ({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, {}, 0.0),
        ({"retry-after": "-5"}, {}, None),
        ({"retry-after": "-8.5"}, {}, None),
        ({"retry-after": "8.5"}, {}, 8.5),
        ({"retry-after": "8.5"}, {"fallback_suggestion": "retry after 60 seconds"}, 8.5),
        ({"retry-after": "8."}, {}, None),
        ({"retry-after": "1e3"}, {}, None),
        ({"retry-after": "nan"}, {}, None),
        ({"retry-after": "inf"}, {}, None),
        ({"retry-after": "12345678901"}, {}, 1e9),
        ({"retry-after": "9" * 400}, {}, 1e9),
        ({"retry-after": "٣"}, {}, None),
        ({}, {"fallback_suggestion": "use another model"}, None),
        ({}, {"fallback_suggestion": 60}, None),
        ({}, None, None),
        ({}, {}, None),
    ],
)
def test_the_wait_that_is_asked_for(
    headers: dict[str, str], error: dict[str, Any] | None, wait: float | None
) -> None:
    """The header in seconds or as a date, else the suggestion, else nobody says."""
    assert retry_after_s(reply(429, b"", headers), error) == wait


def test_a_wait_until_a_date() -> None:
    """Counted from now."""
    until = format_datetime(datetime.now(UTC) + timedelta(hours=2), usegmt=True)
    wait = retry_after_s(reply(429, b"", {"retry-after": until}), None)
    assert wait is not None
    assert 7100 < wait <= 7200


def test_a_wait_until_a_date_is_counted_by_the_providers_clock() -> None:
    """Ours may be years away."""
    date, until = "Wed, 21 Oct 2015 07:28:00 GMT", "Wed, 21 Oct 2015 07:29:30 GMT"
    assert retry_after_s(reply(429, b"", {"date": date, "retry-after": until}), None) == 90.0
    assert retry_after_s(reply(429, b"", {"date": until, "retry-after": date}), None) == 0.0
    assert retry_after_s(reply(429, b"", {"date": "noon", "retry-after": until}), None) == 0.0


def test_a_rate_limit_carries_its_wait() -> None:
    """From the body of the contract's own example."""
    body = envelope("rate_limit_exceeded", fallback_suggestion="retry after 60 seconds")
    found = read_submit_reply(reply(429, body))
    assert isinstance(found, Rejected)
    assert (found.decision, found.retry_after_s) == (SLOW, 60.0)


# --- tasks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ["pending", "processing"])
def test_a_task_at_work(status: str) -> None:
    """Nothing else is believed of it yet."""
    task = {**TASK, "status": status, "results": ["https://x/early.png"]}
    assert read_task(task) == TaskReport("task-unified-1-abcdefgh", TaskState.WORKING)


@pytest.mark.parametrize(
    ("fields", "links"),
    [
        ({"results": ["https://x/1.png", "https://x/2.png"]}, ("https://x/1.png", "https://x/2.png")),
        ({"result_data": [{"image_url": "https://x/1.png"}, {"other": 1}]}, ("https://x/1.png",)),
        ({"results": [], "result_data": [{"image_url": "https://x/1.png"}]}, ("https://x/1.png",)),
        ({"results": ["https://x/1.png"], "result_data": [{"image_url": "https://y"}]}, ("https://x/1.png",)),
        ({"results": [None, 5, "ftp://x", "javascript:1", "https://x/1.png"]}, ("https://x/1.png",)),
        ({"results": ["file:///etc/passwd"]}, ()),
        ({"results": {"url": "https://x"}, "result_data": "none"}, ()),
        ({}, ()),
    ],
)
def test_a_completed_task_has_its_links(fields: dict[str, Any], links: tuple[str, ...]) -> None:
    """From either field; only what is a link."""
    report = read_task({"id": "t", "status": "completed", "usage": {"credits_used": 2}, **fields})
    assert report == TaskReport("t", TaskState.COMPLETED, links=links, credits_used=2.0)


@pytest.mark.parametrize("used", [-1, -0.5, float("nan"), float("inf"), True, "2", None, [2], 10**400])
def test_credits_that_make_no_sense_are_not_told(used: object) -> None:
    """The image counts."""
    links = ("https://x/1.png",)
    task = {"id": "t", "status": "completed", "results": list(links), "usage": {"credits_used": used}}
    assert read_task(task) == TaskReport("t", TaskState.COMPLETED, links=links)


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Pending", TaskState.WORKING),
        ("PROCESSING", TaskState.WORKING),
        ("Completed", TaskState.COMPLETED),
        ("FAILED", TaskState.FAILED),
        ("Cancelled", TaskState.FAILED),
        ("canceled", TaskState.FAILED),
    ],
)
def test_a_status_is_the_same_however_it_is_spelt(status: str, state: TaskState) -> None:
    """A paid image must not wait for a capital letter."""
    report = read_task({"id": "t", "status": status})
    assert report is not None
    assert report.state is state


TASK_CODES = {
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
    "a_code_of_next_year": FAIL,
}


@pytest.mark.parametrize(("code", "decision"), TASK_CODES.items())
def test_a_failed_task_is_decided_by_its_code(code: str, decision: Decision) -> None:
    """Contract, table of task errors; what nobody documented is not retried for money."""
    error = {"code": code, "message": "because", "type": "task_error"}
    report = read_task({"id": "t", "status": "failed", "error": error, "results": ["https://x"]})
    assert report == TaskReport(
        "t", TaskState.FAILED, error_code=code, error_message="because", decision=decision
    )


@pytest.mark.parametrize(
    ("task", "code"),
    [
        ({"status": "cancelled"}, "request_cancelled"),
        ({"status": "Canceled"}, "request_cancelled"),
        ({"status": "Failed"}, "unknown_error"),
        ({"status": "failed"}, "unknown_error"),
        ({"status": "failed", "error": "text"}, "unknown_error"),
        ({"status": "failed", "error": {"code": 0}}, "unknown_error"),
        ({"status": "failed", "error": {"code": 500}}, "500"),
    ],
)
def test_a_failed_task_without_a_usual_error(task: dict[str, Any], code: str) -> None:
    """It has failed all the same."""
    report = read_task({"id": "t", **task})
    assert report is not None
    assert (report.state, report.error_code) == (TaskState.FAILED, code)
    assert report.error_message


@pytest.mark.parametrize(
    "task",
    [
        None,
        [],
        "t",
        5,
        {},
        {"id": "t"},
        {"status": "completed"},
        {"id": 5, "status": "completed"},
        {"id": "t", "status": "done"},
        {"id": "t", "status": None},
        {"id": "t", "status": ["completed"]},
    ],
)
def test_nonsense_is_as_if_it_had_not_been_read(task: object) -> None:
    """It changes nothing, least of all to failed."""
    assert read_task(task) is None


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(TASK)), inner, max_size=4)
    ),
    max_leaves=8,
)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from([*sorted(TASK), "error", "results", "result_data"]), _json))
def test_no_shape_of_a_task_is_an_exception(task: dict[str, Any]) -> None:
    """A report or nothing."""
    report = read_task({"id": "t", "status": "completed", **task})
    assert report is None or report.task_id == task.get("id", "t")


@settings(deadline=None)
@given(
    status=st.integers(100, 599), body=st.binary(max_size=30) | _json.map(lambda it: json.dumps(it).encode())
)
def test_no_reply_is_an_exception_and_only_listed_statuses_reject(status: int, body: bytes) -> None:
    """What may have been paid is never called rejected."""
    found = read_submit_reply(Reply(status, {}, body))
    if isinstance(found, Rejected):
        assert status in {400, 401, 402, 403, 404, 405, 413, 415, 422, 429}
    if isinstance(found, Accepted):
        assert 200 <= status < 300
