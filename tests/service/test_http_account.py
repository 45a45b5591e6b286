"""Whether a provider is up is asked for free, and only its own words count: real sockets."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from nanobanana_batch.providers.base import AccountRead
from tests.service.test_http_paid import (
    KEY,
    Answer,
    Seen,
    half_a_body,
    hang_up,
    no_http,
    provider,
    send,
    serving,
)

DATE = "Date: Thu, 01 Jan 1970 01:00:00 GMT\r\n"
PAGE = b"<html>not here</html>"


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


def credits(token: object, user: object) -> bytes:
    """The contract's reply."""
    data = {"token": token, "user": user}
    return json.dumps({"data": data, "message": "success", "success": True}).encode()


def error(code: object, message: str = "because") -> bytes:
    """The provider's envelope."""
    return json.dumps({"error": {"code": code, "message": message}}).encode()


def left(amount: object, unlimited: bool = False) -> dict[str, Any]:
    """One line of the reply."""
    return {"remaining_credits": amount, "unlimited_credits": unlimited, "used_credits": 1}


async def account(answer: Answer) -> AccountRead:
    """What is made of an answer."""
    async with serving(answer) as server, provider(server.url) as opened:
        read = await opened.read_account()
        assert {request.headers["authorization"] for request in server.seen} == {f"Bearer {KEY}"}
        return read


@pytest.mark.anyio
async def test_what_is_left_and_what_time_it_is_there() -> None:
    """Contract: "Account"."""
    async with serving(send(200, credits(left(12.5), left(99)), DATE)) as server, provider(server.url) as it:
        assert await it.read_account() == AccountRead(
            True, remaining_credits=12.5, provider_time=3600.0, is_reply=True
        )
        assert [request.line for request in server.seen] == ["GET /v1/credits HTTP/1.1"]


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "remaining", "unlimited"),
    [
        (credits(left(0), left(99)), 0.0, False),
        (credits(left(0, True), left(99)), 99.0, True),
        (credits(left(0, True), None), None, True),
        (credits(None, left(7)), 7.0, False),
        (credits(left("12.5"), left(True)), 12.5, False),
        (credits(left("twelve"), left(True)), None, False),
        (credits(left("0", "true"), left(7)), 7.0, True),  # type: ignore[arg-type]
        (credits(left(-3), left(7)), -3.0, False),
        (credits(left(None), left(-0.5)), -0.5, False),
        (credits(left(float("nan")), left(float("inf"))), None, False),
        (b'{"data": [1]}', None, False),
    ],
)
async def test_credits_are_those_of_the_key_or_else_of_the_user(
    body: bytes, remaining: float | None, unlimited: bool
) -> None:
    """What makes no sense is not told; the provider is up all the same."""
    read = await account(send(200, body))
    assert (read.is_up, read.remaining_credits, read.is_unlimited) == (True, remaining, unlimited)
    assert read.failure == ""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("status", "body", "is_up"),
    [
        (400, error("invalid_request"), True),
        (402, error("insufficient_quota"), True),
        (403, error("permission_denied"), True),
        (404, error("not_found"), True),
        (429, error("rate_limit_exceeded"), False),
        (500, error("internal_error"), False),
        (503, error("service_unavailable_error"), False),
        (302, error("moved"), False),
        (200, PAGE, False),
        (200, b"", False),
        (403, PAGE, False),
        (502, PAGE, False),
    ],
)
async def test_only_a_provider_that_answers_itself_is_up(status: int, body: bytes, is_up: bool) -> None:
    """Before paid requests go out again: a proxy's page, a rate limit or a 5xx is no sign of life."""
    read = await account(send(status, body))
    assert (read.is_up, bool(read.failure)) == (is_up, True)
    assert read.rejected == ""


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("body", "is_up", "rejected"),
    [
        (b'{"code": 401, "msg": "no such key"}', True, "no such key"),
        (b'{"error": {"code": "unauthorized", "message": "no"}}', True, "no"),
        (b'{"code": 429, "msg": "busy"}', False, ""),
        (b'{"success": false, "message": "odd"}', True, ""),
        (b'{"code": 500, "msg": "down"}', False, ""),
    ],
)
async def test_an_error_inside_of_a_success_is_an_error(body: bytes, is_up: bool, rejected: str) -> None:
    """Some gateways answer 200 to everything."""
    read = await account(send(200, body))
    assert (read.is_up, read.rejected, bool(read.failure)) == (is_up, rejected, True)


@pytest.mark.anyio
async def test_a_rejected_key_is_told_without_the_key() -> None:
    """The provider is up, but not for us."""
    read = await account(send(401, error("unauthorized", f"no such key {KEY}")))
    assert (read.is_up, read.rejected) == (True, "no such key [key]")
    assert KEY not in repr(read)


@pytest.mark.anyio
@pytest.mark.parametrize("answer", [hang_up, half_a_body, no_http], ids=lambda it: str(it.__name__))
async def test_no_whole_reply_is_no_sign_of_life(answer: Answer) -> None:
    """Nothing was learned."""
    read = await account(answer)
    assert (read.is_up, bool(read.failure)) == (False, True)


@pytest.mark.anyio
async def test_a_busy_provider_says_how_long() -> None:
    """The breaker waits for it."""
    assert (await account(send(503, PAGE, "Retry-After: 40\r\n"))).retry_after_s == 40.0


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("task_status", "body", "is_up"),
    [(404, error("task_not_found"), True), (404, b'{"detail": "Not Found"}', True), (404, PAGE, False)],
)
@pytest.mark.parametrize("page", [PAGE, b'{"detail": "Not Found"}', b'{"error": "no such route"}'])
@pytest.mark.parametrize("status", [404, 405])
async def test_where_credits_are_not_told_a_task_that_nobody_has_is_asked_for(
    status: int, page: bytes, task_status: int, body: bytes, is_up: bool
) -> None:
    """Else a provider without that page would never count as up again."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        chosen = send(status, page) if "/v1/credits" in request.line else send(task_status, body)
        await chosen(request, writer)

    assert (await account(answer)).is_up is is_up
