"""Kept connections: an answer is to what was asked, and one that is no HTTP any more ends: real sockets."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import aiohttp
import anyio
import anyio.lowlevel
import pytest

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.providers.http import Timeouts
from nanobanana_batch.providers.kept import Kept, kept_to
from nanobanana_batch.providers.link_http import LinkHttp
from nanobanana_batch.providers.link_rules import LinkRules
from nanobanana_batch.providers.watch import Secret, Watch
from tests.service.behaving import Behave, behaving

pytestmark = pytest.mark.anyio
PATIENT = Timeouts(read_s=1e6, free_s=1e6, link_s=1e6)


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


def going_on_as_no_http(was_begun: asyncio.Event) -> Behave:
    """A chunk, and once that has begun something that is none; the server does not hang up."""

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n")
        await was_begun.wait()
        writer.write(b"no length\r\n")
        await reader.read()

    return behave


def kept(port: int) -> Kept:
    """Connections to it, with all the patience that there is."""
    connections = kept_to(f"http://127.0.0.1:{port}", {}, 5.0, 1e6)
    assert connections is not None
    return connections


async def test_a_read_ends_where_its_reply_goes_on_as_no_http() -> None:
    """The library closes the connection then and tells nobody: who reads would wait for ever."""
    was_begun = asyncio.Event()
    async with (
        behaving(going_on_as_no_http(was_begun)) as port,
        aclosing(kept(port)) as connections,
        connections.answer("GET", f"http://127.0.0.1:{port}/a", None, {}) as answer,
    ):
        chunks = answer.chunks()
        assert await anext(chunks) == b"begin"
        was_begun.set()
        with anyio.fail_after(30), pytest.raises(aiohttp.ClientPayloadError, match="no HTTP"):
            await anext(chunks)


async def test_a_download_ends_where_its_body_goes_on_as_no_http() -> None:
    """The image is tried again, and not waited for until its deadline."""
    was_begun = asyncio.Event()
    http = LinkHttp(PATIENT, Watch(Secret("")), LinkRules.ANYWHERE)
    async with (
        behaving(going_on_as_no_http(was_begun)) as port,
        aclosing(http),
        http.open(f"http://127.0.0.1:{port}/a.png") as body,
    ):
        was_begun.set()
        with anyio.fail_after(30), pytest.raises(LinkFailed, match="broke off"):
            assert [piece async for piece in body.pieces()]


def with_a_second_reply(was_sent: asyncio.Event, asked: asyncio.Event) -> Behave:
    """Each request has its own number in its reply; behind the first there is one that nobody asked for."""
    count = 0

    def reply(text: str) -> bytes:
        return f"HTTP/1.1 200 OK\r\nContent-Length: {len(text)}\r\n\r\n{text}".encode()

    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal count
        while line := await reader.readline():
            if line != b"\r\n":
                continue
            count += 1
            writer.write(reply(f"answer {count}"))
            if count == 1:
                await asked.wait()
                writer.write(reply("another's"))
                await writer.drain()
                was_sent.set()

    return behave


async def settled() -> None:
    """What has come over loopback was seen by the loop."""
    for _ in range(20):
        await anyio.lowlevel.checkpoint()


async def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_answer() -> None:
    """It has come while the connection rested, and would be another request's answer."""
    was_sent, asked = asyncio.Event(), asyncio.Event()
    heard: list[bytes] = []
    async with behaving(with_a_second_reply(was_sent, asked)) as port, aclosing(kept(port)) as connections:
        for _ in range(2):
            async with connections.answer("GET", f"http://127.0.0.1:{port}/a", None, {}) as answer:
                heard.append(b"".join([chunk async for chunk in answer.chunks()]))
            asked.set()
            await was_sent.wait()
            await settled()
    assert heard == [b"answer 1", b"answer 2"]


async def test_an_image_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    """Else it would be saved as another row's."""
    was_sent, asked = asyncio.Event(), asyncio.Event()
    heard: list[bytes] = []
    http = LinkHttp(PATIENT, Watch(Secret("")), LinkRules.ANYWHERE)
    async with behaving(with_a_second_reply(was_sent, asked)) as port, aclosing(http):
        for _ in range(2):
            async with http.open(f"http://127.0.0.1:{port}/a.png") as body:
                heard.append(b"".join([piece async for piece in body.pieces()]))
            asked.set()
            await was_sent.wait()
            await settled()
    assert heard == [b"answer 1", b"answer 2"]
