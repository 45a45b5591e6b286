"""What a server says to a paid request, however odd or hostile, is read alike on both ways to it."""

from __future__ import annotations

import asyncio
import gzip
import socket
import ssl
import struct
from typing import Any

import pytest

from nanobanana_batch.providers import fresh_posts, http
from nanobanana_batch.providers.base import NotSent, Unknown
from nanobanana_batch.providers.http import NoReply, NothingSent, Timeouts
from tests.process.tls_world import AUTHORITY, CERTIFICATE, HOST
from tests.service.behaving import Behave, behaving
from tests.service.test_http_paid import (
    BODY,
    KEY,
    QUICK,
    Answer,
    Seen,
    client,
    every_way,
    provider,
    send,
    serving,
    take_way,
    way,
)

__all__ = ["way"]
OK = b"HTTP/1.1 200 OK\r\n"
HI = b"Content-Length: 2\r\n\r\nhi"
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n1\r\nh\r\n1\r\ni\r\n0\r\n\r\n"
PACKED = gzip.compress(b"hi")


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@pytest.fixture
def straight(monkeypatch: pytest.MonkeyPatch) -> str:
    """Only the short way."""
    return take_way("straight", monkeypatch)


def saying(*pieces: bytes, closes: bool = True) -> Answer:
    """These bytes, piece by piece."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        if closes:
            writer.close()

    return answer


WHOLE = {
    "plain": OK + HI,
    "told to go on": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + HI,
    "early hints": b"HTTP/1.1 103 Early Hints\r\nX-A: no\r\nLink: </a>\r\n\r\n" + OK + HI,
    "told to wait often": b"HTTP/1.1 102 Processing\r\n\r\n" * 3 + OK + HI,
    "chunks": OK + CHUNKED,
    "chunks and trailers": OK + b"Transfer-Encoding: Chunked\r\n\r\n2;a=b\r\nhi\r\n0\r\nX-A: no\r\n\r\n",
    "chunks and a length": OK
    + b"Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "packed": OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
    "as long as the connection": OK + b"\r\nhi",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\n\r\nhi",
    "no reason": b"HTTP/1.1 200\r\n" + HI,
    "bare line feeds": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "folded": OK + b"X-B: a\r\n b\r\n" + HI,
    "no text in a header": OK + b"X-B: a\x01\xffb\r\n" + HI,
    "empty header": OK + b"X-B:\r\nX-C: \r\n" + HI,
    "more behind it": OK + HI + b"MORE\r\n\r\n",
    "another reply behind it": OK + HI + b"HTTP/1.1 402 No\r\nX-A: no\r\nContent-Length: 2\r\n\r\nno",
    "a long head": OK + b"X-B: " + b"a" * 90_000 + b"\r\n" + HI,
}


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("said", WHOLE.values(), ids=WHOLE)
@pytest.mark.parametrize("bytewise", [False, True], ids=["at once", "in pieces"])
async def test_a_whole_reply_is_one_however_it_is_written(said: bytes, bytewise: bool) -> None:
    """It is an answer to what may have been paid: to refuse it for its spelling would lose that."""
    size = max(len(said) // 300, 1)
    pieces = [said[at : at + size] for at in range(0, len(said), size)] if bytewise else [said]
    async with serving(saying(*pieces)) as server, client(server.url) as paid:
        reply = await paid.post("/v1", BODY, {})
    assert (reply.status, reply.body) == (200, b"hi")
    assert "x-a" not in reply.headers


NOT_WHOLE = {
    "nothing": b"",
    "no HTTP": b'{"id":"t-1"}',
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nhi",
    "only told to wait": b"HTTP/1.1 102 Processing\r\n\r\n",
    "no such status": b"HTTP/1.1 099 OK\r\n" + HI,
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi",
    "no length": OK + b"Content-Length: 2x\r\n\r\nhi",
    "another coding of the way": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "nul": OK + b"X-A: a\0b\r\n" + HI,
    "no header": OK + b"abc\r\n" + HI,
    "a short body": OK + b"Content-Length: 3\r\n\r\nhi",
    "a short chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhi",
    "no last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n",
    "cut while packed": OK + b"Content-Encoding: gzip\r\nContent-Length: 5\r\n\r\n" + PACKED[:5],
    "packed as nobody asked": OK + b"Content-Encoding: br\r\n" + HI,
    "a head without end": OK + b"X-A: " + b"a" * 600_000,
    "a name without end": OK + b"a" * 600_000,
    "heads without end": b"HTTP/1.1 103 Early Hints\r\nX-A: b\r\n\r\n" * 20_000,
}


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("said", NOT_WHOLE.values(), ids=NOT_WHOLE)
async def test_what_is_no_whole_reply_is_none(said: bytes) -> None:
    """The request may have been paid all the same."""
    async with serving(saying(said)) as server, client(server.url) as paid:
        with pytest.raises(NoReply):
            await paid.post("/v1", BODY, {})
        assert len(server.seen) == 1


@pytest.mark.anyio
@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("kind", ["a head without end", "a name without end", "heads without end"])
async def test_a_head_without_end_does_not_fill_the_memory(kind: str) -> None:
    """It is cut off at a size that no head needs, and not where the server stops."""
    async with serving(saying(NOT_WHOLE[kind], closes=False)) as server, client(server.url) as paid:
        with pytest.raises(NoReply, match="head of the reply is larger"):
            await paid.post("/v1", BODY, {})


@every_way
@pytest.mark.anyio
async def test_the_head_of_a_cut_reply_is_kept() -> None:
    """It may say how long to wait."""
    said = b"HTTP/1.1 429 No\r\nRetry-After: 7\r\nX-Two: a\r\nx-two: b\r\nContent-Length: 9\r\n\r\nhi"
    async with serving(saying(said)) as server, client(server.url) as paid:
        with pytest.raises(NoReply) as caught:
            await paid.post("/v1", BODY, {})
    head = caught.value.head
    assert head is not None
    assert head.status == 429
    assert head.headers == {"retry-after": "7", "x-two": "a, b", "content-length": "9"}


@every_way
@pytest.mark.anyio
async def test_a_key_that_a_header_repeats_ends_here() -> None:
    """However it is written there, and in each header that has it; the others stay as they are."""
    headers = (
        f"X-Request-Id: req-1\r\nX-Echo: Bearer {KEY}\r\nX-Hex: {KEY.encode().hex()}\r\nX-Plain: yes\r\n"
    )
    async with serving(send(headers=headers)) as server, client(server.url) as paid:
        told = (await paid.post("/v1", BODY, {})).headers
    assert told["x-echo"] == "Bearer [key]"
    assert told["x-hex"] == "[key]"
    assert (told["x-request-id"], told["x-plain"]) == ("req-1", "yes")


@every_way
@pytest.mark.anyio
async def test_a_body_without_end_is_cut_off_while_it_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not once the whole of it is in memory."""
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 100)
    answer = saying(OK + b"Content-Length: 500\r\n\r\n" + b"x" * 101, closes=False)
    async with serving(answer) as server, client(server.url) as paid:
        with pytest.raises(NoReply, match="larger"):
            await paid.post("/v1", BODY, {})


