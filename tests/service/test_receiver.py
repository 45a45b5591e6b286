"""The receiver stands open to strangers: bounded in size and time, no matter of the run's. Real sockets."""

from __future__ import annotations

import random
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import httpx
import pytest
from anyio.abc import SocketStream

from nanobanana_batch.engine.callback_urls import callback_token
from nanobanana_batch.errors import RunStopped, UsageError
from nanobanana_batch.receiver import MOST_BODY_BYTES, Address, parse_address, receiving
from tests.service.no_descriptors import no_descriptors

pytestmark = pytest.mark.anyio
TOKEN = callback_token("nb-1")
ANYWHERE = Address("127.0.0.1", 0)
LONG_S = 3600.0
"""Longer than any test: what ends sooner did not end by this."""


@pytest.fixture(autouse=True)
async def in_time() -> AsyncIterator[None]:
    """A receiver that never answers is a failure, not a test that never ends."""
    with anyio.fail_after(60):
        yield


@pytest.fixture
def anyio_backend() -> str:
    """What runs in production."""
    return "asyncio"


@asynccontextmanager
async def listening(
    on_hint: Callable[[str], None], connections: int = 8, call_s: float = LONG_S, crowded_s: float = LONG_S
) -> AsyncIterator[int]:
    """A receiver on a free port."""
    bounds = {"call_s": call_s, "crowded_s": crowded_s}
    async with receiving(ANYWHERE, on_hint, connections=connections, **bounds) as receiver:
        assert receiver.address.port
        yield receiver.address.port


def forget(token: str) -> None:
    """Takes a hint and does nothing."""


def post(target: str = f"/callbacks/{TOKEN}", body: bytes = b"{}", length: int | None = None) -> bytes:
    """A whole call."""
    length = len(body) if length is None else length
    return f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body


async def everything(stream: SocketStream) -> bytes:
    """All bytes until the other side closes; a hard close counts as one."""
    received = b""
    try:
        async for piece in stream:
            received += piece
    except anyio.BrokenResourceError:
        pass
    return received


async def ask(port: int, *pieces: bytes, end: bool = False) -> bytes:
    """Send and read until the end; a receiver that stops reading is not an error."""
    async with await anyio.connect_tcp("127.0.0.1", port) as stream:
        try:
            for piece in pieces:
                await stream.send(piece)
            if end:
                await stream.send_eof()
        except anyio.BrokenResourceError:
            pass
        return await everything(stream)


async def drip(stream: SocketStream, going: anyio.Event) -> None:
    """A body byte by byte, for as long as somebody takes it."""
    async with stream:
        try:
            await stream.send(post(length=MOST_BODY_BYTES))
            while True:
                await stream.send(b"x")
                going.set()
                await anyio.sleep(0.005)
        except anyio.BrokenResourceError:
            pass


def status(answer: bytes) -> int:
    """The status of an answer, 0 for none."""
    return int(answer.split(maxsplit=2)[1]) if answer else 0


async def test_a_call_is_a_hint() -> None:
    """The token arrives, the caller hears nothing but 204."""
    hints: list[str] = []
    async with listening(hints.append) as port:
        for target in (f"/{TOKEN}", f"/path/{TOKEN}", f"/a/b/c/{TOKEN}"):
            answer = await ask(port, post(target))
            assert status(answer) == 204
            assert answer.endswith(b"\r\n\r\n")
            assert b"connection: close" in answer.lower()
    assert hints == [TOKEN] * 3


async def test_an_ordinary_client_is_content() -> None:
    """A library's POST with a JSON body, also one that asks before it sends the body."""
    hints: list[str] = []
    async with listening(hints.append) as port, httpx.AsyncClient() as client:
        url = f"http://127.0.0.1:{port}/{TOKEN}"
        assert (await client.post(url, json={"id": "task-unified-1-aaaaaaaa"})).status_code == 204
        waiting = post(body=b"").replace(b"Length: 0", b"Length: 2\r\nExpect: 100-continue")
        async with await anyio.connect_tcp("127.0.0.1", port) as stream:
            await stream.send(waiting)
            assert (await stream.receive()).startswith(b"HTTP/1.1 100 ")
            await stream.send(b"{}")
            assert status(await everything(stream)) == 204
    assert hints == [TOKEN] * 2


