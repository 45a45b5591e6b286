"""The provider in memory and the real one over a socket make the same of the same replies.

A test that scripts what no provider says hides faults: an outage told by 503 once was no contact at all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from nanobanana_batch.providers.base import NotSent, Provider, Unknown
from nanobanana_batch.providers.http import Reply
from tests.service.test_http_paid import hang_up, provider, send, serving
from tests.unit.fake_provider import FakeProvider, FakeTask, without_reply
from tests.unit.wire import (
    BAD_GATEWAY,
    BAD_REQUEST,
    CONFLICT,
    FORBIDDEN,
    NO_CREDITS,
    PAGE,
    REFUSED,
    Task,
    accepted,
    credits_left,
    error,
    failed,
    finished,
    reply,
    slow,
    unavailable,
    working,
)

IDS = ["task-0"]
NOON = "Fri, 27 Nov 2026 12:00:00 GMT"


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@asynccontextmanager
async def in_memory(answer: Reply) -> AsyncIterator[Provider]:
    """It answers everything so."""
    task = FakeTask("task-0", b"", "", "model-a", 0.0, 0.0)
    fake = FakeProvider(submit_s=0.0, tasks={"task-0": task})
    fake.on_submit = fake.on_batch = fake.on_account = fake.on_upload = lambda n: answer
    yield fake


@asynccontextmanager
async def over_a_socket(answer: Reply) -> AsyncIterator[Provider]:
    """A server that answers everything so, and the real client."""
    headers = "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    async with serving(send(answer.status, answer.body, headers)) as server, provider(server.url) as opened:
        yield opened


SUBMIT_REPLIES = (
    accepted("task-7", estimated_s=40.0),
    accepted("task-7", credits=None, idempotency_replayed="true"),
    reply(200, {"status": "pending"}),
    reply(200, PAGE),
    slow(),
    slow(12.5),
    reply(429, PAGE),
    unavailable(),
    unavailable(300.0),
    reply(503, error("no_available_channel", "no channel for this model")),
    reply(500, b""),
    BAD_GATEWAY,
    BAD_REQUEST,
    REFUSED,
    FORBIDDEN,
    NO_CREDITS,
    CONFLICT,
    reply(401, error("unauthorized", "no")),
    reply(402, error("token_daily_quota_exceeded", "used up", reset_timezone="UTC"), date=NOON),
    reply(404, PAGE),
)
READ_FAILURES = (slow(12.5), unavailable(300.0), BAD_GATEWAY, FORBIDDEN, reply(401, error("unauthorized")))
ACCOUNT_REPLIES = (
    credits_left(12.0),
    slow(9.0),
    unavailable(),
    BAD_GATEWAY,
    reply(401, error("unauthorized")),
)
TASKS = (
    working("task-0"),
    finished("task-0", "https://links.example/task-0/0"),
    finished("task-0"),
    failed("task-0", "content_filter", "no"),
    failed("task-0", "rate_limited", "slow down"),
    failed("task-0", "service_error"),
    {"id": "task-0", "status": "perhaps"},
)


async def told_by_both(answer: Reply, ask: Callable[[Provider], object]) -> list[object]:
    """What is made of a reply in memory, and over a socket."""
    told = []
    for opened in (in_memory, over_a_socket):
        async with opened(answer) as asked:
            told.append(await ask(asked))  # type: ignore[misc]
    return told


@pytest.mark.anyio
@pytest.mark.parametrize("answer", SUBMIT_REPLIES, ids=lambda answer: str(answer.status))
async def test_a_reply_to_a_submit_means_the_same(answer: Reply) -> None:
    """Outcome, code, waiting time, and whether it was a reply at all."""
    in_memory_, real = await told_by_both(answer, lambda it: it.submit(b"{}", "a-key-of-sixteen"))
    assert in_memory_ == real


@pytest.mark.anyio
@pytest.mark.parametrize("answer", READ_FAILURES, ids=lambda answer: str(answer.status))
async def test_a_read_that_fails_means_the_same(answer: Reply) -> None:
    """Failure, waiting time, whether it lasts."""
    in_memory_, real = await told_by_both(answer, lambda it: it.read_many(IDS))
    assert in_memory_ == real


@pytest.mark.anyio
@pytest.mark.parametrize("task", TASKS, ids=lambda task: str(task["status"]))
async def test_a_task_means_the_same(task: Task) -> None:
    """Its state, links, price, and why it failed."""
    async with over_a_socket(reply(200, {"data": [task]})) as real:
        wanted = await real.read_many(IDS)
    known = {"task-0": FakeTask("task-0", b"", "", "model-a", 0.0, 0.0)}
    told = await FakeProvider(tasks=known, on_read=lambda n, _: task).read_many(IDS)
    assert told.reports == wanted.reports


@pytest.mark.anyio
@pytest.mark.parametrize("answer", ACCOUNT_REPLIES, ids=lambda answer: str(answer.status))
async def test_the_account_means_the_same(answer: Reply) -> None:
    """Up or not, how much is left, how long to wait."""
    in_memory_, real = await told_by_both(answer, lambda it: it.read_account())
    assert in_memory_ == real


@pytest.mark.anyio
async def test_no_reply_means_the_same() -> None:
    """A connection that is cut, and one that is not made, have told nothing of anything."""
    async with serving(hang_up) as server, provider(server.url) as real:
        cut, unread = await real.submit(b"{}", "a-key-of-sixteen"), await real.read_many(IDS)
        account = await real.read_account()
        url = server.url
    async with provider(url) as nobody:
        unsent = await nobody.submit(b"{}", "a-key-of-sixteen")
    fake = FakeProvider(submit_s=0.0, on_submit=lambda n: NotSent("refused") if n else Unknown("cut"))
    fake.on_batch = fake.on_account = lambda n: "cut"
    assert isinstance(cut, Unknown)
    assert isinstance(unsent, NotSent)
    assert replace(cut, reason="cut") == await fake.submit(b"{}", "")
    assert replace(unsent, reason="refused") == await fake.submit(b"{}", "")
    assert replace(unread, failure="cut") == await fake.read_many(IDS)
    assert replace(account, failure="cut") == await fake.read_account()


@pytest.mark.parametrize(
    "outcome",
    [Unknown("HTTP 503", is_reply=True), Unknown("no", "idempotency_conflict"), Unknown("", "", 3.0)],
)
def test_what_only_a_reply_can_say_has_to_be_scripted_as_one(outcome: Unknown) -> None:
    """A test that makes it up is told so."""
    with pytest.raises(TypeError, match="script that"):
        without_reply(outcome)
