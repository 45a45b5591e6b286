"""What went wrong is told in the reply's own words, and a proxy's JSON is no word of the provider's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanobanana_batch.providers.base import Decision, Rejected, Unknown
from nanobanana_batch.providers.http import Reply
from nanobanana_batch.providers.tasks import error_words
from nanobanana_batch.providers.tasks.error_words import error_of
from nanobanana_batch.providers.tasks.replies import read_submit_reply
from nanobanana_batch.providers.tasks.values import as_line
from nanobanana_batch.providers.watch import without_links

FAIL, REFUSE, SLOW = Decision.FAIL_ROW, Decision.REFUSE, Decision.SLOW_DOWN
STOP, RESET = Decision.STOP_RUN, Decision.WAIT_FOR_RESET


def reply(status: int, body: object, headers: Mapping[str, str] | None = None) -> Reply:
    """A reply with a JSON body, or with bytes as they are."""
    return Reply(status, headers or {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def rejected(status: int, body: object, headers: Mapping[str, str] | None = None) -> Rejected:
    """What is made of it as the answer to a submit."""
    found = read_submit_reply(reply(status, body, headers))
    assert isinstance(found, Rejected)
    return found


@pytest.mark.parametrize(
    ("body", "code", "message"),
    [
        ({"error": {"code": "c", "message": "m"}}, "c", "m"),
        ({"error": "bare text"}, "http_400", "bare text"),
        (
            {"error": "Bad Request", "message": "model is required", "statusCode": 400},
            "http_400",
            "Bad Request: model is required",
        ),
        ({"code": "c", "message": "m"}, "c", "m"),
        ({"code": 400, "msg": "m"}, "400", "m"),
        ({"error_code": "c", "error_msg": "m"}, "c", "m"),
        ({"message": "m"}, "http_400", "m"),
        ({"detail": "m"}, "http_400", "m"),
        (
            {"detail": [{"loc": ["body", "prompt"], "msg": "too long", "input": "secret"}]},
            "http_400",
            "body.prompt: too long",
        ),
        ({"error": {"message": {"de": "nein"}}}, "http_400", '{"de": "nein"}'),
        ({"error": {"code": 0, "message": "m"}}, "http_400", "m"),
        ({"error": {}}, "http_400", "JSON of another form: {error}"),
        ({"timestamp": 1, "path": "/"}, "http_400", "JSON of another form: {timestamp, path}"),
        ([1], "http_400", "JSON of another form: list of 1 x number"),
        (b"", "http_400", "an empty body"),
        (b"upstream said no\x1b[31m", "http_400", 'no JSON: "upstream said no [31m"'),
        (b"<h1>400</h1> <p>Bad&nbsp;Request</p>", "http_400", 'no JSON: "400 Bad Request"'),
        (b"\xff\xfe\x00", "http_400", 'no JSON: "\ufffd\ufffd"'),
        (b"<hr/>", "http_400", "no JSON, and no words"),
    ],
)
def test_an_error_keeps_its_words(body: object, code: str, message: str) -> None:
    """In whatever form it comes (contract, "Errors": the envelope, and what is also seen)."""
    found = rejected(400, body)
    assert (found.code, found.decision) == (code, FAIL)
    assert found.message == message


OWN: list[object] = [
    {"error": {"code": "c", "message": "m"}},
    {"error": {"code": 400}},
    {"error": {"type": "invalid_request_error"}},
    {"error": {"message": "m"}},
    {"code": "invalid_request", "message": "m"},
    {"code": "content_policy_violation", "msg": "m"},
    {"error": "invalid_request"},
]
ANYBODYS: list[object] = [
    {"error": "Invalid request"},
    {"error": "text"},
    {"error": {}},
    {"error": {"status": 400}},
    {"error": {"code": None, "message": ""}},
    {"code": 400, "message": "m"},
    {"code": 400, "msg": "m"},
    {"code": "odd", "message": "m"},
    {"message": "no Route matched with those values"},
    {"message": "Invalid request"},
    {"detail": "Not Found"},
    {"timestamp": 1, "status": 400, "error": "Bad Request", "path": "/v1"},
    {"errors": [{"code": 1000, "message": "blocked"}], "success": False},
]


@pytest.mark.parametrize("body", OWN)
def test_the_envelope_and_the_codes_of_the_table_are_the_providers_own(body: object) -> None:
    """They judge the request."""
    assert rejected(400, body).is_verdict


@pytest.mark.parametrize("body", ANYBODYS)
def test_a_proxys_json_is_no_verdict(body: object) -> None:
    """A request that may have been paid must not become "not paid" by it."""
    assert not rejected(400, body).is_verdict
    assert (rejected(404, body).is_address, rejected(404, body).decision) == (True, STOP)


@pytest.mark.parametrize(
    "body",
    [
        {"error": {"code": 404, "message": "model not found"}},
        {"error": "Model not found: banana-9"},
        {"code": 404, "message": "model not found"},
        {"detail": "Model not found."},
    ],
)
def test_a_model_that_is_not_found_fails_its_row(body: object) -> None:
    """Contract: 404, "model not found" is no wrong address."""
    found = rejected(404, body)
    assert (found.decision, found.code, found.is_address) == (FAIL, "model_not_found", False)


@pytest.mark.parametrize(
    ("error", "code", "decision"),
    [
        ({"code": 400, "message": "content_policy_violation"}, "content_policy_violation", REFUSE),
        ({"code": 400, "type": "IMAGE_SAFETY"}, "IMAGE_SAFETY", REFUSE),
        ({"code": "odd", "reason": "BLOCKLIST"}, "BLOCKLIST", REFUSE),
        ({"code": "invalid_request", "type": "SAFETY"}, "invalid_request", FAIL),
        ({"code": 400, "message": "insufficient_user_quota: need 12"}, "insufficient_user_quota", STOP),
        ({"code": 400, "type": "invalid_request_error"}, "400", FAIL),
        ({"message": "Unauthorized"}, "unauthorized", STOP),
    ],
)
def test_the_most_telling_word_decides(error: dict[str, Any], code: str, decision: Decision) -> None:
    """A number or an odd code may hide a word of the table beside it."""
    found = rejected(400, {"error": error})
    assert (found.code, found.decision) == (code, decision)


def test_a_page_beside_which_no_channel_is_named_may_have_been_paid() -> None:
    """Only the code itself says that nothing was made, and only where a code stands."""
    for body in (
        {"message": "no_available_channel"},
        {"error": "No available channel"},
        {"detail": "channel:x"},
    ):
        assert isinstance(read_submit_reply(reply(503, body)), Unknown)
    assert rejected(503, {"error": "no_available_channel"}).decision is Decision.RETRY_REQUEST
    assert rejected(503, {"code": "channel:busy", "message": "m"}).decision is Decision.RETRY_REQUEST


def test_what_is_missing_is_said() -> None:
    """Contract, 402: the body may name amounts, in the envelope or beside it."""
    error = {"code": "insufficient_quota", "message": "no", "estimated_credits": "12.5"}
    found = rejected(402, {"error": error, "account_balance_credits": 3, "remaining_credits": 0})
    said = "this request: 12.5 credits, the account has: 3 credits, the key has: 0 credits"
    assert found.message == f"no ({said})"


# --- daily quotas ----------------------------------------------------------------------------------

NOON = "Thu, 26 Nov 2026 12:00:00 GMT"
HOUR = 3600.0


@pytest.mark.parametrize(
    ("zone", "headers", "resets_in_s"),
    [
        ("UTC", {"date": NOON}, 12 * HOUR),
        ("GMT", {"date": NOON}, 12 * HOUR),
        ("Z", {"date": NOON}, 12 * HOUR),
        ("+08:00", {"date": NOON}, 4 * HOUR),
        ("UTC+8", {"date": NOON}, 4 * HOUR),
        ("gmt+0800", {"date": NOON}, 4 * HOUR),
        ("-03:30", {"date": NOON}, 15.5 * HOUR),
        ("+14:00", {"date": NOON}, 22 * HOUR),
        ("UTC", {"date": "Thu, 26 Nov 2026 00:00:00 GMT"}, 24 * HOUR),
        ("UTC", {"date": "Thu, 26 Nov 2026 23:59:59 GMT"}, 1.0),
        ("UTC", {"date": NOON, "retry-after": "90"}, 90.0),
        ("UTC", {"date": NOON, "retry-after": "Thu, 26 Nov 2026 13:00:00 GMT"}, HOUR),
        (None, {"date": NOON, "retry-after": "90"}, 90.0),
        (None, {"date": NOON}, None),
        ("", {"date": NOON}, None),
        (8, {"date": NOON}, None),
        ("+99:00", {"date": NOON}, None),
        ("Atlantis/Capital", {"date": NOON}, None),
        ("../../etc/passwd", {"date": NOON}, None),
        ("x" * 5000, {"date": NOON}, None),
        ("UTC", {"date": "Fri, 31 Dec 9999 12:00:00 GMT"}, None),
    ],
)
def test_a_daily_quota_says_when_it_is_there_again(
    zone: object, headers: dict[str, str], resets_in_s: float | None
) -> None:
    """`Retry-After`, else the next midnight of `reset_timezone` by the provider's clock, if it names one."""
    error = {"code": "key_daily_quota_exhausted", "message": "because"}
    for body in ({"error": {**error, "reset_timezone": zone}}, {"error": error, "reset_timezone": zone}):
        found = rejected(402, body, headers)
        assert (found.decision, found.resets_in_s) == (RESET, resets_in_s)


