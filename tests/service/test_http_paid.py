"""A paid request is sent at most once, and what became of it is known or called unknown: real sockets."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from nanobanana_batch.model import TaskMade
from nanobanana_batch.providers import http
from nanobanana_batch.providers.base import Listing, NotSent, Rejected, Unknown
from nanobanana_batch.providers.http import NoReply, NothingSent, PaidHttp, Reply, Timeouts
from nanobanana_batch.providers.profile import check_address, load_profile
from nanobanana_batch.providers.proxies import Proxy
from nanobanana_batch.providers.tasks.api import TaskApi, open_task_api
from nanobanana_batch.providers.transports import NOTHING_SENT

KEY = "canary-key-91b2"
QUICK = Timeouts(connect_s=5, read_s=5, paid_s=5, free_s=5, link_s=5)
BODY = b'{"model":"m","prompt":"p"}'


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    connection: int
    line: str
    headers: dict[str, str]
    body: bytes


async def go() -> bool:
    """Nothing holds a page of a list back."""
    return True


async def list_since(opened: TaskApi, since: float) -> Listing:
    """What the list shows of tasks since a Unix time, for a provider that does not tell its own."""
    return await opened.list_recent(time.time() - since, go)


WAYS = ("straight", "around")


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each of the two: straight to the address, and httpx's, which otherwise leads through a proxy."""
    return take_way(str(request.param), monkeypatch)


@pytest.fixture
def around(monkeypatch: pytest.MonkeyPatch) -> str:
    """Only httpx's."""
    return take_way("around", monkeypatch)


def take_way(way: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let paid requests go this way; `around` as if there was a proxy, which there is not."""
    proxy = None if way == "straight" else Proxy("http", "proxy.test", 80)
    monkeypatch.setattr(http, "proxy_for", lambda url: proxy)
    return way


every_way = pytest.mark.usefixtures("way")

Answer = Callable[[Seen, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Server:
    """Listens on a port of its own and behaves as the test says."""

    answer: Answer
    port: int = 0
    connections: int = 0
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Read requests of one connection and answer each, as long as it stays open."""
        number, self.connections = self.connections, self.connections + 1
        try:
            while request := await read_request(reader, number):
                self.seen.append(request)
                await self.answer(request, writer)
                await writer.drain()
                if writer.is_closing():
                    return
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


async def read_request(reader: asyncio.StreamReader, connection: int) -> Seen | None:
    """The next request, or None at the end."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = await reader.readline()
        if not line:
            return None
        head += line
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {
        name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)
    }
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Seen(connection, first, headers, body)


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """A server for the length of the block."""
    server = Server(answer)
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()


def send(status: int = 200, body: bytes = b'{"id":"t-1"}', headers: str = "") -> Answer:
    """A whole reply that leaves the connection open for more."""

    async def answer(request: Seen, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status} Some Words\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        writer.write(head.encode() + body)

    return answer


async def hang_up(request: Seen, writer: asyncio.StreamWriter) -> None:
    """Read the request, close without a word."""
    writer.close()


async def reset(request: Seen, writer: asyncio.StreamWriter) -> None:
    """Read the request, then tear the connection down."""
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def half_a_head(request: Seen, writer: asyncio.StreamWriter) -> None:
    """The reply ends in its headers."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    await writer.drain()
    writer.close()


async def half_a_body(request: Seen, writer: asyncio.StreamWriter) -> None:
    """The reply ends in its body, which looks whole to a lazy parser."""
    writer.write(b'HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"id":"t-1"}')
    await writer.drain()
    writer.close()


async def half_a_chunked_body(request: Seen, writer: asyncio.StreamWriter) -> None:
    """The last chunk never comes."""
    writer.write(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nc\r\n{"id":"t-1"}\r\n')
    await writer.drain()
    writer.close()


async def no_http(request: Seen, writer: asyncio.StreamWriter) -> None:
    """Something else listens there."""
    writer.write(b"220 mail.example.com ESMTP\r\n\r\n")
    await writer.drain()
    writer.close()


async def bad_gzip(request: Seen, writer: asyncio.StreamWriter) -> None:
    """A body that cannot be unpacked."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope")


async def drip(request: Seen, writer: asyncio.StreamWriter) -> None:
    """One byte at a time, each well within any timeout between two reads, for ever."""
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.01)


async def silence(request: Seen, writer: asyncio.StreamWriter) -> None:
    """No answer until the other side gives up."""
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def client(
    url: str = "http://127.0.0.1:9", timeouts: Timeouts = QUICK, at_once: int = 4
) -> AsyncIterator[PaidHttp]:
    """Sends paid requests to an address."""
    profile = load_profile("evolink")
    address = check_address(profile, url)
    async with open_task_api(profile, address, KEY, submits_at_once=at_once, timeouts=timeouts) as opened:
        yield opened._paid


@asynccontextmanager
async def provider(url: str, timeouts: Timeouts = QUICK) -> AsyncIterator[TaskApi]:
    """The whole provider at an address."""
    profile = load_profile("evolink")
    async with open_task_api(
        profile, check_address(profile, url), KEY, submits_at_once=4, timeouts=timeouts
    ) as opened:
        yield opened


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


def closed_port() -> int:
    """A port on which nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@every_way
@pytest.mark.anyio
async def test_a_refused_connection_has_sent_nothing() -> None:
    """The one case in which the same request is simply sent again."""
    async with client(f"http://127.0.0.1:{closed_port()}") as paid:
        with pytest.raises(NothingSent, match="connection was not made"):
            await paid.post("/v1", BODY, {})
    async with provider(f"http://127.0.0.1:{closed_port()}") as opened:
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), NotSent)


