"""How the request for a link leaves this machine: one bare GET, by the way that leads to its address.

Over aiohttp itself, of which a request costs a third of what it costs through httpx; and where the
environment names a SOCKS proxy, which aiohttp does not know, over httpx's own transport.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, cast

import aiohttp
from yarl import URL

from nanobanana_batch.providers.kept import through
from nanobanana_batch.providers.link_rules import LinkRules, public_sockets
from nanobanana_batch.providers.pooled import Asked, body_of
from nanobanana_batch.providers.proxies import Proxy
from nanobanana_batch.providers.trust import no_tls, tls_context

if TYPE_CHECKING:
    import httpx

PIECE_BYTES = 1 << 19
"""So much of a body may wait in memory for who writes it."""
_SOCKS_KEPT = 16
"""Connections through a SOCKS proxy that are kept for the next request."""


@dataclass(frozen=True, slots=True)
class Manner:
    """What all requests for links have in common. Seconds; the rules say which addresses are called."""

    headers: Mapping[str, str]
    connect_s: float
    read_s: float
    rules: LinkRules


class LinkAnswer(Protocol):
    """What a host has answered: its head was read, its body is still to come."""

    @property
    def status(self) -> int:
        """Of HTTP."""

    @property
    def received_bytes(self) -> int:
        """Of the body, as it was on the wire."""

    @property
    def codings(self) -> Sequence[str]:
        """How it says that the body is packed."""

    def header(self, name: str) -> str:
        """Empty where there is none."""

    def chunks(self) -> AsyncGenerator[bytes, None]:
        """The body as it was on the wire, in whatever pieces it comes; of errors the library's own."""

    async def aclose(self) -> None:
        """The connection is free for another request; it is closed where there was more to come."""


class LinkWay(Protocol):
    """Connections to hosts of links that are reached the same way."""

    async def get(self, url: str) -> LinkAnswer:
        """Ask once; redirects are not followed. Of errors the library's own."""

    async def aclose(self) -> None:
        """Close all connections."""


def way_of_links(url: str, proxy: Proxy | None, manner: Manner) -> LinkWay:
    """The way to addresses like this one, through this proxy; None: directly, to those that the rules allow.

    Raises:
        BadSurroundings: a variable names certificates that cannot be used.
    """
    if proxy is not None and proxy.is_socks:
        return _OverSocks(url, manner)
    return _OverAiohttp(url, proxy, manner)


# --- aiohttp ---------------------------------------------------------------------------------------


class _OverAiohttp:
    """It has no limit of connections (the engine bounds what is open) and no memory of cookies."""

    def __init__(self, url: str, proxy: Proxy | None, manner: Manner) -> None:
        is_tls = url.lower().startswith("https:")
        connector = aiohttp.TCPConnector(
            limit=0,
            ssl=tls_context() if is_tls else no_tls(),
            socket_factory=public_sockets(manner.rules) if proxy is None else None,
        )
        self._session = aiohttp.ClientSession(
            connector=connector,
            headers=manner.headers,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(sock_connect=manner.connect_s, sock_read=manner.read_s),
            auto_decompress=False,
            request_class=Asked,
            read_bufsize=PIECE_BYTES // 2,  # with twice that in memory it reads no more
        )
        self._through = through(proxy)

    async def get(self, url: str) -> LinkAnswer:
        # aiohttp writes addresses anew (%2F as /), and a signature in a link may be one over its spelling.
        there = URL(url, encoded=True)
        return _OfAiohttp(await self._session.get(there, allow_redirects=False, **self._through))

    async def aclose(self) -> None:
        await self._session.close()


class _OfAiohttp:
    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def received_bytes(self) -> int:
        return self._response.content.total_bytes

    @property
    def codings(self) -> Sequence[str]:
        lines = self._response.headers.getall("Content-Encoding", ())
        return [coding for line in lines for coding in line.split(",")]

    def header(self, name: str) -> str:
        return self._response.headers.get(name, "")

    def chunks(self) -> AsyncGenerator[bytes, None]:
        return body_of(self._response)

    async def aclose(self) -> None:
        self._response.close()  # at the end of its body the connection went back to the others


# --- httpx, through a SOCKS proxy ------------------------------------------------------------------


class _OverSocks:
    def __init__(self, url: str, manner: Manner) -> None:
        import httpx

        from nanobanana_batch.providers.transports import own_transport

        limits = httpx.Limits(max_connections=None, max_keepalive_connections=_SOCKS_KEPT)
        self._manner = manner
        self._transport = own_transport(url, limits)

    async def get(self, url: str) -> LinkAnswer:
        import httpx

        from nanobanana_batch.providers.transports import Steps

        steps, manner = Steps(), self._manner
        timeout = httpx.Timeout(manner.read_s, connect=manner.connect_s).as_dict()
        request = httpx.Request(
            "GET", url, headers=manner.headers, extensions={"trace": steps, "timeout": timeout}
        )
        async with steps.closing_what_failed():
            return _OfHttpx(await self._transport.handle_async_request(request))

    async def aclose(self) -> None:
        await self._transport.aclose()


class _OfHttpx:
    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code

    @property
    def received_bytes(self) -> int:
        return self._response.num_bytes_downloaded

    @property
    def codings(self) -> Sequence[str]:
        return self._response.headers.get_list("content-encoding", split_commas=True)

    def header(self, name: str) -> str:
        return str(self._response.headers.get(name, ""))

    def chunks(self) -> AsyncGenerator[bytes, None]:
        # httpx returns a generator and types it as an iterator, which cannot be closed.
        return cast("AsyncGenerator[bytes, None]", self._response.aiter_raw())

    async def aclose(self) -> None:
        await self._response.aclose()
