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

from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import Decision, Rejected, TaskReport, TaskState, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks import decisions
from nanobanana_batch.providers.tasks.error_words import retry_after_s
from nanobanana_batch.providers.tasks.replies import (
    EXPIRED,
    TaskForm,
    failed_read,
    read_credits_reply,
    read_list_page,
    read_submit_reply,
    read_task,
)

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
    assert read_submit_reply(reply(200, TASK, {"x-request-id": "req-9"})) == TaskMade(
        task_id="task-unified-1-abcdefgh", request_id="req-9", credits_reserved=3.5, estimated_s=45.0
    )


def test_a_task_without_usage_is_accepted() -> None:
    """The unified dialect says nothing of credits."""
    assert read_submit_reply(reply(200, {"id": "t-1"})) == TaskMade("t-1")


@pytest.mark.parametrize(
    ("value", "replayed"),
    [("true", True), ("True", True), ("true, true", True), ("false", False), ("", False), ("untrue", False)],
)
def test_a_replay_is_noticed(value: str, replayed: bool) -> None:
    """The first task of this key, not a second one."""
    found = read_submit_reply(reply(200, TASK, {"idempotency-replayed": value}))
    assert isinstance(found, TaskMade)
    assert found.is_replay is replayed


@pytest.mark.parametrize(
    "odd",
    [
        {"usage": {"credits_reserved": "three"}},
        {"usage": {"credits_reserved": "1e3"}},
        {"usage": {"credits_reserved": 1e10}, "task_info": {"estimated_time": -1}},
        {"usage": {"credits_reserved": []}, "task_info": {"estimated_time": 86401}},
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
    assert read_submit_reply(reply(200, {"id": "t-1", **odd})) == TaskMade("t-1")


def test_numbers_that_were_written_as_text_are_numbers() -> None:
    """Gateways in languages with big decimals send them so."""
    body = {"id": "t", "usage": {"credits_reserved": "2.5"}, "task_info": {"estimated_time": "45"}}
    assert read_submit_reply(reply(200, body)) == TaskMade("t", credits_reserved=2.5, estimated_s=45.0)


@pytest.mark.parametrize(
    ("body", "task_id"),
    [
        ({"id": 7}, "7"),
        ({"id": 2**63}, str(2**63)),
        ({"id": "run:7/a~b+c%2F#d e"}, "run:7/a~b+c%2F#d e"),
        ({"id": "aufgabe-ä"}, "aufgabe-ä"),
        ({"task_id": "t"}, "t"),
        ({"id": "req-1", "task_id": "t"}, "t"),
        ({"id": None, "task_id": 7}, "7"),
        ({"code": 200, "data": {"id": "t"}}, "t"),
        ({"code": 0, "message": "ok", "data": {"task_id": "t", "task_status": "submitted"}}, "t"),
        ({"id": "req-1", "data": {"task_id": "t"}}, "t"),
        ({"code": 200, "data": [{"status": "submitted", "task_id": "t"}]}, "t"),
        ({"id": "t", "error": None}, "t"),
        ({"id": "t", "status": "failed", "error": {"code": "service_error", "message": "x"}}, "t"),
    ],
)
def test_a_task_id_is_taken_as_it_comes(body: dict[str, Any], task_id: str) -> None:
    """A paid task is not lost to the form of its id or to what is wrapped around it."""
    assert read_submit_reply(reply(200, body)) == TaskMade(task_id)


def test_what_a_wrapped_task_costs_is_read_too() -> None:
    """A budget rests on it."""
    found = read_submit_reply(reply(200, {"code": 200, "data": TASK}))
    assert found == TaskMade("task-unified-1-abcdefgh", credits_reserved=3.5, estimated_s=45.0)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"id": None},
        {"id": ""},
        {"id": " "},
        {"id": 0},
        {"id": -7},
        {"id": 7.5},
        {"id": True},
        {"id": 10**60},
        {"id": ["t"]},
        {"id": "../../account"},
        {"id": "a\\..\\b"},
        {"id": ".."},
        {"id": "t\n"},
        {"id": "t\u0000"},
        {"id": "t\ud800"},
        {"id": "x" * 256},
        {"id": "[key]"},
        {"data": []},
        {"data": "t"},
        {"created": 1, "data": [{"url": "https://x/1.png"}]},
        [TASK],
        b"",
        HTML,
        b'{"id": "t-1"',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_success_without_a_usable_id_may_have_been_paid(body: object) -> None:
    """Never a rejection, never an id that would lead elsewhere; it is counted, and says what came."""
    found = read_submit_reply(reply(200, body))
    assert isinstance(found, Unknown)
    assert (found.is_reply, found.is_unclear) == (True, True)
    assert "names no task (HTTP 200: " in found.reason


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (HTML, 'no JSON: "Not what you think"'),
        (b"<html><head><title> Sign  in\n</title><style>p {}</style></head><p>x", 'no JSON: "Sign in"'),
        (b"<script>steal()</script>", "no JSON, and no words"),
        (b"Bad gateway &amp; more", 'no JSON: "Bad gateway & more"'),
        (b"", "an empty body"),
        ({"created": 1, "data": [{"url": "https://x/1.png"}]}, "JSON of another form: {created, data}"),
        ({"code": 200, "message": "accepted"}, "accepted; {code, message}"),
        ({"error": {"message": "odd"}}, "odd"),
        ({"success": False, "message": "no"}, "no"),
        ({"code": "odd_code", "error": "odd text"}, "odd_code: odd text"),
        ({"error": "see https://x.example/secret?sig=1"}, "see https://x.example/..."),
    ],
)
def test_a_success_that_is_not_understood_keeps_its_words(body: object, words: str) -> None:
    """A person has to know what the provider said; its links may be permissions."""
    found = read_submit_reply(reply(200, body))
    assert isinstance(found, Unknown)
    assert found.is_unclear
    assert found.reason == f"a success that names no task (HTTP 200: {words})"