async def test_what_a_caller_says_is_thrown_away() -> None:
    """Garbage, lies and nothing are as good a hint as the truth."""
    hints: list[str] = []
    bodies = [b"", b"\x00\xff" * 100, b'{"status":"completed","results":["https://evil/x.png"]}']
    async with listening(hints.append) as port:
        for body in bodies:
            assert status(await ask(port, post(body=body))) == 204
    assert hints == [TOKEN] * 3


async def test_a_token_that_nobody_knows_is_answered_like_one_that_is_known() -> None:
    """The answer does not tell which tasks exist."""
    known = {TOKEN}
    async with listening(known.discard) as port:
        answers = {await ask(port, post(f"/x/{token}")) for token in (TOKEN, TOKEN, "0" * 32)}
    assert len(answers) == 1


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (post("/"), 404),
        (post("/callbacks"), 404),
        (post(f"/{TOKEN}/"), 404),
        (post(f"/{TOKEN}?a=1"), 404),
        (post(f"/?x=/{TOKEN}"), 404),
        (post(f"/{TOKEN[:-1]}"), 404),
        (post(f"/{TOKEN}0"), 404),
        (post(f"/{TOKEN.upper()}"), 404),
        (post(f"/../{TOKEN[:-3]}%30"), 404),
        (post(f"http://x/{TOKEN}"), 404),
        (post().replace(b"POST", b"GET"), 405),
        (post().replace(b"POST", b"PUT"), 405),
        (post().replace(b"POST", b"HEAD"), 405),
        (post("/").replace(b"POST", b"OPTIONS"), 405),
        (b"GET / HTTP/1.1\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 64 + b"\r\n\r\n", 400),
        (post().replace(b"Host: x", b"Host: x\r\nHost: y"), 400),
        (post().replace(b"Content-Length: 2", b"Content-Length: x"), 400),
        (post().replace(b"Content-Length: 2", b"Content-Length: 2\r\nContent-Length: 3"), 400),
        (post().replace(b"Content-Length: 2", b"Transfer-Encoding: chunked") + b"zz\r\n", 400),
        (post().replace(b"Host: x", b"Host: x\r\nA: " + b"a" * 24_000), 431),
        (post("/" + "a" * 24_000), 431),
    ],
)
async def test_what_is_no_callback_is_no_hint(call: bytes, expected: int) -> None:
    """A status of HTTP's, and the next call is heard as ever."""
    hints: list[str] = []
    async with listening(hints.append) as port:
        assert status(await ask(port, call)) == expected
        assert hints == []
        assert status(await ask(port, post())) == 204