@pytest.mark.skipif("Europe/Berlin" not in available_timezones(), reason="this machine knows no time zones")
@pytest.mark.parametrize(
    ("date", "hours"),
    [(NOON, 11), ("Sat, 27 Mar 2027 23:30:00 GMT", 22.5), ("Sat, 30 Oct 2027 22:30:00 GMT", 24.5)],
)
def test_a_zone_may_change_its_clocks_that_day(date: str, hours: float) -> None:
    """Berlin's days of 23 and 25 hours."""
    error = {"code": "token_daily_quota_exceeded", "reset_timezone": "Europe/Berlin"}
    assert rejected(402, {"error": error}, {"date": date}).resets_in_s == hours * HOUR


def test_a_machine_without_time_zones_does_not_know(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the run asks again, or a person does; offsets need no list."""

    def unknown(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(error_words, "ZoneInfo", unknown)
    for zone, known in (("Asia/Shanghai", False), ("UTC+8", True)):
        error = {"code": "token_daily_quota_exceeded", "reset_timezone": zone}
        assert (rejected(402, {"error": error}, {"date": NOON}).resets_in_s is not None) is known


def test_without_a_date_our_clock_has_to_do() -> None:
    """It is not above a day."""
    error = {"code": "token_daily_quota_exceeded", "reset_timezone": "UTC"}
    found = rejected(402, {"error": error}).resets_in_s
    assert found is not None
    now = datetime.now(UTC)
    assert abs(found + now.hour * HOUR + now.minute * 60 + now.second - 24 * HOUR) < 60 or found > 23.9 * HOUR


# --- texts that people see -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://user:pw@x.example:8/p?sig=1#f now", "see https://x.example:8/... now"),
        ("urlhttps://x/secret", "urlhttps://x/..."),
        ('{"u": "https:\\/\\/x.example\\/p?sig=1"}', '{"u": "https://x.example/..."}'),
        ("HTTPS://X/secret,HTTP://y/secret", "HTTPS://X/..."),
        ("next=https%3A%2F%2Fx%2Fsecret", "next=http..."),
        ("https://", "https://"),
    ],
)
def test_no_text_holds_a_link(text: str, shown: str) -> None:
    """Only hosts are left, however the link is written."""
    assert without_links(text) == shown


@given(
    st.text(max_size=60),
    st.sampled_from(["https://h.example/", "http:\\/\\/h/", "HTTPS://u@h?"]),
    st.text(max_size=20),
)
def test_what_follows_a_host_is_never_shown(before: str, link: str, after: str) -> None:
    """Whatever stands around it."""
    assert "s3cret" not in as_line(f"{before}{link}s3cret{after}")
    words = error_of(
        reply(400, {"error": {"message": f"{before}{link}s3cret{after}", "code": link + "s3cret"}})
    )
    assert words is not None
    assert "s3cret" not in words.code + words.message


def test_a_line_is_one_line() -> None:
    """No control sequence, no half of a surrogate pair, no end."""
    assert as_line("a\n\tb\x1b[2J \u202e c\ud800") == "a b [2J c?"
    assert as_line("x" * 9000) == "x" * 2000 + " [...]"
    assert as_line({"a": [1, None]}) == '{"a": [1, null]}'