@pytest.mark.parametrize(
    ("body", "decision", "is_verdict", "status"),
    [
        ({"error": {"code": "invalid_request", "message": "x"}}, FAIL, True, 400),
        ({"error": {"code": "content_filter", "message": "x"}}, REFUSE, True, 400),
        ({"error": {"code": "insufficient_quota", "message": "x"}}, STOP, False, 402),
        ({"error": {"code": 401, "message": "x"}}, STOP, False, 401),
        ({"code": 401, "msg": "x"}, STOP, False, 401),
        ({"code": "401", "msg": "x", "data": None}, STOP, False, 401),
        ({"code": 429, "message": "x"}, SLOW, False, 429),
        ({"code": 422, "message": "x"}, FAIL, False, 422),
        ({"code": "rate_limit_exceeded", "message": "x"}, SLOW, False, 429),
        ({"success": False, "code": 402, "msg": "x"}, STOP, False, 402),
        ({"code": 404, "message": "Model not found: x"}, FAIL, False, 404),
        ({"error": {"code": "no_available_channel", "message": "x"}}, Decision.RETRY_REQUEST, False, 503),
    ],
)
def test_an_error_inside_of_a_success_is_what_its_code_says(
    body: object, decision: Decision, is_verdict: bool, status: int
) -> None:
    """Some gateways answer 200 to everything; no verdict without the envelope or a code of the table."""
    found = read_submit_reply(reply(200, body))
    assert isinstance(found, Rejected)
    assert (found.decision, found.is_verdict, found.status) == (decision, is_verdict, status)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"error": {"code": "internal_error", "message": "x"}}, "internal_error"),
        ({"code": 500, "msg": "x"}, "500"),
        ({"code": 503, "msg": "x"}, "503"),
        ({"error": {"code": "paid_outcome_unknown", "message": "x"}}, "paid_outcome_unknown"),
        ({"error": {"code": "service_error"}}, "service_error"),
    ],
)
def test_an_error_inside_of_a_success_may_leave_it_open(body: object, code: str) -> None:
    """As the same words with their own status would."""
    found = read_submit_reply(reply(200, body))
    assert isinstance(found, Unknown)
    assert (found.code, found.is_reply, found.is_unclear) == (code, True, False)


