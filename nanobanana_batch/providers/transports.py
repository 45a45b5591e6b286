"""httpx's own transport, through the environment's proxies: it tells each step that it takes.

It leads through SOCKS proxies, which aiohttp does not know, and paid requests through any proxy.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import httpx

from nanobanana_batch.providers.proxies import Proxy, proxy_for
from nanobanana_batch.providers.trust import no_tls, tls_context

NOTHING_SENT: dict[type[Exception], str] = {
    httpx.ConnectError: "the connection was not made (refused, unreachable, name not found, TLS failed)",
    httpx.ConnectTimeout: "the connection was not made in time",
    httpx.PoolTimeout: "there was no free connection",
    httpx.UnsupportedProtocol: "the address is no http(s) address",
    httpx.ProxyError: "the proxy refused to connect",
}
"""The errors of httpx's own transport after which nothing was sent; after others something may be."""


class Steps:
    """What the HTTP library says that it does, as it begins each step of a request (httpcore's `trace`).

    Nothing has left as long as each was one of connecting. A step that is not known here may be anything.
    """

    _CONNECTING = re.compile(
        r"(connection|socks|proxy)\.(connect_tcp|setup_socks5_connection|start_tls|retry)\..*"
    )
    _ANSWERING = re.compile(
        r"http11\.(receive_response_(headers|body)|response_closed)\..*|http11\..*\.(complete|failed)"
    )

    def __init__(self) -> None:
        self._count = 0
        self._may_have_left = False
        self._connection: Any = None

    @property
    def were_only_connecting(self) -> bool:
        """Whether there were any, and none in which the request itself may have left."""
        return self._count > 0 and not self._may_have_left

    @asynccontextmanager
    async def closing_what_failed(self) -> AsyncIterator[None]:
        """Close a connection that came to nothing: the library leaves those to a SOCKS proxy open."""
        try:
            yield
        except BaseException:
            if self.were_only_connecting and self._connection is not None:
                with anyio.CancelScope(shield=True), suppress(Exception):
                    await self._connection.aclose()
            raise

    async def __call__(self, step: str, about: Mapping[str, Any]) -> None:
        """The library takes this step; `about` has what it says of it besides."""
        self._count += 1
        if step.endswith("connect_tcp.complete"):
            self._connection = about.get("return_value")
        if self._CONNECTING.fullmatch(step) or self._ANSWERING.fullmatch(step):
            return
        # A proxy is asked for a connection by a request of its own.
        if getattr(about.get("request"), "method", b"") != b"CONNECT":
            self._may_have_left = True


def own_transport(url: str, limits: httpx.Limits) -> httpx.AsyncHTTPTransport:
    """httpx's own, to one address, through the environment's proxy for it."""
    return httpx.AsyncHTTPTransport(
        verify=_tls(url), limits=limits, proxy=_httpx_proxy(proxy_for(url)), trust_env=False
    )


def _tls(url: str) -> ssl.SSLContext:
    return tls_context() if url.lower().startswith("https:") else no_tls()


def _httpx_proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    context = tls_context() if proxy.scheme == "https" else None
    return httpx.Proxy(str(proxy), auth=proxy.auth, ssl_context=context)
