"""The provider's time is heard from whatever its API answers, and from no link's host: real sockets."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from email.utils import formatdate
from pathlib import Path

import pytest

from nanobanana_batch.providers.base import KeyQuestion
from nanobanana_batch.providers.tasks.api import TaskApi
from tests.service.test_http_paid import BODY, Seen, provider, send, serving

AHEAD_S = 3 * 86400.0
Question = Callable[[TaskApi], Awaitable[object]]


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


def dated(status: int = 200, **more: str) -> Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]:
    """Replies of a machine three days ahead."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        lines = {"Date": formatdate(time.time() + AHEAD_S, usegmt=True), **more}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        await send(status, b'{"id":"t-1"}', head)(request, writer)

    return answer


async def go_on() -> bool:
    """A turn."""
    return True


QUESTIONS: dict[str, Question] = {
    "submit": lambda api: api.submit(BODY, "key"),
    "key": lambda api: api.proves_idempotency("key", KeyQuestion.NO_JSON),
    "read": lambda api: api.read_many(["t-1"]),
    "list": lambda api: api.list_recent(60.0, go_on),
    "account": lambda api: api.read_account(),
    "upload": lambda api: api.upload(Path(__file__), "image/png"),
}


@pytest.mark.anyio
@pytest.mark.parametrize("status", [200, 400, 429, 502])
@pytest.mark.parametrize("question", QUESTIONS)
async def test_every_reply_tells_the_time(question: str, status: int) -> None:
    """Whatever it answers."""
    async with serving(dated(status)) as server, provider(server.url) as api:
        assert api.provider_time() is None
        await QUESTIONS[question](api)
        told = api.provider_time()
        assert told is not None
        assert abs(told - time.time() - AHEAD_S) < 30


@pytest.mark.anyio
async def test_a_links_host_tells_no_time() -> None:
    """It is anybody's."""
    async with serving(dated()) as server, provider(server.url) as api:
        async with api.open_link(f"{server.url}/1.png") as body, aclosing(body.pieces()) as pieces:
            assert [piece async for piece in pieces]
        assert api.provider_time() is None


@pytest.mark.anyio
async def test_a_cache_tells_no_time() -> None:
    """The reply says that it is old."""
    async with serving(dated(Age="4000")) as server, provider(server.url) as api:
        await api.read_account()
        assert api.provider_time() is None