async def test_a_body_may_have_64_kib_and_not_a_byte_more() -> None:
    """Told by its length before it is read; in chunks, once it is too much."""
    hints: list[str] = []
    whole = b"x" * MOST_BODY_BYTES
    chunked = post(body=b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with listening(hints.append) as port:
        assert status(await ask(port, post(body=whole))) == 204
        assert status(await ask(port, chunked, b"10000\r\n", whole, b"\r\n0\r\n\r\n")) == 204
        assert hints == [TOKEN] * 2
        assert status(await ask(port, post(body=b"", length=MOST_BODY_BYTES + 1))) == 413
        assert status(await ask(port, chunked, b"10001\r\n", whole, b"x")) == 413
    assert hints == [TOKEN] * 2


async def test_a_call_that_is_all_packing_ends_too() -> None:
    """One byte a chunk, each with a long remark: the body stays small, what is read is still bounded."""
    hints: list[str] = []
    chunked = post(body=b"").replace(b"Content-Length: 0", b"Transfer-Encoding: chunked")
    async with listening(hints.append) as port:
        pieces = [b"1;" + b"a" * 4000 + b"\r\nx\r\n"] * 1000
        assert status(await ask(port, chunked, *pieces, b"0\r\n\r\n")) in (0, 413)
    assert hints == []


@pytest.mark.parametrize(("call", "expected"), [(b"", 0), (b"POST /", 400), (post(length=100), 400)])
async def test_a_call_that_ends_too_soon_is_no_hint(call: bytes, expected: int) -> None:
    """A caller that says no more, but listens, hears that this was no call."""
    hints: list[str] = []
    async with listening(hints.append) as port:
        assert status(await ask(port, call, end=True)) == expected
    assert hints == []


@pytest.mark.parametrize("begun", [b"", b"POST /", post(length=100)])
async def test_a_call_that_does_not_go_on_is_cut_off(begun: bytes) -> None:
    """Without an answer and without a hint, wherever it stops."""
    hints: list[str] = []
    async with listening(hints.append, call_s=0.1) as port:
        assert await ask(port, begun) == b""
    assert hints == []


async def test_a_call_that_drips_is_cut_off() -> None:
    """The time counts for the whole call, not from byte to byte."""
    async with (
        listening(forget, call_s=0.2) as port,
        await anyio.connect_tcp("127.0.0.1", port) as stream,
    ):
        await drip(stream, anyio.Event())


async def test_a_caller_that_goes_away_is_forgotten() -> None:
    """Whenever it goes, also without a proper end."""
    hints: list[str] = []
    async with listening(hints.append, connections=1) as port:
        for begun in (b"", b"POST", post(length=100)):
            with socket.create_connection(("127.0.0.1", port)) as caller:
                caller.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                caller.sendall(begun)
        assert status(await ask(port, post())) == 204
    assert hints == [TOKEN]


async def test_a_thousand_hints_arrive() -> None:
    """Many at once, each once; a second call for the same task is as good as the first."""
    hints: list[str] = []
    tokens = [callback_token(f"nb-{number}") for number in range(500)] * 2
    async with listening(hints.append, connections=16) as port:

        async def call(mine: list[str]) -> None:
            for token in mine:
                assert status(await ask(port, post(f"/{token}"))) == 204

        async with anyio.create_task_group() as group:
            for number in range(50):
                group.start_soon(call, tokens[number::50])
    assert sorted(hints) == sorted(tokens)


async def test_those_who_hold_on_do_not_keep_others_out_for_long() -> None:
    """More than may be there at once, all silent: their time runs out, and the call behind them is heard."""
    hints: list[str] = []
    async with listening(hints.append, connections=2, call_s=0.2) as port:
        silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(4)]
        assert status(await ask(port, post())) == 204
        for stream in silent:
            await stream.aclose()
    assert hints == [TOKEN]


async def test_a_crowd_that_holds_on_makes_room() -> None:
    """Each has all the time there is, but not while others wait: the call behind all of them is heard."""
    hints: list[str] = []
    async with listening(hints.append, connections=4, crowded_s=0.01) as port:
        silent = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(40)]
        for stream in silent:
            await stream.send(post(length=100))
        assert status(await ask(port, post())) == 204
        for stream in silent:
            await stream.aclose()
    assert hints == [TOKEN]


async def test_without_a_crowd_a_slow_call_has_its_time() -> None:
    """Others have ended meanwhile; the oldest was not in their way."""
    hints: list[str] = []
    async with (
        listening(hints.append, connections=3, crowded_s=0.0) as port,
        await anyio.connect_tcp("127.0.0.1", port) as slow,
    ):
        await slow.send(post()[:20])
        assert status(await ask(port, post())) == 204
        await slow.send(post()[20:])
        assert status(await everything(slow)) == 204
    assert hints == [TOKEN] * 2


async def test_not_more_than_may_be_are_there_at_once() -> None:
    """The third of two waits until one of them has ended."""
    hints: list[str] = []
    async with listening(hints.append, connections=2) as port:
        first, second, third = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(3)]
        await third.send(post())
        assert status(await asked_anew(first)) == 204
        assert status(await everything(third)) == 204
        for stream in (first, second, third):
            await stream.aclose()
    assert hints == ["0" * 32, TOKEN]


async def asked_anew(stream: SocketStream) -> bytes:
    """A call with another token on an open connection."""
    await stream.send(post(f"/{'0' * 32}"))
    return await everything(stream)


async def test_a_system_without_connections_to_give_is_waited_for() -> None:
    """All descriptors in use: the call stays in the queue, and is heard when there is one again."""
    hints: list[str] = []
    async with listening(hints.append, connections=1) as port:
        with socket.socket() as caller, no_descriptors():
            caller.connect(("127.0.0.1", port))
            caller.sendall(post())
            for _ in range(20):
                await anyio.wait_writable(caller)
            assert hints == []
        assert status(await ask(port, post(f"/{'0' * 32}"))) == 204
    assert sorted(hints)[0] == "0" * 32