VERDICTS = {400, 404, 413, 422}
REJECTIONS = [
    (400, "invalid_request", FAIL),
    (400, "invalid_task_id", FAIL),
    (401, "unauthorized", STOP),
    (402, "insufficient_quota", STOP),
    (402, "quota_exceeded", STOP),
    (402, "insufficient_token_quota", STOP),
    (402, "insufficient_user_quota", STOP),
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


@pytest.mark.parametrize("body", [HTML, b"", {"error": None}, [1]])
def test_a_wall_in_front_of_the_provider_judges_nothing(body: object) -> None:
    """It may answer in the provider's place when the task is made: only the provider's words say no."""
    found = read_submit_reply(reply(403, body))
    assert isinstance(found, Unknown)
    assert found.is_reply
    assert isinstance(read_submit_reply(reply(403, {"message": "Forbidden"})), Rejected)


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
        ({"retry-after": "8, 8"}, {}, 8.0),
        ({"retry-after": "8,9"}, {}, 8.0),
        ({"retry-after": "1e3"}, {}, 1000.0),
        ({"retry-after": "1E+300"}, {}, 1e9),
        ({"retry-after": "1e400"}, {}, 1e9),
        ({"retry-after": "1e"}, {}, None),
        ({"retry-after": "9" * 6000}, {}, 1e9),
        ({"retry-after": "Fri, 31 Dec 9999 23:59:59 GMT"}, {}, 1e9),
        ({"retry-after": "Fri, 31 Dec 99999 23:59:59 GMT"}, {}, None),
        ({}, {"message": "retry after 2 hours"}, 7200.0),
        ({}, {"message": "try again in 1h"}, 3600.0),
        ({}, {"message": "retry after 2 horses"}, None),
        ({}, {"fallback_suggestion": "retry after 999999999999 seconds"}, 1e9),
        ({}, {"fallback_suggestion": "retry after -60 seconds"}, None),
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


@pytest.mark.parametrize(
    "body",
    [
        b'{"error": [{"code": "rate_limit_exceeded", "fallback_suggestion": "retry after 60 seconds"}]}',
        b"Too many requests; try again in 1 min.",
        b"<html><body>Slow down, retry after 60 s</body></html>",
        b'{"error": {"fallback_suggestion": "retry after 60 seconds \xff"}}',
    ],
)
def test_a_wait_is_found_in_words_that_nobody_else_understands(body: bytes) -> None:
    """A form of error that is in no contract, a bare text, a page, bytes that are no text."""
    found = read_submit_reply(reply(429, body))
    assert isinstance(found, Rejected | Unknown)
    assert found.retry_after_s == 60.0


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


@pytest.mark.parametrize(
    "status",
    ["pending", "queued", "submitted", "processing", "in_progress", "running", "In-Progress", "IN PROGRESS"],
)
def test_a_task_at_work(status: str) -> None:
    """Nothing else is believed of it yet."""
    task = {**TASK, "status": status, "progress": 100, "results": ["https://x/early.png"]}
    assert read_task(task) == TaskReport("task-unified-1-abcdefgh", TaskState.WORKING)


ONE, TWO = "https://x/1.png", "https://x/2.png"


@pytest.mark.parametrize(
    ("fields", "links"),
    [
        ({"results": [ONE, TWO]}, (ONE, TWO)),
        ({"results": [ONE, TWO, ONE]}, (ONE, TWO)),
        ({"results": [{"url": ONE, "content_type": "image/png"}, {"url": TWO}]}, (ONE, TWO)),
        ({"results": [{"image_url": ONE}, {"file_url": TWO}]}, (ONE, TWO)),
        ({"results": [TWO, {"url": ONE}, None, 5, {}, []]}, (TWO, ONE)),
        ({"results": {"url": ONE}}, (ONE,)),
        ({"results": {"images": [{"url": ONE}, TWO]}}, (ONE, TWO)),
        ({"results": ONE}, (ONE,)),
        ({"results": f'["{ONE}", "{TWO}"]'}, (ONE, TWO)),
        ({"results": [{"url": [ONE, TWO]}]}, (ONE, TWO)),
        ({"results": [{"image_url": {"url": ONE}}]}, (ONE,)),
        ({"results": [{"url": None, "image_url": ONE, "file_url": TWO}]}, (ONE,)),
        ({"result_data": [{"image_url": ONE}, {"other": 1}, {"url": TWO}]}, (ONE, TWO)),
        ({"results": [], "result_data": [{"image_url": ONE}]}, (ONE,)),
        ({"results": None, "images": [{"url": ONE}, TWO]}, (ONE, TWO)),
        ({"output": ONE}, (ONE,)),
        ({"output": {"url": ONE}}, (ONE,)),
        ({"output": [ONE, {"image_url": TWO}]}, (ONE, TWO)),
        ({"results": [ONE], "result_data": [{"image_url": TWO}], "images": [TWO]}, (ONE,)),
        ({"results": [None, 5, "ftp://x", "javascript:1", ONE]}, (ONE,)),
        ({"results": [f" {ONE}\n", "HTTPS://x/A.PNG"]}, (ONE, "HTTPS://x/A.PNG")),
        ({"results": ["https://x/a b.png?c=ä"]}, ("https://x/a b.png?c=ä",)),
    ],
)
def test_a_completed_task_has_its_links(fields: dict[str, Any], links: tuple[str, ...]) -> None:
    """Contract, "Accept every shape of a result that was seen": all of them, in order, none twice."""
    for status in ("completed", "succeeded", "Success", "FINISHED", "expired"):
        report = read_task({"id": "t", "status": status, "usage": {"credits_used": 2}, **fields})
        assert report == TaskReport("t", TaskState.COMPLETED, links=links, credits_used=2.0)


NO_LINKS: list[dict[str, Any]] = [
    {"results": ["file:///etc/passwd"]},
    {"results": ["https://", "https:///x", "https://[::1", "https://x:port/", "//x/1.png", "x/1.png"]},
    {"results": ["https://a b/1.png", "https://x/\ud800", "https://x/\u0000", "https://x/" + "a" * 20000]},
    {"results": {"href": "https://x"}, "result_data": "none"},
    {"results": [], "output": None},
    {"results": [{"b64_json": "iVBORw0KGgo"}]},
    {"results": [[[[[[["https://x/deep.png"]]]]]]]},
    {"error": {"code": "content_filter", "message": "because"}},
    {},
]


@pytest.mark.parametrize("fields", NO_LINKS)
def test_a_finished_task_without_a_usable_link_is_unclear(fields: dict[str, Any]) -> None:
    """Neither at work nor failed: it was paid for, so it is told, and never paid for again by itself."""
    report = read_task({"id": "t", "status": "completed", **fields})
    assert report is not None
    assert (report.state, report.is_finished, report.links) == (TaskState.UNCLEAR, True, ())
    assert report.words.startswith("status 'completed'")


@pytest.mark.parametrize(
    "status", ["done", "", None, 3, ["completed"], {"is": "completed"}, True, "ready_for_pickup"]
)
def test_a_status_in_no_table_is_unclear(status: object) -> None:
    """Also with links: nobody here knows whether they are the images."""
    report = read_task({"id": "t", "status": status, "results": [ONE]})
    assert report is not None
    assert (report.state, report.is_finished, report.links) == (TaskState.UNCLEAR, False, ())
    assert report.words
    assert "x/1.png" not in report.words


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ({"id": "t", "status": "done"}, "status 'done'; it has {id, status}"),
        ({"id": "t"}, "no status; it has {id}"),
        ({"id": "t", "status": None}, "status 'null'; it has {id, status}"),
        (
            {"id": "t", "status": "completed", "results": [], "output": {"href": ONE}, "prompt": "p"},
            "status 'completed', results: list of 0, output: {href};"
            " it has {id, status, results, output, prompt}",
        ),
        (
            {
                "id": "t",
                "status": "success",
                "images": [{"b64": "AAAA"}],
                "error": {"code": "x", "message": ONE},
            },
            "status 'success', images: list of 1 x {b64}, error x: https://x/...;"
            " it has {id, status, images, error}",
        ),
    ],
)
def test_an_unclear_task_says_how_it_is_built(task: dict[str, Any], words: str) -> None:
    """Names and words, enough to write a profile; no link, prompt or image."""
    report = read_task(task)
    assert report is not None
    assert report.words == words


