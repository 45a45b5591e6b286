"""What stands between us and a provider may fail in any way: how far a request came is known all the same."""

from __future__ import annotations

import asyncio
import traceback
from base64 import b64encode
from contextlib import aclosing
from urllib.parse import quote

import httpx
import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.providers.base import NotSent, Unknown
from nanobanana_batch.providers.http import FreeHttp, NoReply, NothingSent, PaidHttp, Timeouts
from nanobanana_batch.providers.link_http import LinkHttp
from nanobanana_batch.providers.link_rules import LinkRules
from nanobanana_batch.providers.profile import Address
from nanobanana_batch.providers.transports import Steps
from nanobanana_batch.providers.watch import Secret, Watch
from tests.service.behaving import Behave, behaving
from tests.service.no_descriptors import no_descriptors
from tests.service.test_http_paid import (
    BODY,
    QUICK,
    Raising,
    Seen,
    around,
    client,
    every_way,
    no_http,
    provider,
    send,
    serving,
    way,
)

__all__ = ["around", "way"]
BASE_URL = "https://api.nanobanana.test"
SHORT = Timeouts(connect_s=5, read_s=5, paid_s=0.5, free_s=0.5, link_s=5)
SIGNATURE = "permission-4c1f"


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


async def hangs_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """As soon as it is asked."""
    await reader.read(1)