MISBEHAVIOURS: list[Answer] = [
    hang_up,
    reset,
    half_a_head,
    half_a_body,
    half_a_chunked_body,
    no_http,
    bad_gzip,
]


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("answer", MISBEHAVIOURS, ids=lambda it: str(it.__name__))
async def test_no_whole_reply_is_unknown_and_sent_once(answer: Answer) -> None:
    """The request arrived, so it may have been paid: no retry, no other name for it."""
    async with serving(answer) as server, client(server.url) as paid:
        with pytest.raises(NoReply):
            await paid.post("/v1", BODY, {})
        assert [request.body for request in server.seen] == [BODY]
    async with serving(answer) as server, provider(server.url) as opened:
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), Unknown)
        assert len(server.seen) == server.connections == 1


_ASKED = "Content-Encoding: {}\r\nRetry-After: 7\r\n"


async def cut_refusal(request: Seen, writer: asyncio.StreamWriter) -> None:
    """Its head says how long to wait, its body ends too soon."""
    head = "HTTP/1.1 429 Some Words\r\nContent-Length: 500\r\n" + _ASKED.format("identity")
    writer.write(head.encode() + b"\r\n{")
    await writer.drain()
    writer.close()


async def dripping_refusal(request: Seen, writer: asyncio.StreamWriter) -> None:
    """Its head says how long to wait, its body never ends."""
    head = "HTTP/1.1 503 Some Words\r\nContent-Length: 500\r\n" + _ASKED.format("identity")
    writer.write(head.encode() + b"\r\n{")


REFUSALS = [send(429, b"nope", _ASKED.format("gzip")), cut_refusal, dripping_refusal]


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("answer", REFUSALS, ids=["undecodable", "cut", "endless"])
async def test_a_wait_in_the_head_of_a_reply_holds_whatever_becomes_of_its_body(answer: Answer) -> None:
    """Of requests, reads, the list and the account: who goes on asking is early."""
    hasty = Timeouts(paid_s=0.5, free_s=0.5)
    async with serving(answer) as server, provider(server.url, hasty) as opened:
        submitted = await opened.submit(BODY, "key-0123456789abcdef")
        assert isinstance(submitted, Unknown)
        reads = (await opened.read_many(["t-1"]), await list_since(opened, 60), await opened.read_account())
        assert [it.retry_after_s for it in (submitted, *reads)] == [7.0] * 4


@pytest.mark.anyio
async def test_a_wait_in_the_head_of_a_cut_success_is_none() -> None:
    """It is no refusal: nobody is asked to wait."""
    answer = send(200, b"nope", _ASKED.format("gzip"))
    async with serving(answer) as server, provider(server.url) as opened:
        assert (await opened.read_many(["t-1"])).retry_after_s is None