@every_way
@pytest.mark.anyio
async def test_what_swells_is_cut_off_where_no_reply_is_larger(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousandth of it is on the wire."""
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 1_000_000)
    bomb = gzip.compress(bytes(2_000_000))
    head = OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with serving(saying(head + bomb)) as server, client(server.url) as paid:
        with pytest.raises(NoReply, match="larger"):
            await paid.post("/v1", BODY, {})


@pytest.mark.usefixtures("straight")
@pytest.mark.anyio
async def test_a_refusal_before_the_whole_request_was_read_is_heard() -> None:
    """The server answers the head, and reads no more; httpx would wait until it can write."""
    heard = asyncio.Event()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno")
        await heard.wait()
        writer.close()

    async with behaving(refuse) as port, client(f"http://127.0.0.1:{port}") as paid:
        assert (await paid.post("/v1", bytes(8_000_000), {})).status == 413
        heard.set()


@every_way
@pytest.mark.anyio
async def test_both_ways_send_the_same_request() -> None:
    """What a server sees does not depend on a proxy."""
    headers = {"Idempotency-Key": "key-0123456789abcdef", "Content-Type": "application/json"}
    async with serving(send()) as server, client(server.url) as paid:
        await paid.post("/v1/images", BODY, headers)
        (request,) = server.seen
    own = {name: request.headers.pop(name) for name in ("host", "authorization", "user-agent")}
    assert own["host"] == server.url.removeprefix("http://")
    assert request.line == "POST /v1/images HTTP/1.1"
    assert request.headers == {
        "accept": "*/*",
        "accept-encoding": "gzip",
        "connection": "keep-alive",
        "content-length": str(len(BODY)),
        "content-type": "application/json",
        "idempotency-key": "key-0123456789abcdef",
    }


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("value", ["a\r\nX-Evil: 1", "a\n", "a\0", "ä"])
async def test_a_header_does_not_become_two(value: str) -> None:
    """A state file may be anybody's; such a request is held, and not tried for ever."""
    async with serving(send()) as server, client(server.url) as paid:
        with pytest.raises(NoReply):
            await paid.post("/v1", BODY, {"Idempotency-Key": value})
        assert not server.seen


@pytest.mark.anyio
@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("kind", [OSError, TimeoutError, ZeroDivisionError, UnicodeError, ssl.SSLError])
async def test_whatever_stops_the_connection_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """The request is handed over only to a connection that stands."""

    async def fail(*given: object, **more: object) -> None:
        raise kind("as it happens")

    async with provider("http://127.0.0.1:9", QUICK) as opened:
        monkeypatch.setattr(asyncio.get_running_loop(), "create_connection", fail)
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), NotSent)