def test_words_are_short() -> None:
    """A reply may be of any size."""
    task = {"id": "t", "status": "s" * 5000, "error": "e" * 5000, **{f"field-{n}" * 9: n for n in range(500)}}
    report = read_task(task)
    assert report is not None
    assert len(report.words) <= 310


def test_a_profile_may_say_where_links_stand_and_what_a_status_means() -> None:
    """A provider that differs in these needs no new code."""
    form = TaskForm(("answer.pictures.href", "extra[].link"), {"done": TaskState.COMPLETED})
    task = {"id": "t", "status": "Done", "results": [TWO], "answer": {"pictures": [{"href": ONE}, {"no": 1}]}}
    report = read_task(task, form)
    assert report is not None
    assert report.links == (ONE,)
    report = read_task({"id": "t", "status": "done", "results": [TWO], "extra": [[{"link": ONE}]]}, form)
    assert report is not None
    assert report.links == (ONE,)
    report = read_task({"id": "t", "status": "done", "answer": 5, "results": [TWO]}, form)
    assert report is not None
    assert report.links == (TWO,)


@pytest.mark.parametrize(
    "wrapped",
    [
        {"data": {"id": "t", "status": "completed", "results": [ONE]}},
        {"code": 200, "data": {"task_id": "t", "status": "SUCCESS", "output": {"url": ONE}}},
        {"id": "req-1", "code": "success", "data": {"task_id": "t", "status": "completed", "images": [ONE]}},
        {"code": 200, "data": [{"id": "t", "state": "completed", "results": [ONE]}]},
    ],
)
def test_a_wrapped_task_is_a_task(wrapped: dict[str, Any]) -> None:
    """As other gateways of this family answer; whether it is the right one is seen by its id."""
    report = read_task(wrapped)
    assert report is not None
    assert (report.task_id, report.state, report.links) == ("t", TaskState.COMPLETED, (ONE,))