@every_way
@pytest.mark.anyio
async def test_a_connection_closed_before_anything_was_read_is_unknown() -> None:
    """It was made, so bytes may have left: the far side of a proxy cannot be seen from here."""
    closed = asyncio.Event()

    async def slam(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        closed.set()

    listener = await asyncio.start_server(slam, "127.0.0.1", 0)
    async with client(f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}") as paid:
        with pytest.raises(NoReply):
            await paid.post("/v1", BODY, {})
        assert closed.is_set()
    listener.close()


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("answer", [drip, silence], ids=lambda it: str(it.__name__))
async def test_a_reply_that_never_ends_ends_at_the_deadline(answer: Answer) -> None:
    """The deadline is for the whole, not between two bytes."""
    async with serving(answer) as server, client(server.url, Timeouts(read_s=60, paid_s=0.3)) as paid:
        with pytest.raises(NoReply, match=r"within 0\.3 s"):
            await asyncio.wait_for(paid.post("/v1", BODY, {}), 20)
        assert len(server.seen) == 1


@every_way
@pytest.mark.anyio
async def test_a_reply_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is cut off at a size that no reply needs."""
    monkeypatch.setattr(http, "MAX_REPLY_BYTES", 100)
    async with serving(send(body=b"x" * 101)) as server, client(server.url) as paid:
        with pytest.raises(NoReply, match="larger"):
            await paid.post("/v1", BODY, {})
    async with serving(send(body=b"x" * 100)) as server, client(server.url) as paid:
        assert (await paid.post("/v1", BODY, {})).body == b"x" * 100


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Neither the request nor the key goes to another host; it may have been paid."""
    async with serving(send()) as other:
        async with serving(send(status, b"", f"Location: {other.url}/v1\r\n")) as server:
            async with client(server.url) as paid:
                assert (await paid.post("/v1", BODY, {})).status == status
            async with provider(server.url) as opened:
                assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), Unknown)
            assert len(server.seen) == 2
        assert other.connections == 0


@every_way
@pytest.mark.anyio
@pytest.mark.parametrize(
    "location", ["ftp://elsewhere/x", "http://[bad", "//", "\xff", "http://x:99999/", ""]
)
async def test_a_redirect_to_nonsense_is_unknown_too(location: str) -> None:
    """httpx looks at the address although it does not follow: its complaint is not "nothing sent"."""
    async with serving(send(302, b"", f"Location: {location}\r\n")) as server, provider(server.url) as opened:
        assert isinstance(await opened.submit(BODY, "key-0123456789abcdef"), Unknown)
        assert len(server.seen) == 1


@every_way
@pytest.mark.anyio
async def test_every_paid_request_has_a_connection_of_its_own() -> None:
    """A kept one may be closed by the server in the same moment, and nobody could tell what arrived."""
    async with serving(send(headers="Connection: keep-alive\r\n")) as server, client(server.url) as paid:
        for _ in range(5):
            assert (await paid.post("/v1", BODY, {})).status == 200
        await asyncio.gather(*(paid.post("/v1", BODY, {}) for _ in range(12)))
        assert server.connections == 17
        assert sorted(request.connection for request in server.seen) == list(range(17))


@every_way
@pytest.mark.anyio
async def test_no_more_connections_than_paid_requests_at_once() -> None:
    """The others wait without having sent anything, and are sent once."""
    running = most = 0

    async def count(request: Seen, writer: asyncio.StreamWriter) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.01)
        running -= 1
        await send()(request, writer)

    async with serving(count) as server, client(server.url, at_once=3) as paid:
        await asyncio.gather(*(paid.post("/v1", BODY, {}) for _ in range(12)))
        assert len(server.seen) == 12
    assert most == 3


@every_way
@pytest.mark.anyio
async def test_a_submit_is_the_contracts_request() -> None:
    """Path, key, idempotency key and the exact bytes; the answer with its headers."""
    reply = send(body=b'{"id":"t-1"}', headers="X-Request-Id: req-1\r\nIdempotency-Replayed: true\r\n")
    async with serving(reply) as server, provider(server.url) as opened:
        outcome = await opened.submit(BODY, "key-0123456789abcdef")
        (request,) = server.seen
    assert outcome == TaskMade("t-1", request_id="req-1", is_replay=True)
    assert request.line == "POST /v1/images/generations HTTP/1.1"
    assert request.body == BODY
    assert request.headers["authorization"] == f"Bearer {KEY}"
    assert request.headers["idempotency-key"] == "key-0123456789abcdef"
    assert request.headers["content-type"] == "application/json"


