"""Requests that may be repeated, to one address, over connections that are kept: aiohttp's own pool.

It stays fast with hundreds of connections. Straight or through an HTTP proxy; it knows no SOCKS.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from nanobanana_batch.providers.bodies import unpacked
from nanobanana_batch.providers.fresh_posts import texts
from nanobanana_batch.providers.pooled import Asked, body_of
from nanobanana_batch.providers.proxies import Proxy, proxy_for
from nanobanana_batch.providers.trust import no_tls, tls_context


class LibraryTimeout(Exception):
    """The library has waited as long as it was told to; its own words are the cause's."""


@dataclass(frozen=True, slots=True)
class Answer:
    """The head of a reply; the rest comes as `chunks`, unpacked."""

    status: int
    headers: Mapping[str, str]
    """By lower-case name."""
    _response: aiohttp.ClientResponse

    @property
    def received_bytes(self) -> int:
        """Of the body, as it was on the wire."""
        return self._response.content.total_bytes

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body in pieces of bounded size.

        Raises:
            BadCoding: it is packed in a way that is not taken.
        """
        return unpacked(self.headers.get("content-encoding", "").split(","), body_of(self._response))


def kept_to(url: str, headers: Mapping[str, str], connect_s: float, read_s: float) -> Kept | None:
    """Connections to an address, made as they are needed, where an event loop runs.

    None: the way leads through a SOCKS proxy. `connect_s`, `read_s`: seconds until a connection is made, and
    between any two pieces of a reply.

    Raises:
        BadSurroundings: a variable names no usable proxy, or certificates that cannot be used.
    """
    proxy = proxy_for(url)
    return None if proxy is not None and proxy.is_socks else Kept(url, proxy, headers, connect_s, read_s)


def through(proxy: Proxy | None) -> dict[str, Any]:
    """What aiohttp is told with each request through a proxy; names and passwords in UTF-8, as by httpx."""
    if proxy is None:
        return {}
    told: dict[str, Any] = {"proxy": str(proxy)}
    if proxy.auth:
        # Sent as Proxy-Authorization: with CONNECT, or where there is none with the request itself.
        words = b64encode(":".join(proxy.auth).encode()).decode()
        told["proxy_headers"] = {"Authorization": f"Basic {words}"}
    return told


class Kept:
    """It has no limit of connections (the engine bounds what is open) and no memory of cookies."""

    def __init__(
        self, url: str, proxy: Proxy | None, headers: Mapping[str, str], connect_s: float, read_s: float
    ) -> None:
        """See `kept_to`."""
        is_tls = url.lower().startswith("https:")
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=tls_context() if is_tls else no_tls()),
            headers=headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=connect_s, sock_read=read_s),
            auto_decompress=False,
            request_class=Asked,
        )
        self._through = through(proxy)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._session.close()

    @asynccontextmanager
    async def answer(
        self, method: str, url: str, content: bytes | None, headers: Mapping[str, str]
    ) -> AsyncIterator[Answer]:
        """Ask once; redirects are not followed. Of errors the library's own.

        Raises:
            LibraryTimeout: the connection was not made in time, or nothing came for too long.
        """
        there = URL(url, encoded=True)  # aiohttp writes addresses anew: an id is the same only as it is spelt
        try:
            async with self._session.request(
                method, there, data=content, headers=headers, allow_redirects=False, **self._through
            ) as response:
                yield Answer(response.status, texts(response.raw_headers), response)
        except aiohttp.ServerTimeoutError as error:  # is a TimeoutError, as a deadline's is
            raise LibraryTimeout from error