async def talks_nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Of no protocol."""
    await reader.read(1)
    writer.write(b"\x99\x88what do you want?\r\n\r\n")
    await writer.drain()


async def says_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """For longer than anyone waits."""
    await reader.read(1)
    await asyncio.sleep(60)


async def connects_to_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says that it has, in either language; what speaks TLS then is cut."""
    first = await reader.read(4096)
    if first[:1] == b"\x05":
        writer.write(b"\x05\x00")
        await reader.read(4096)
        writer.write(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    else:
        writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
    await writer.drain()
    await reader.read(1)


@pytest.mark.anyio
@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
@pytest.mark.parametrize("behave", [hangs_up, talks_nonsense, says_nothing, connects_to_nothing])
async def test_what_a_proxy_does_before_the_request_left_leaves_nothing_in_doubt(
    monkeypatch: pytest.MonkeyPatch, scheme: str, behave: Behave
) -> None:
    """Nothing was sent, whatever the libraries call it; and a read simply brings no news."""
    async with behaving(behave) as port:
        monkeypatch.setenv("ALL_PROXY", f"{scheme}://127.0.0.1:{port}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with provider(BASE_URL, SHORT) as opened:
            outcome = await opened.submit(BODY, "key-0123456789abcdef")
            read = await opened.read_many(["task-0"])
    assert isinstance(outcome, NotSent), outcome
    assert read.failure


@pytest.mark.anyio
async def test_a_proxy_is_told_the_same_password_by_paid_requests_reads_and_links(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In whatever letters: what it lets out and not back in would be paid for and never fetched."""
    told: list[bytes] = []

    async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        told.extend(line for line in head.split(b"\r\n") if line.lower().startswith(b"proxy-authorization:"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        await writer.drain()
        await reader.read()

    password = quote("pä\u0441\u0441")
    address, watch = Address("http://api.example", is_loopback=False), Watch(Secret(""))
    async with behaving(answers) as port:
        monkeypatch.setenv("http_proxy", f"http://me:{password}@127.0.0.1:{port}")
        async with (
            aclosing(PaidHttp(address, {}, 1, SHORT, watch)) as paid,
            aclosing(FreeHttp(address, {}, SHORT, watch)) as free,
            aclosing(LinkHttp(SHORT, watch, LinkRules.ANYWHERE)) as links,
        ):
            await paid.post("/v1/x", BODY, {})
            await free.request("GET", "/v1/x")
            async with links.open("http://links.example/1.png") as body:
                assert [piece async for piece in body.pieces()] == [b"{}"]
    words = b64encode("me:pä\u0441\u0441".encode())
    assert [line.partition(b": ")[2] for line in told] == [b"Basic " + words] * 3


@every_way
@pytest.mark.anyio
async def test_without_descriptors_nothing_is_sent_and_nothing_dies() -> None:
    """A submit whose socket could not be opened is not paid for; afterwards all goes on."""
    async with serving(send()) as server, provider(server.url) as opened:
        with no_descriptors():
            outcome = await opened.submit(BODY, "key-0123456789abcdef")
            read = await opened.read_many(["task-0"])
            with pytest.raises(LinkFailed, match="Too many open files"):
                async with opened.open_link(f"{server.url}/1.png"):
                    pass
        assert isinstance(outcome, NotSent), outcome
        assert "Too many open files" in outcome.reason
        assert read.failure
        assert not isinstance(await opened.submit(BODY, "key-0123456789abcdef"), NotSent | Unknown)


# --- how far a request came ------------------------------------------------------------------------


class Telling(httpx.AsyncBaseTransport):
    """Says that it takes some steps, then fails."""

    def __init__(self, steps: list[tuple[str, object]]) -> None:
        self._steps = steps

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        for step, asked in self._steps:
            await request.extensions["trace"](step, {} if asked is None else {"request": asked})
        raise ZeroDivisionError("as no library says it")


class Asked:
    """A request as httpcore has it."""

    def __init__(self, method: bytes) -> None:
        self.method = method


CONNECTED = [("connection.connect_tcp.started", None), ("connection.connect_tcp.complete", None)]
CONNECT = ("http11.send_request_headers.started", Asked(b"CONNECT"))
POST = ("http11.send_request_headers.started", Asked(b"POST"))


@pytest.mark.usefixtures("around")
@pytest.mark.anyio
@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([], NoReply),
        (CONNECTED, NothingSent),
        ([*CONNECTED, CONNECT, ("http11.response_closed.started", None)], NothingSent),
        ([*CONNECTED, CONNECT, ("proxy.start_tls.started", None)], NothingSent),
        ([("socks.setup_socks5_connection.failed", None)], NothingSent),
        ([*CONNECTED, POST], NoReply),
        ([*CONNECTED, CONNECT, POST], NoReply),
        ([*CONNECTED, ("http11.send_request_headers.started", None)], NoReply),
        ([*CONNECTED, ("http3.send_everything.started", None)], NoReply),
        ([*CONNECTED, ("connection.send_early_data.started", None)], NoReply),
    ],
)
async def test_only_steps_of_connecting_mean_that_nothing_was_sent(
    steps: list[tuple[str, object]], expected: type[Exception]
) -> None:
    """A step that is not known here may be anything; and no step at all proves nothing."""
    async with client() as paid:
        await paid._client.aclose()
        paid._client = httpx.AsyncClient(transport=Telling(steps))
        with pytest.raises((NothingSent, NoReply)) as caught:
            await paid.post("/v1", BODY, {})
    assert caught.type is expected


@pytest.mark.usefixtures("around")
@pytest.mark.anyio
async def test_the_http_library_tells_its_steps_by_these_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Were one renamed, nothing would be called unsent any more; were they no longer told, likewise."""
    told: list[str] = []
    heard = Steps.__call__

    async def hear(self: Steps, step: str, about: dict[str, object]) -> None:
        told.append(f"{step} {self.were_only_connecting}")
        await heard(self, step, about)

    monkeypatch.setattr(Steps, "__call__", hear)
    async with serving(send()) as server, client(server.url) as paid:
        await paid.post("/v1", BODY, {})
    before, sent = told.index("http11.send_request_headers.started True"), told[-1]
    assert told[1:before] == ["connection.connect_tcp.complete True"]
    assert sent.endswith("False")


@pytest.mark.usefixtures("around")
@pytest.mark.anyio
@pytest.mark.parametrize("kind", [ZeroDivisionError, AssertionError, LookupError, UnicodeError, RuntimeError])
async def test_no_error_of_a_library_gets_through(kind: type[Exception]) -> None:
    """It could end the run: of a paid request nobody would know what became of it."""
    async with provider("http://127.0.0.1:9", QUICK) as opened:
        for http in (opened._paid, opened._free):
            await http._client.aclose()
            http._client = httpx.AsyncClient(transport=Raising(kind))
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), Unknown)
        assert (await opened.read_many(["task-0"])).failure


# --- what errors say -------------------------------------------------------------------------------


@pytest.mark.anyio
@pytest.mark.parametrize(
    "url",
    [
        f"http://[bad/{SIGNATURE}",
        f"http://links.test:99999/a?sig={SIGNATURE}",
        f"http://links.test:{SIGNATURE}/a",
        f"ftp://links.test/{SIGNATURE}",
        f"//links.test/{SIGNATURE}",
        f"http://{SIGNATURE}@127.0.0.1:1/{SIGNATURE}?sig={SIGNATURE}",
        f"http://exa mple.test/a?sig={SIGNATURE}",
        f"http://127.0.0.1:1/a\n{SIGNATURE}",
        f"https://127.0.0.1:1/a?sig={SIGNATURE}",
        f"http://{'x' * 300}.test/a?sig={SIGNATURE}",
        f"/a?sig={SIGNATURE}",
        "",
    ],
)
async def test_no_link_is_in_the_error_of_a_link(url: str) -> None:
    """Whatever library wrote it: what follows the host is a permission to read."""
    text = await error_of_link(url)
    assert SIGNATURE not in text


@pytest.mark.anyio
@pytest.mark.parametrize(
    "location", ["http://[bad/{}", "http://a.test:99999/{}", "ftp://a.test/{}", "/again?sig={}", "x:{}"]
)
async def test_no_link_is_in_the_error_of_a_redirect(location: str) -> None:
    """Neither where it should have led nor how often."""
    there = f"Location: {location.format(SIGNATURE)}\r\n"

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 302 Found\r\nContent-Length: 0\r\n{there}\r\n".encode())

    async with serving(answer) as server:
        assert SIGNATURE not in await error_of_link(f"{server.url}/a?sig={SIGNATURE}")


@pytest.mark.anyio
async def test_no_link_is_in_the_error_of_a_reply_that_is_none() -> None:
    """aiohttp quotes the whole link beside a status line that it does not like."""
    async with serving(no_http) as server:
        text = await error_of_link(f"{server.url}/a?sig={SIGNATURE}")
    assert "127.0.0.1" in text
    assert SIGNATURE not in text


async def error_of_link(url: str) -> str:
    """All that an error of a download tells, to a person or in a traceback."""
    http = LinkHttp(QUICK, Watch(Secret("")), LinkRules.ANYWHERE)
    async with aclosing(http):
        try:
            async with http.open(url):
                pass
        except LinkFailed as error:
            return str(error) + "".join(traceback.format_exception(error)).replace(url, "")
    raise AssertionError("it was opened")
