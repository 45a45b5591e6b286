"""Every request is told once to whoever asks, with the key in none of it: real sockets."""

from __future__ import annotations

import asyncio
import html
import json
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers.base import Exchange, Observer
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.tasks.api import TaskApi, open_task_api
from nanobanana_batch.providers.watch import BODY_LIMIT_BYTES, Secret, Watch, link_route, without_links
from tests.service.test_http_paid import (
    BODY,
    KEY,
    QUICK,
    Seen,
    closed_port,
    half_a_body,
    hang_up,
    list_since,
    send,
    serving,
    silence,
)

ID = "key-0123456789abcdef"


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@asynccontextmanager
async def watched(url: str, observer: Observer, *, debug: bool = False) -> AsyncIterator[TaskApi]:
    """A provider whose requests are told."""
    profile = load_profile("evolink")
    async with open_task_api(
        profile,
        check_address(profile, url),
        KEY,
        submits_at_once=2,
        timeouts=QUICK,
        observer=observer,
        debug=debug,
    ) as opened:
        yield opened


async def contract(request: Seen, writer: asyncio.StreamWriter) -> None:
    """A provider of the contract's shape, as far as it matters here."""
    path = request.line.split()[1]
    bodies: dict[str, Any] = {
        "/v1/images/generations": {"id": "t-1"},
        "/v1/tasks/batch": {"data": []},
        "/v1/tasks/t-1": {"id": "t-1", "status": "pending"},
        "/v1/tasks": {"data": []},
        "/v1/credits": {"data": {}},
        "/api/v1/files/upload/stream": {"data": {"file_id": "f-1", "file_url": "https://x/a.png"}},
        "/api/v1/files/f-1": {"success": True},
        "/image.png": {"an": "image"},
    }
    body = json.dumps(bodies[path.partition("?")[0]]).encode()
    await send(200, body, f"X-Request-Id: req {len(path)}\r\n")(request, writer)


@pytest.mark.anyio
async def test_every_request_is_told_by_its_route(tmp_path: Path) -> None:
    """Paid, free, file and link: with ids, queries and what stands behind a link's host left out."""
    path = tmp_path / "a.png"
    path.write_bytes(b"12345")
    told: list[Exchange] = []
    async with serving(contract) as server, watched(server.url, told.append) as opened:
        await opened.submit(BODY, ID)
        await opened.read_many(["t-1"])
        await list_since(opened, 0)
        await opened.read_account()
        await opened.upload(path, "image/png")
        await opened.delete_upload("f-1")
        async with opened.open_link(f"{server.url}/image.png?signature=secret-word") as body:
            assert len(told) == 7
            assert [piece async for piece in body.pieces()] == [b'{"an": "image"}']
    assert [(exchange.method, exchange.route, exchange.status) for exchange in told] == [
        ("POST", "/v1/images/generations", 200),
        ("POST", "/v1/tasks/batch", 200),
        ("GET", "/v1/tasks/{id}", 200),
        ("GET", "/v1/tasks", 200),
        ("GET", "/v1/credits", 200),
        ("POST", "/api/v1/files/upload/stream", 200),
        ("DELETE", "/api/v1/files/{id}", 200),
        ("GET", "link:127.0.0.1", 200),
    ]
    assert [exchange.sent_bytes for exchange in told] == [len(BODY), 21, 0, 0, 0, 5, 0, 0]
    assert [exchange.received_bytes for exchange in told] == [13, 12, 34, 12, 12, 59, 17, 15]
    assert told[0].request_id == "req 22"
    assert all(exchange.ms >= 0 and not exchange.failure and exchange.body is None for exchange in told)
    assert "secret-word" not in repr(told)
    assert KEY not in repr(told)


@pytest.mark.anyio
async def test_a_request_without_a_reply_is_told_with_its_failure() -> None:
    """Once each, with as much as came."""
    told: list[Exchange] = []
    async with serving(half_a_body) as server, watched(server.url, told.append) as opened:
        await opened.submit(BODY, ID)
        await opened.read_account()
        with pytest.raises(LinkFailed):
            async with opened.open_link(f"{server.url}/image.png") as body:
                [piece async for piece in body.pieces()]
    assert [(exchange.status, exchange.received_bytes) for exchange in told] == [(200, 12)] * 3
    assert all(exchange.failure for exchange in told)
    told.clear()
    async with watched(f"http://127.0.0.1:{closed_port()}", told.append) as opened:
        await opened.submit(BODY, ID)
        with pytest.raises(LinkFailed):
            async with opened.open_link("http://[bad"):
                pass
    assert [(exchange.route, exchange.status) for exchange in told] == [
        ("/v1/images/generations", None),
        ("link:?", None),
    ]
    assert "connection was not made" in told[0].failure