@pytest.mark.anyio
@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("kind", [OSError, TimeoutError, ZeroDivisionError, UnicodeError, ssl.SSLError])
async def test_whatever_happens_to_a_request_that_was_handed_over_leaves_it_unknown(
    monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    """How much of it has left, nobody can say."""

    async def fail(self: object) -> bytes:
        raise kind("as it happens")

    monkeypatch.setattr(fresh_posts._Reply, "whole", fail)
    async with serving(send()) as server, provider(server.url) as opened:
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), Unknown)


@pytest.mark.anyio
@pytest.mark.usefixtures("straight")
@pytest.mark.parametrize("is_ours", [True, False], ids=["asyncio's", "another"])
async def test_any_loop_can_connect(monkeypatch: pytest.MonkeyPatch, is_ours: bool) -> None:
    """A program may have installed uvloop, which knows no pause between the addresses of a host."""
    loop, asked = asyncio.get_running_loop(), dict[str, object]()
    connect = loop.create_connection

    async def hear(*given: Any, **more: Any) -> Any:
        asked.update(more)
        return await connect(*given, **more)

    monkeypatch.setattr(loop, "create_connection", hear)
    if not is_ours:
        monkeypatch.setattr(asyncio, "BaseEventLoop", type("Other", (), {}))
    async with serving(send()) as server, client(f"http://localhost:{server.port}") as paid:
        assert (await paid.post("/v1", BODY, {})).status == 200
    assert ("happy_eyeballs_delay" in asked) == is_ours


@pytest.mark.anyio
@pytest.mark.usefixtures("straight")
async def test_who_waits_for_a_free_connection_has_sent_nothing() -> None:
    """Until its deadline; the one before it has arrived."""
    arrived = asyncio.Event()

    async def hold(request: Seen, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await asyncio.get_running_loop().create_future()

    async with serving(hold) as server, client(server.url, Timeouts(paid_s=60), at_once=1) as paid:
        first = asyncio.ensure_future(paid.post("/v1", BODY, {}))
        await arrived.wait()
        paid._deadline_s = 0.05
        with pytest.raises(NothingSent, match="no free connection"):
            await paid.post("/v1", BODY, {})
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert len(server.seen) == 1


# --- TLS -------------------------------------------------------------------------------------------


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Takes a connection and says nothing in it."""
    await reader.read(1)
    await asyncio.sleep(60)


async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Speaks, but no TLS."""
    writer.write(OK + HI)
    await writer.drain()
    await reader.read(1)


async def torn(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Resets the connection in the handshake."""
    await reader.read(1)
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("behave", [silent, nonsense, torn])
async def test_a_handshake_that_fails_has_sent_nothing(behave: Behave) -> None:
    """What is handed over in it is no request."""
    async with (
        behaving(behave) as port,
        client(f"https://127.0.0.1:{port}", Timeouts(connect_s=0.3)) as paid,
    ):
        with pytest.raises(NothingSent, match="connection was not made"):
            await paid.post("/v1", BODY, {})


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("name", [HOST, "localhost"])
async def test_a_certificate_is_for_a_name(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Of an authority that is believed, and for this very host, or nothing is sent."""
    monkeypatch.setenv("SSL_CERT_FILE", str(AUTHORITY))
    to_itself = asyncio.get_running_loop().getaddrinfo

    async def here(host: str | None, port: int, **more: Any) -> Any:
        return await to_itself("127.0.0.1", port, **more)

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", here)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    async with serving(send(), context) as server, client(f"https://{name}:{server.port}") as paid:
        if name == HOST:
            assert (await paid.post("/v1", BODY, {})).status == 200
        else:
            with pytest.raises(NothingSent, match="CERTIFICATE_VERIFY_FAILED"):
                await paid.post("/v1", BODY, {})
        assert len(server.seen) == (name == HOST)
