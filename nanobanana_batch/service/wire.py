"""A connection can be cut on purpose: mid-reply, or before one, the way a dying server does it.

Nothing in ASGI closes a connection without a reply, so the server's protocol hands its transport to the
application through the request's state.
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.auto import AutoHTTPProtocol

_CHUNK = 1024 * 1024


class ExposedProtocol(AutoHTTPProtocol):  # type: ignore[misc, valid-type]  # chosen at run time by uvicorn
    app_state: dict[str, Any]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.app_state = {**self.app_state, "transport": transport}  # copied into every request's state
        super().connection_made(transport)


def _transport(scope: Scope) -> asyncio.Transport:
    transport: asyncio.Transport = scope["state"]["transport"]
    return transport


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _start(response: Response, length: int) -> Message:
    headers = [(name, value) for name, value in response.raw_headers if name != b"content-length"]
    headers.append((b"content-length", str(length).encode()))
    return {"type": "http.response.start", "status": response.status_code, "headers": headers}


class LostReply(Response):
    """The connection is dropped; not one byte of a reply is sent."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        _transport(scope).abort()
        await _gone(receive)


class CutReply(Response):
    """Content-Length is right; the connection closes half way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytes(self.body)
        await send(_start(self, len(body)))
        await send({"type": "http.response.body", "body": body[: len(body) // 2], "more_body": True})
        _transport(scope).close()  # not abort: the half is to arrive
        await _gone(receive)


class DrippedReply(Response):
    """The body comes byte by byte."""

    interval_s: float = 1.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytes(self.body)
        await send(_start(self, len(body)))
        left = asyncio.ensure_future(_gone(receive))
        for at in range(len(body)):
            await asyncio.wait([left], timeout=self.interval_s)
            if left.done():
                return
            await send(
                {"type": "http.response.body", "body": body[at : at + 1], "more_body": at + 1 < len(body)}
            )
        left.cancel()


class OversizedReply(Response):
    """The body, then zeros up to `total_bytes`, all announced in Content-Length."""

    total_bytes: int = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = bytes(self.body)
        total = max(self.total_bytes, len(body))
        await send(_start(self, total))
        sent = len(body)
        await send({"type": "http.response.body", "body": body, "more_body": sent < total})
        while sent < total:
            piece = bytes(min(_CHUNK, total - sent))
            sent += len(piece)
            await send({"type": "http.response.body", "body": piece, "more_body": sent < total})


class RequestLog:
    """Around the whole application: every reply carries X-Request-Id, every request is counted."""

    def __init__(self, app: ASGIApp, counts: Counter[str]) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status: int | None = None
        request_id = f"req_{secrets.token_hex(12)}".encode()

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", request_id)]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        finally:
            route: Any = scope.get("route")
            path = getattr(route, "path", "unknown")
            self._counts[f"{scope['method']} {path} {status or 'lost'}"] += 1