async def test_garbage_does_not_reach_the_run() -> None:
    """Seeded noise, whole calls with bytes turned, and calls cut anywhere."""
    dice = random.Random(5)
    hints: list[str] = []
    async with listening(hints.append) as port:
        for number in range(300):
            call = bytearray(post(body=b"x" * 50))
            if number % 3 == 0:
                call = bytearray(dice.randbytes(dice.randrange(1, 400)))
            elif number % 3 == 1:
                for _ in range(3):
                    call[dice.randrange(len(call))] = dice.randrange(256)
            else:
                del call[dice.randrange(len(call)) :]
            await ask(port, bytes(call), end=True)
        hints.clear()
        assert status(await ask(port, post())) == 204
    assert hints == [TOKEN]


async def test_a_hint_that_cannot_be_taken_is_asked_for_again() -> None:
    """A fault of ours is a 500 to the caller, who tries again; the run and the receiver go on."""
    hints: list[str] = []

    def take(token: str) -> None:
        hints.append(token)
        if len(hints) == 1:
            raise RuntimeError("ours")

    async with listening(take) as port:
        assert status(await ask(port, post())) == 500
        assert status(await ask(port, post())) == 204


async def test_its_end_closes_every_connection_at_once() -> None:
    """Silent ones, dripping ones and those in the queue; nobody is waited for."""
    async with listening(forget, connections=2) as port:
        callers = [await anyio.connect_tcp("127.0.0.1", port) for _ in range(4)]
        await callers[0].send(post(length=MOST_BODY_BYTES))
        await callers[1].send(b"POST /")
    for caller in callers:
        assert await everything(caller) == b""
        await caller.aclose()
    with pytest.raises(OSError, match=r"."):
        await anyio.connect_tcp("127.0.0.1", port)


async def test_its_end_does_not_wait_for_one_that_drips() -> None:
    """A caller that goes on sending meanwhile."""
    async with anyio.create_task_group() as group:
        going = anyio.Event()

        async with listening(forget) as port:
            caller = await anyio.connect_tcp("127.0.0.1", port)
            group.start_soon(drip, caller, going)
            await going.wait()


async def test_an_error_of_the_run_comes_through_as_it_is() -> None:
    """Not wrapped into a group: the command line looks at its type."""
    with pytest.raises(RunStopped, match="money"):
        async with listening(forget):
            raise RunStopped("no money")


async def test_a_cancelled_run_ends_it() -> None:
    """As the second Ctrl-C does."""
    with anyio.CancelScope() as scope:
        async with listening(forget) as port:
            caller = await anyio.connect_tcp("127.0.0.1", port)
            scope.cancel()
            await anyio.sleep_forever()
    assert scope.cancelled_caught
    assert await everything(caller) == b""
    await caller.aclose()


async def test_a_port_in_use_is_wrong_usage() -> None:
    """Said before anything is sent."""
    async with listening(forget) as port:
        with pytest.raises(UsageError, match=f"127.0.0.1:{port}") as told:
            async with receiving(Address("127.0.0.1", port), forget):
                pass
    assert "nothing was sent" in str(told.value)
    assert "--callback-listen" in str(told.value)


@pytest.mark.parametrize("host", ["192.0.2.1", "a..b", "ö..b", "x" * 80])
async def test_an_address_that_is_not_ours_is_wrong_usage(host: str) -> None:
    """A host of someone else, and names that are none."""
    with pytest.raises(UsageError, match="Cannot listen"):
        async with receiving(Address(host, 0), forget):
            pass


async def test_signals_stay_with_the_run() -> None:
    """The first Ctrl-C drains; no server of this one's takes it away."""
    before = [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)]
    async with listening(forget):
        assert [signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)] == before


async def test_it_listens_on_ipv6_too() -> None:
    """In brackets."""
    hints: list[str] = []
    async with receiving(parse_address("[::1]:0"), hints.append) as receiver:
        assert str(receiver.address) == f"[::1]:{receiver.address.port}"
        async with await anyio.connect_tcp("::1", receiver.address.port) as stream:
            await stream.send(post())
            assert status(await everything(stream)) == 204
    assert hints == [TOKEN]