def test_what_a_task_has_cost_may_stand_in_either_place() -> None:
    """Contract: `usage.credits_used`, or `usage.cost`."""
    for usage in (
        {"credits_used": "2.5"},
        {"cost": {"credits": 2.5}},
        {"credits_used": -1, "cost": {"credits": 2.5}},
    ):
        report = read_task({"id": "t", "status": "completed", "results": [ONE], "usage": usage})
        assert report is not None
        assert report.credits_used == 2.5


@pytest.mark.parametrize(
    "used", [-1, -0.5, float("nan"), float("inf"), True, "two", None, [2], 10**400, 1e12]
)
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
    report = read_task({"id": "t", "status": status, "results": [ONE]})
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
    "NO_IMAGE": AGAIN,
    "IMAGE_OTHER": AGAIN,
    "no_available_channel": AGAIN,
    "insufficient_user_quota": FAIL,
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
        ({"status": "error", "fail_reason": "text"}, "unknown_error"),
        ({"status": "failure", "code": 200, "message": "ok"}, "unknown_error"),
        ({"status": "failed", "error": "content_filter"}, "content_filter"),
        ({"status": "failed", "error_code": "service_error", "error_message": "x"}, "service_error"),
        ({"status": "failed", "error": {"code": "odd", "type": "IMAGE_SAFETY"}}, "IMAGE_SAFETY"),
        ({"status": "failed", "error": {"code": "unknown_error", "reason": "SPII"}}, "SPII"),
        (
            {"status": "failed", "error": {"code": 500, "message": "stopped: IMAGE_RECITATION"}},
            "IMAGE_RECITATION",
        ),
        ({"status": "failed", "error": {"message": "PROHIBITED_CONTENT"}}, "PROHIBITED_CONTENT"),
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
    refused = code.upper() in decisions.MAKERS_REFUSALS or code == "content_filter"
    assert (report.decision is REFUSE) is refused


