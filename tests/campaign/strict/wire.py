"""HTTP/1.1 by hand: a reply can be cut, mislabelled or never come, which no library would do for us."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from urllib.parse import parse_qsl, unquote, urlsplit

_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 404: "Not Found", 429: "Too Many Requests"}
_LONGEST_HEAD = 1 << 16


@dataclass(frozen=True)
class Request:
    """What was asked, names of headers in small letters."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """As it was sent, still quoted: an id may hold a slash."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The parameters; of a doubled one the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def tail(self, front: str) -> str:
        """What follows `front` in the path, unquoted."""
        return unquote(self.path.removeprefix(front))


@dataclass
class Reply:
    """What is answered, and how the connection behaves meanwhile."""

    status: int = 200
    document: object = None
    """Sent as JSON, unless `body` is given."""
    body: bytes | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    kind: str = "other"
    """submit, read, batch, list, credits, prices, files, link, error: what a mutation names."""
    asked: str = ""
    """The kind of the request."""
    sent_share: float = 1.0
    """How much of it is sent before the connection is cut; 0: nothing, not even the head."""
    delay_s: float = 0.0
    closes: bool = False
    """The connection ends after it."""
    raw: Callable[[bytes], bytes] | None = None
    """A last change to the whole reply, head included."""

    def payload(self) -> bytes:
        """The body's bytes."""
        if self.body is not None:
            return self.body
        return b"" if self.document is None else json.dumps(self.document).encode()

    def message(self) -> bytes:
        """Head and body."""
        body = self.payload()
        names = {name.lower() for name, _ in self.headers}
        headers = list(self.headers)
        if "content-type" not in names:
            headers.append(("Content-Type", "application/json"))
        if "date" not in names:
            headers.append(("Date", formatdate(usegmt=True)))
        if "content-length" not in names and "transfer-encoding" not in names:
            headers.append(("Content-Length", str(len(body))))
        lines = [f"HTTP/1.1 {self.status} {_REASONS.get(self.status, 'Status')}"]
        lines += [f"{name}: {value}" for name, value in headers if value is not None]
        whole = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
        return self.raw(whole) if self.raw else whole


Handler = Callable[[Request], Awaitable[Reply]]


class Listener:
    """One port; it can refuse connections for a while and come back at the same place."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._server: asyncio.Server | None = None
        self._place: socket.socket | None = None
        """Nobody listens there: it keeps the port from others while connections are refused."""
        self._open: set[asyncio.StreamWriter] = set()
        self._owing: set[asyncio.StreamWriter] = set()
        """Connections of which a request is expected, or its reply."""
        self.cut = 0
        """Of them, cut off: whoever sent a request there has no answer."""
        self.port = 0

    @property
    def is_listening(self) -> bool:
        """It takes connections."""
        return self._server is not None

    async def listen(self, port: int = 0) -> int:
        """Begin, at any port if it is 0, or begin again where it was."""
        if self._place is None:
            self._place = _bound(port)
            self.port = self._place.getsockname()[1]
        self._server = await asyncio.start_server(
            self._connection, sock=_bound(self.port), limit=_LONGEST_HEAD, backlog=1024
        )
        return self.port

    def refuse(self) -> None:
        """Nobody listens any more, and who is connected is cut off."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.abort()

    def abort(self) -> None:
        """Reset every connection."""
        self.cut += len(self._owing)
        for writer in list(self._open):
            writer.transport.abort()

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        self._owing.add(writer)
        try:
            while (request := await _read(reader)) is not None:
                self._owing.add(writer)
                reply = await self._handler(request)
                if not await _write(writer, reply):
                    return
                self._owing.discard(writer)
                if "close" in request.headers.get("connection", "").lower():
                    return
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
            pass
        finally:
            self._open.discard(writer)
            self._owing.discard(writer)
            writer.close()


def _bound(port: int) -> socket.socket:
    place = socket.socket()
    place.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    place.bind(("127.0.0.1", port))
    return place


async def _read(reader: asyncio.StreamReader) -> Request | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ", 2)
    headers: dict[str, str] = {}
    for line in filter(None, lines):
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return Request(method, target, headers, await _body(reader, headers))


async def _body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    if "chunked" not in headers.get("transfer-encoding", "").lower():
        return await reader.readexactly(int(headers.get("content-length", "0")))
    parts: list[bytes] = []
    while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return b"".join(parts)


async def _write(writer: asyncio.StreamWriter, reply: Reply) -> bool:
    """Whether the connection can be used again."""
    if reply.delay_s:
        await asyncio.sleep(reply.delay_s)
    message = reply.message()
    if reply.sent_share < 1.0:
        writer.write(message[: int(len(message) * reply.sent_share)])
        if reply.sent_share > 0:
            await writer.drain()
            await asyncio.sleep(0.02)  # an abort at once would take back what was sent
        writer.transport.abort()
        return False
    writer.write(message)
    await writer.drain()
    return not reply.closes and "connection: close" not in message[:4096].decode("latin-1").lower()
