"""One POST on a connection of its own, straight to its address; asyncio connects, llhttp reads the reply.

What is ours is what a paid request is about: whether anything of it has left. The request is handed to a
connection in one place, and as long as that was not reached nothing has.

httpx on a fresh connection takes seven times the CPU, httpcore without its pool four times, aiohttp without
kept connections twice.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping, Sequence
from ipaddress import ip_address
from typing import Any, cast
from urllib.parse import urlsplit

from httptools import HttpResponseParser

from nanobanana_batch.providers.trust import tls_context

_MOST_HEAD_BYTES = 100 << 10
"""Of the heads of a reply together, those that only say "wait" included (h11 takes as much)."""
_BETWEEN_ADDRESSES_S = 0.25
"""After this the next address of a host is tried beside the one before (RFC 8305)."""
_NOT_MADE = "the connection was not made (refused, unreachable, name not found, TLS failed)"
_FIELD = re.compile(r"[\t\x20-\x7e]*")
_WAIT, _SWITCHED, _REPLY = 100, 101, 200
"""The first status of those that only say "wait", the one among them that is none, the first of replies."""

Headers = list[tuple[bytes, bytes]]
Heard = Callable[[int, Headers], None]
"""Hears the head of a reply as soon as it is there: its status and headers, as they came."""
Came = Callable[[int], None]
"""Hears how many bytes more of a body have come."""


class NotConnected(Exception):
    """No byte of the request has left: there was no connection for it."""


class BadReply(Exception):
    """What came is no whole reply."""


class FreshPosts:
    """POSTs to one address, `at_once` at most, each on a connection that nothing was sent on before."""

    def __init__(self, url: str, headers: Mapping[str, str], at_once: int, connect_s: float) -> None:
        at = urlsplit(url)
        usual = 443 if at.scheme == "https" else 80
        self._path = at.path
        self._host, self._port = at.hostname or "", at.port or usual
        self._is_address = _is_address(self._host)
        self._tls = tls_context() if at.scheme == "https" else None
        host = f"[{self._host}]" if ":" in self._host else self._host
        named = host if self._port == usual else f"{host}:{self._port}"
        always = {"Host": named, "Accept": "*/*", "Connection": "keep-alive"}
        self._headers = _lines({**always, **headers})
        self._connect_s = connect_s
        self._free = asyncio.Semaphore(at_once)

    async def post(
        self,
        route: str,
        body: bytes,
        headers: Mapping[str, str],
        heard: Heard,
        came: Came,
        *,
        within_s: float,
        most_bytes: int,
    ) -> bytes:
        """Send once; the body of the reply as it came: packed if it was, and of so many bytes at most.

        Raises:
            NotConnected: it is certain that nothing was sent.
            TimeoutError: no whole reply came within so many seconds.
            Exception: anything else; it may have been sent.
        """
        request = self._head(route, headers, len(body)) + body
        reply = _Reply(heard, came, most_bytes)
        ends_at = asyncio.get_running_loop().time() + within_s
        await self._turn(ends_at)
        try:
            connection = await self._connect(reply, ends_at)
            try:
                async with asyncio.timeout_at(ends_at):
                    connection.write(request)  # from here on it may have been sent
                    return await reply.whole()
            finally:
                reply.is_over = True
                connection.abort()
        finally:
            self._free.release()

    async def _turn(self, ends_at: float) -> None:
        try:
            async with asyncio.timeout_at(ends_at):
                await self._free.acquire()
        except TimeoutError as error:
            raise NotConnected("there was no free connection") from error

    async def _connect(self, reply: _Reply, ends_at: float) -> asyncio.WriteTransport:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout_at(min(loop.time() + self._connect_s, ends_at)):
                connection, _ = await loop.create_connection(
                    lambda: reply,
                    self._host,
                    self._port,
                    ssl=self._tls,
                    **({} if self._is_address else _of_names(loop)),
                )
        except TimeoutError as error:
            raise NotConnected("the connection was not made in time") from error
        except Exception as error:
            raise NotConnected(_NOT_MADE) from error
        return cast("asyncio.WriteTransport", connection)

    def _head(self, route: str, headers: Mapping[str, str], size_bytes: int) -> bytes:
        own = _lines({**headers, "Content-Length": str(size_bytes)})
        return f"POST {self._path}{route} HTTP/1.1\r\n{self._headers}{own}\r\n".encode("ascii")


def _lines(headers: Mapping[str, str]) -> str:
    if not all(_FIELD.fullmatch(value) for value in headers.values()):
        raise ValueError("a header of the request holds what no header can hold")
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def _of_names(loop: asyncio.AbstractEventLoop) -> dict[str, Any]:
    """How a host of several addresses is tried; uvloop, which a program may have, does it one by one."""
    if not isinstance(loop, asyncio.BaseEventLoop):
        return {}
    return {"happy_eyeballs_delay": _BETWEEN_ADDRESSES_S}


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


class _Reply(asyncio.Protocol):
    """One reply, put together as it comes; what follows it is left out."""

    def __init__(self, heard: Heard, came: Came, most_bytes: int) -> None:
        self.is_over = False
        """Nobody waits for it any more, or there is no more of it to wait for."""
        self._heard = heard
        self._came = came
        self._most_bytes = most_bytes
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True,
            lenient_chunked_length=True,
            lenient_optional_cr_before_lf=True,
            lenient_optional_lf_after_cr=True,
        )  # nothing follows a reply here, so that nothing can be hidden behind one
        self._headers: Headers = []
        self._pieces: list[bytes] = []
        self._left_bytes = most_bytes
        self._head_left_bytes = _MOST_HEAD_BYTES
        self._has_head = False
        self._failure: Exception | None = None
        self._end = asyncio.get_running_loop().create_future()

    async def whole(self) -> bytes:
        """Its body."""
        await self._end
        if self._failure is not None:
            raise self._failure
        return b"".join(self._pieces)

    # --- asyncio calls these ---

    def data_received(self, data: bytes) -> None:
        """Some of it, or more than there is to be."""
        if self.is_over:
            return
        try:
            self._parser.feed_data(data)
        except Exception as error:
            self._ends(error)
        if not self._has_head:
            self._head_left_bytes -= len(data)
            if self._head_left_bytes < 0:
                self._ends(BadReply(f"the head of the reply is larger than {_MOST_HEAD_BYTES} bytes"))

    def connection_lost(self, exc: Exception | None) -> None:
        """The end; of a reply that does not say how long it is, that is how it ends."""
        if exc is not None:
            self._ends(exc)
        elif self._has_head and not self._names_its_end():
            self._ends()
        else:
            self._ends(BadReply("the connection was closed before the reply was whole"))

    # --- llhttp calls these ---

    def on_header(self, name: bytes, value: bytes) -> None:
        """A line of the head; those that follow a body are left out."""
        if not self._has_head:
            self._headers.append((name, value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """What only says "wait" is followed by another head; another reply behind the first is nobody's."""
        status = self._parser.get_status_code()
        if self.is_over:
            return
        if _WAIT <= status < _REPLY and status != _SWITCHED:
            self._headers.clear()
        elif why := _refusal(status, self._headers):
            self._ends(BadReply(why))
        else:
            self._has_head = True
            self._heard(status, self._headers)

    def on_body(self, data: bytes) -> None:
        """Some of the body."""
        if self.is_over:
            return
        self._pieces.append(data)
        self._came(len(data))
        self._left_bytes -= len(data)
        if self._left_bytes < 0:
            self._ends(BadReply(f"the reply is larger than {self._most_bytes} bytes"))

    def on_message_complete(self) -> None:
        """Its end, where it says itself how long it is."""
        if self._has_head:
            self._ends()

    def _ends(self, failure: Exception | None = None) -> None:
        if not self.is_over:
            self.is_over, self._failure = True, failure
            if not self._end.done():
                self._end.set_result(None)

    def _names_its_end(self) -> bool:
        names = {name.lower() for name, _ in self._headers}
        return bool(names & {b"content-length", b"transfer-encoding"})


def _refusal(status: int, headers: Headers) -> str:
    """Why this is no head of a reply to what was sent; empty where it is one."""
    if status < _WAIT or status == _SWITCHED:
        return f"the reply has the status {status}, which nobody asked for"
    if any(b"\0" in value for _, value in headers):
        return "a header of the reply holds what no header can hold"
    sent_as = [value.lower() for name, value in headers if name.lower() == b"transfer-encoding"]
    return "" if sent_as in ([], [b"chunked"]) else "the reply is sent in a way that nobody asked for"


def texts(headers: Sequence[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Headers by lower-case name, those of the same name together."""
    found: dict[str, str] = {}
    for name, value in headers:
        key, text = name.decode("latin-1").lower(), _text(value)
        found[key] = f"{found[key]}, {text}" if key in found else text
    return found


def _text(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
