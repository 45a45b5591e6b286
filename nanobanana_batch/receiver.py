"""Hears that tasks have ended. Whoever calls is not believed: a callback only says where to look now.

It stands open to strangers, through the person's HTTPS front. So what it reads is bounded in size and
time, what it is told is thrown away, its answer tells nobody which tasks exist, and no call, however
odd, reaches the run as an error.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

import anyio
import h11
from anyio.abc import SocketAttribute, SocketListener, SocketStream
from anyio.streams.stapled import MultiListener

from nanobanana_batch.errors import UsageError

MOST_BODY_BYTES = 64 << 10
_MOST_HEAD_BYTES = 16 << 10
_MOST_BYTES = MOST_BODY_BYTES + 2 * _MOST_HEAD_BYTES
"""Of a whole call, however it is cut into chunks."""
_PIECE_BYTES = 4 << 10
_CALL_S = 10.0
"""From the connection to the answer."""
_CROWDED_S = 0.5
"""The same for the oldest call when there are as many as may be: those who hold on make room."""
_BREATH_S = 0.1
"""Before the next try when the system has no connection to give."""
CONNECTIONS = 128
"""At once; more wait. Not more, so that strangers leave the run descriptors for its files."""
_BACKLOG = 1024

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.%\w]+)\]|(?P<host>[^:\[\]/\s@]+)):(?P<port>[0-9]{1,5})")
_TARGET = re.compile(rb"/(?:[^?#]*/)?(?P<token>[0-9a-f]{32})")

OnHint = Callable[[str], None]
"""Told the token of a call; it does not matter whether it knows it."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen; port 0 is any free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver that is listening."""

    address: Address


def parse_address(text: str) -> Address:
    """HOST:PORT, with an IPv6 host in brackets.

    Raises:
        UsageError: it is none.
    """
    found = _ADDRESS.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise UsageError(
            f"{text!r} is no address to listen on; nothing was sent.",
            hint="It looks like 127.0.0.1:8080 or [::1]:8080; port 0 is any free one.",
        )
    return Address(found["v6"] or found["host"], int(found["port"]))


@asynccontextmanager
async def receiving(
    address: Address,
    on_hint: OnHint,
    *,
    connections: int = CONNECTIONS,
    call_s: float = _CALL_S,
    crowded_s: float = _CROWDED_S,
) -> AsyncIterator[Receiver]:
    """Listen for the length of the block; its end closes every connection at once.

    Raises:
        UsageError: nobody can listen there.
    """
    failure: Exception | None = None
    async with await _listen(address) as listeners, anyio.create_task_group() as group:

        async def accept(listener: SocketListener) -> None:
            calls = _Calls(connections, call_s, crowded_s)
            while True:
                await calls.room()
                try:
                    stream = await listener.accept()
                except OSError:
                    await anyio.sleep(_BREATH_S)
                else:
                    group.start_soon(hear, stream, calls, calls.begin())

        async def hear(stream: SocketStream, calls: _Calls, scope: anyio.CancelScope) -> None:
            try:
                await _hear(stream, on_hint, scope)
            finally:
                calls.end(scope)

        for listener in listeners.listeners:
            group.start_soon(accept, cast(SocketListener, listener))
        try:
            yield Receiver(Address(address.host, listeners.extra(SocketAttribute.local_port)))
        except Exception as error:
            failure = error  # the group would wrap it
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _listen(address: Address) -> MultiListener[SocketStream]:
    try:
        return await anyio.create_tcp_listener(
            local_host=address.host, local_port=address.port, backlog=_BACKLOG
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise UsageError(
            f"Cannot listen for callbacks on {address}: {why}; nothing was sent.",
            hint="Give another address with --callback-listen.",
        ) from error


class _Calls:
    """The calls of one listener, oldest first."""

    def __init__(self, most: int, call_s: float, crowded_s: float) -> None:
        self._most = most
        self._call_s = call_s
        self._crowded_s = crowded_s
        self._began: dict[anyio.CancelScope, float] = {}
        self._ended = anyio.Event()

    async def room(self) -> None:
        """Wait until there may be one more; the oldest has little time left by then."""
        while len(self._began) >= self._most:
            oldest, began = next(iter(self._began.items()))
            oldest.deadline = min(oldest.deadline, began + self._crowded_s)
            self._ended = anyio.Event()
            await self._ended.wait()

    def begin(self) -> anyio.CancelScope:
        """A new call and its time."""
        now = anyio.current_time()
        scope = anyio.CancelScope(deadline=now + self._call_s)
        self._began[scope] = now
        return scope

    def end(self, scope: anyio.CancelScope) -> None:
        """It has been answered or cut off."""
        del self._began[scope]
        self._ended.set()


async def _hear(stream: SocketStream, on_hint: OnHint, scope: anyio.CancelScope) -> None:
    """One call from its first byte to the answer; one that takes too long is cut off."""
    with suppress(Exception):  # whatever a stranger sends or does not, it is no matter of the run's
        async with stream:
            with scope:
                await _Call(stream).answer(on_hint)


class _Call:
    """One connection, on which one request is read and answered."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=_MOST_HEAD_BYTES)
        self._received_bytes = 0

    async def answer(self, on_hint: OnHint) -> None:
        """Read the request, pass its token on, and say nothing about it."""
        try:
            status = await self._heard(on_hint)
        except h11.RemoteProtocolError as error:
            status = error.error_status_hint
        headers = [("connection", "close")]
        if status != 204:
            headers.append(("content-length", "0"))
        if status == 405:
            headers.append(("allow", "POST"))
        reply = self._http.send(h11.Response(status_code=status, headers=headers)) or b""
        await self._stream.send(reply + (self._http.send(h11.EndOfMessage()) or b""))

    async def _heard(self, on_hint: OnHint) -> int:
        request = await self._next()
        if not isinstance(request, h11.Request):
            raise anyio.EndOfStream
        if not await self._read_body(request):
            return 413
        if request.method != b"POST":
            return 405
        target = _TARGET.fullmatch(request.target)
        if target is None:
            return 404
        try:
            on_hint(target["token"].decode())
        except Exception:
            return 500  # the provider calls again, and the task is read in its turn anyhow
        return 204

    async def _read_body(self, request: h11.Request) -> bool:
        """Read it and throw it away; false when it is too long, and then the rest is not read."""
        if int(dict(request.headers).get(b"content-length", b"0")) > MOST_BODY_BYTES:
            return False
        left_bytes = MOST_BODY_BYTES
        while isinstance(piece := await self._next(), h11.Data):
            left_bytes -= len(piece.data)
            if left_bytes < 0:
                return False
        return True

    async def _next(self) -> object:
        while (event := self._http.next_event()) is h11.NEED_DATA:
            if self._http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[])
                await self._stream.send(self._http.send(go_on) or b"")
            self._http.receive_data(await self._receive())
        return event

    async def _receive(self) -> bytes:
        try:
            data = await self._stream.receive(_PIECE_BYTES)
        except anyio.EndOfStream:
            return b""
        self._received_bytes += len(data)
        if self._received_bytes > _MOST_BYTES:
            raise h11.RemoteProtocolError("too long in all", error_status_hint=413)
        return data