@every_way
@pytest.mark.anyio
async def test_a_cancelled_request_is_cancelled() -> None:
    """Cancellation is not swallowed, nor is it an outcome."""
    arrived = asyncio.Event()

    async def wait(request: Seen, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await silence(request, writer)

    async with serving(wait) as server, client(server.url) as paid:
        task = asyncio.ensure_future(paid.post("/v1", BODY, {}))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


# --- the table of errors ---------------------------------------------------------------------------


def tree(kind: type[Exception]) -> list[type[Exception]]:
    """A class and all below it."""
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


class Raising(httpx.AsyncBaseTransport):
    """A transport that always fails in one way."""

    def __init__(self, kind: type[Exception]) -> None:
        self._kind = kind

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        raise self._kind("as it happens")


async def outcome_of(kind: type[Exception]) -> type[Exception]:
    """What `PaidHttp` makes of an error of the transport."""
    async with client() as paid:
        await paid._client.aclose()
        paid._client = httpx.AsyncClient(transport=Raising(kind))
        try:
            await paid.post("/v1", BODY, {})
        except (NothingSent, NoReply) as error:
            return type(error)
    raise AssertionError("no error")


MEANS_NOTHING_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "UnsupportedProtocol", "ProxyError"}
MAY_HAVE_BEEN_SENT = {
    "TransportError",
    "TimeoutException",
    "ReadTimeout",
    "WriteTimeout",
    "NetworkError",
    "ReadError",
    "WriteError",
    "CloseError",
    "ProtocolError",
    "LocalProtocolError",
    "RemoteProtocolError",
}


TRANSPORT_ERRORS = sorted(tree(httpx.TransportError), key=str)


def test_every_transport_error_of_httpx_is_known_here() -> None:
    """A new one in a later version is not silently put anywhere."""
    ours = {kind.__name__ for kind in tree(httpx.TransportError) if kind.__module__.startswith("httpx")}
    assert ours == MEANS_NOTHING_SENT | MAY_HAVE_BEEN_SENT
    assert {kind.__name__ for kind in NOTHING_SENT} == MEANS_NOTHING_SENT
    assert all(NOTHING_SENT.values())


@pytest.mark.usefixtures("around")
@pytest.mark.anyio
@pytest.mark.parametrize("kind", TRANSPORT_ERRORS, ids=[kind.__name__ for kind in TRANSPORT_ERRORS])
async def test_each_transport_error_has_its_outcome(kind: type[Exception]) -> None:
    """Only those after which nothing can have been sent say so."""
    expected = NothingSent if kind.__name__ in MEANS_NOTHING_SENT else NoReply
    assert await outcome_of(kind) is expected


@pytest.mark.usefixtures("around")
@pytest.mark.anyio
@pytest.mark.parametrize(
    "kind",
    [
        httpx.DecodingError,
        httpx.TooManyRedirects,
        httpx.InvalidURL,
        ConnectionResetError,
        TimeoutError,
        OSError,
    ],
    ids=lambda it: str(it.__name__),
)
async def test_other_errors_may_have_been_sent(kind: type[Exception]) -> None:
    """What comes from elsewhere in the library or the system is not trusted."""
    assert await outcome_of(kind) is NoReply


def test_a_reply_is_complete_or_none() -> None:
    """There is no field for "partly"."""
    assert Reply(200, {}, b"").body == b""


@every_way
@pytest.mark.anyio
async def test_a_key_that_the_provider_repeats_ends_here() -> None:
    """Error messages are stored and shown; some providers quote the key in them."""
    body = b'{"error":{"code":"unauthorized","message":"no such key: %s"}}' % KEY.encode()
    async with serving(send(401, body)) as server, provider(server.url) as opened:
        outcome = await opened.submit(BODY, "key-0123456789abcdef")
        read = await opened.read_many(["task-0"])
    assert isinstance(outcome, Rejected)
    assert outcome.message == "no such key: [key]"
    assert read.stop
    assert KEY not in repr(outcome) + repr(read)