def test_an_expired_task_is_not_paid_for_again_by_itself() -> None:
    """By the provider's word it has no image any more, and nobody knows whether it is refunded."""
    for error in (None, {"code": "generation_timeout", "message": "because"}):
        report = read_task({"id": "t", "status": "Expired", "error": error, "results": []})
        assert report is not None
        assert (report.state, report.error_code, report.decision) == (TaskState.FAILED, EXPIRED, FAIL)
        assert report.error_message == ("because" if error else "the provider gave no reason")


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        ({"code": "rate_limited"}, 30.0),
        ({"code": "RATE-LIMITED", "message": "retry after 2 minutes"}, 120.0),
        ({"code": 429, "message": "busy"}, 30.0),
        ({"code": "service_error", "message": "retry after 2 minutes"}, None),
        ({"code": "content_filter", "message": "retry after 2 minutes"}, None),
    ],
)
def test_a_task_that_failed_since_too_much_was_asked_slows_down(
    error: dict[str, Any], wait: float | None
) -> None:
    """Contract, table of task errors: yes, after 30 s."""
    report = read_task({"id": "t", "status": "failed", "error": error})
    assert report is not None
    assert report.retry_after_s == wait


@pytest.mark.parametrize(
    "task",
    [
        None,
        [],
        "t",
        5,
        {},
        {"status": "completed", "results": ["https://x/1.png"]},
        {"id": "..", "status": "completed"},
        {"id": True, "status": "completed"},
        {"data": "t"},
    ],
)
def test_nonsense_is_as_if_it_had_not_been_read(task: object) -> None:
    """It changes nothing, least of all to failed."""
    assert read_task(task) is None


SECRET = "https://files.example/u/7?signature=s3cret"
_NAMES = [
    *sorted(TASK),
    "error",
    "results",
    "result_data",
    "images",
    "output",
    "data",
    "task_id",
    "code",
    "url",
]
_NAMES += ["message", "msg", "detail", "type", "reason", "success", "state", "reset_timezone", "cost", "odd"]
_WORDS = st.sampled_from(
    ["completed", "failed", "done", "expired", "rate_limited", "SAFETY", "402", "t", SECRET]
)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | _WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(_NAMES), inner, max_size=5),
    max_leaves=12,
)


def told(found: object) -> str:
    """All texts of an outcome or report that people are shown."""
    names = ("code", "message", "reason", "words", "error_code", "error_message", "failure", "rejected")
    return " ".join(str(getattr(found, name, "")) for name in names)


@settings(deadline=None, max_examples=400)
@given(st.dictionaries(st.sampled_from(_NAMES), _json, max_size=8))
def test_no_shape_of_a_task_is_an_exception(task: dict[str, Any]) -> None:
    """A report or nothing: completed only with links, and no link in what is told."""
    for report in (read_task(task), read_task({"id": "t", "status": "completed", **task})):
        if report is None:
            continue
        assert (report.state is TaskState.COMPLETED) is bool(report.links)
        assert bool(report.words) is (report.state is TaskState.UNCLEAR)
        assert "s3cret" not in told(report)
        assert told(report).isprintable()


@settings(deadline=None, max_examples=400)
@given(
    status=st.sampled_from([200, 201, 302, 400, 401, 402, 403, 404, 409, 422, 429, 500, 503])
    | st.integers(100, 599),
    body=st.binary(max_size=30) | _json.map(lambda it: json.dumps(it).encode()),
)
def test_no_reply_is_an_exception_and_only_what_says_no_rejects(status: int, body: bytes) -> None:
    """What may have been paid is never called rejected; no link is in what is told."""
    answer = Reply(status, {}, body)
    found = read_submit_reply(answer)
    if isinstance(found, Rejected):
        assert found.status in {400, 401, 402, 403, 404, 405, 413, 415, 422, 429, 503}
        assert status // 100 == 2 or found.status == status
        assert found.status != 503 or found.decision is Decision.RETRY_REQUEST
    if isinstance(found, TaskMade):
        assert 200 <= status < 300
    for read in (found, failed_read(answer), read_credits_reply(answer), read_list_page(answer)):
        assert "s3cret" not in told(read)
        assert told(read).isprintable()
