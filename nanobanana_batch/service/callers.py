"""Web pages change nothing at a service on this machine, neither as themselves nor by a name of their own.

A page in a browser may send requests to loopback. It cannot help naming where it comes from (Origin), or,
where its own name has come to lead here, that name (Host).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

_READING = frozenset({"GET", "HEAD", "OPTIONS"})
_PORT = re.compile(r":[0-9]{1,5}$")


class Callers:
    """Around an app: what changes something is taken from programs, and from its own pages."""

    def __init__(self, app: ASGIApp, bound_to: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._is_private = _is_loopback(bound_to)
        self._names = frozenset(map(_plain, names))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _READING:
            headers = Headers(scope=scope)
            if fault := self._fault(headers.get("host", ""), headers.get("origin")):
                await _refuse(send, fault)
                return
        await self._app(scope, receive, send)

    def _fault(self, host: str, origin: str | None) -> str:
        name = _PORT.sub("", host)
        if self._is_private and host and not (_is_loopback(name) or _plain(name) in self._names):
            return f"this service is not called {host[:100]}"
        if origin is not None and re.sub("^https?://", "", origin) != host:
            return "a web page may not change anything here"
        return ""


def _is_loopback(host: str) -> bool:
    name = _plain(host)
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


async def _refuse(send: Send, fault: str) -> None:
    error = {"code": "forbidden_caller", "message": fault, "type": "invalid_request_error"}
    body = json.dumps({"error": error}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 403, "headers": headers})
    await send({"type": "http.response.body", "body": body})
