"""How requests leave this machine: the HTTP libraries' transports, through the environment's proxies.

Paid requests through a proxy go over httpx's own, which tells each step that it takes; reads over aiohttp's
pool.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport
from yarl import URL

from nanobanana_batch.providers.profile import Address
from nanobanana_batch.providers.proxies import Proxy, named_proxy, proxy_for
from nanobanana_batch.providers.trust import no_tls, tls_context

_SOCKS_KEPT = 16
"""Connections through a SOCKS proxy that are kept for the next request."""


def check_surroundings(address: Address) -> None:
    """Whether the environment's proxies and certificates are fit for requests to it and for links.

    Raises:
        BadSurroundings: a variable is in the way; which one, and what to do.
    """
    if not address.is_loopback:
        tls_context()
        named_proxy("https")


class PooledTransport(httpx.AsyncBaseTransport):
    """httpx over aiohttp, through the environment's proxies, as paid requests go.

    httpx itself leaves proxies to its own transport: behind a mandatory proxy rows would be paid for
    and never fetched.
    """

    def __init__(self) -> None:
        self._ways: dict[tuple[str, Proxy | None], httpx.AsyncBaseTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it once, by the way that leads to its address.

        Raises:
            httpx.TransportError: it could not be sent, or not be answered.
        """
        await request.aread()  # one without a body would go out with an empty chunked one
        return await self._for(request.url).handle_async_request(request)

    async def aclose(self) -> None:
        """Close the connections of every way."""
        for transport in self._ways.values():
            await transport.aclose()

    def _for(self, url: httpx.URL) -> httpx.AsyncBaseTransport:
        proxy = proxy_for(str(url))
        way = (url.scheme, proxy)
        if way not in self._ways:
            self._ways[way] = _pooled_transport(str(url), proxy)
        return self._ways[way]


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


def _pooled_transport(url: str, proxy: Proxy | None) -> httpx.AsyncBaseTransport:
    """For many requests at once; aiohttp knows no SOCKS."""
    if proxy is not None and proxy.is_socks:
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_SOCKS_KEPT)
        return own_transport(url, limits)
    context = _tls(url)

    def new_session() -> aiohttp.ClientSession:
        """No connection limit of its own (the engine bounds what is open) and no memory of cookies."""
        connector = aiohttp.TCPConnector(limit=0, ssl=context)
        session = aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())
        return _spelling_as_given(session)

    return AiohttpTransport(verify=context, client=new_session, proxy=_httpx_proxy(proxy))


def _spelling_as_given(session: aiohttp.ClientSession) -> aiohttp.ClientSession:
    """aiohttp writes addresses anew (%2F as /), and an id in one is only the same as it was spelt."""
    send = session.request

    def request(method: str, url: str, **options: Any) -> Any:
        return send(method, URL(url, encoded=True), **options)

    object.__setattr__(session, "request", request)
    return session


def _tls(url: str) -> ssl.SSLContext:
    return tls_context() if url.lower().startswith("https:") else no_tls()


def _httpx_proxy(proxy: Proxy | None) -> httpx.Proxy | None:
    if proxy is None:
        return None
    context = tls_context() if proxy.scheme == "https" else None
    return httpx.Proxy(str(proxy), auth=proxy.auth, ssl_context=context)