@pytest.mark.anyio
async def test_a_cancelled_request_is_told_too() -> None:
    """A stop in the middle of a read leaves its line."""
    told: list[Exchange] = []
    arrived = asyncio.Event()

    async def wait(request: Seen, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await silence(request, writer)

    async with serving(wait) as server, watched(server.url, told.append) as opened:
        task = asyncio.ensure_future(opened.read_account())
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    (exchange,) = told
    assert (exchange.status, exchange.failure) == (None, "CancelledError")


@pytest.mark.anyio
async def test_a_log_that_fails_does_not_lose_a_paid_task() -> None:
    """The task id comes before the line about it."""

    def fail(exchange: Exchange) -> None:
        raise OSError("no space left")

    async with serving(send()) as server, watched(server.url, fail) as opened:
        assert await opened.submit(BODY, ID) == TaskMade("t-1")


@pytest.mark.anyio
async def test_a_body_is_told_only_when_asked_and_not_all_of_it() -> None:
    """Without the key that it repeats, also where the cut would fall into it."""
    text = b"x" * (BODY_LIMIT_BYTES - 3) + KEY.encode() + b"y" * 100
    for debug in (False, True):
        told: list[Exchange] = []
        headers = f"X-Request-Id: {KEY}\r\n"
        async with (
            serving(send(503, text, headers)) as server,
            watched(server.url, told.append, debug=debug) as opened,
        ):
            await opened.submit(BODY, ID)
        (exchange,) = told
        assert exchange.request_id == "[key]"
        assert exchange.body == ("x" * (BODY_LIMIT_BYTES - 3) + "[ke" if debug else None)


@pytest.mark.anyio
async def test_a_lost_reply_is_told_once() -> None:
    """Not once for each layer that it goes through."""
    told: list[Exchange] = []
    async with serving(hang_up) as server, watched(server.url, told.append) as opened:
        await opened.submit(BODY, ID)
    assert len(told) == 1


@pytest.mark.parametrize(
    ("url", "route"),
    [
        ("https://user:word@cdn.example/a/b.png?sig=1", "link:cdn.example"),
        ("https://CDN.example:8443/a", "link:cdn.example"),
        ("nonsense", "link:?"),
        ("http://[bad", "link:?"),
    ],
)
def test_a_link_is_told_by_its_host(url: str, route: str) -> None:
    """What follows may be a permission to read it."""
    assert link_route(url) == route


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("sk-abcdef/1234", r"no such key sk-abcdef\/1234!"),
        ("sk-abcdef/1234", "?key=sk-abcdef%2F1234"),
        ('sk-"abcdef"', json.dumps('sk-"abcdef"')),
        ("sk-abcdefgh", "sk-abcdefgh sk-abcdefgh"),
        ("sk-abcdef&1+2", "<p>no such key sk-abcdef&amp;1+2</p>"),
        ("sk-abcdef&1+2", r'{"message": "no such key sk-abcdef\u00261\u002b2"}'),
        ("sk-abcdef&1+2", r'{"message": "no such key sk-abcdef\u00261\u002B2"}'),
    ],
)
def test_a_key_is_found_however_it_is_spelled(key: str, text: str) -> None:
    """As it is, in JSON, and in an address."""
    assert "abcdef" not in Secret(key).removed(text)
    assert b"abcdef" not in Secret(key).removed_from(text.encode())


@pytest.mark.parametrize(
    "spell",
    [
        lambda key: repr(key),
        lambda key: json.dumps(json.dumps(key)),
        lambda key: quote(quote(key, safe=""), safe=""),
        lambda key: re.sub("%..", lambda it: it[0].lower(), quote(key, safe="")),
        lambda key: html.escape(key),
        lambda key: "".join(f"\\u{ord(char):04x}" if not char.isalnum() else char for char in key),
        lambda key: b64encode(key.encode()).decode(),
        lambda key: b64encode(f"user:{key}".encode()).decode(),
        lambda key: b64encode(f"Bearer {key}\r\n".encode()).decode(),
        lambda key: urlsafe_b64encode(f"x{key}".encode()).decode(),
        lambda key: json.dumps(b64encode(f"??{key}".encode()).decode()).replace("/", "\\/"),
        lambda key: key.encode().hex(),
        lambda key: key.encode().hex().upper(),
    ],
)
def test_a_key_is_found_in_the_spellings_of_other_programs(spell: Callable[[str], str]) -> None:
    """Twice escaped, for HTML, inside of a header in base 64 at any place, in hex."""
    key = 'sk-aB/c+d=e&f<g"h\\i.j~k?9'
    text = f"before {spell(key)} after"
    assert Secret(key).removed(text) != text
    assert Secret(key).removed_from(text.encode()) != text.encode()
    assert "[key]" in Secret(key).removed(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://user:pw@a.test:8080/x?sig=1#y now", "see https://a.test:8080/... now"),
        (r'{"u":"https:\/\/a.test\/x?sig=1"}', '{"u":"https://a.test/..."}'),
        ("https%3A%2F%2Fa.test%2Fx%3Fsig%3D1 now", "http... now"),
        ("socks5h://user:pw@a.test:1080", "socks5h://a.test:1080/..."),
        ("s3://bucket/x?X-Amz-Signature=1", "s3://bucket/..."),
        ("GET /x.png?X-Amz-Signature=1 failed", "GET /x.png?... failed"),
        ("is it 1:1? a=b", "is it 1:1? a=b"),
        ("HTTP://A.TEST", "HTTP://A.TEST/..."),
    ],
)
def test_of_a_link_the_host_stays(text: str, shown: str) -> None:
    """What follows, or stands before it, may be a permission or a password."""
    assert without_links(text) == shown


@pytest.mark.anyio
async def test_a_body_that_is_told_shows_no_links() -> None:
    """They are permissions to read, also for whoever reads a log."""
    told: list[Exchange] = []
    watch = Watch(Secret(KEY), told.append, debug=True)
    with watch.exchange("GET", "/v1/tasks/x") as seen:
        seen.body = b'{"results":["https://a.test/x.png?sig=permission"]}'
    assert told[0].body == '{"results":["https://a.test/..."]}'


def test_what_is_too_short_to_be_told_from_text_stays() -> None:
    """Else every "a" of a message would be a key."""
    assert Secret("a").removed("a cat") == "a cat"
    assert Secret("").removed("a cat") == "a cat"


def test_an_error_of_ours_inside_a_request_is_not_swallowed() -> None:
    """It is only told."""
    told: list[Exchange] = []
    with pytest.raises(ZeroDivisionError), Watch(Secret(KEY), told.append).exchange("GET", "/"):
        raise ZeroDivisionError(f"with {KEY}")
    assert [exchange.failure for exchange in told] == ["with [key]"]
