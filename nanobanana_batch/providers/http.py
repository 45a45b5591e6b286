"""The only file that knows the HTTP library: a paid request is sent at most once, on a connection of its own.

Paid requests go over httpx's own transport without kept connections: a fresh connection tells
exactly whether anything was sent, where a kept one may have been closed by the server in the same
moment. Reads and downloads, which cost nothing, go over aiohttp's pool, which stays fast with
hundreds of connections where httpx's own does not. The errors of that bridge are never asked
whether something was sent: it reports a lost reply as a connect timeout.
"""

from __future__ import annotations

import urllib.request
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

import aiohttp
import anyio
import httpx
from httpx_aiohttp import AiohttpTransport

from nanobanana_batch.errors import LinkFailed

PIECE_BYTES = 1 << 20
MAX_REPLY_BYTES = 16 << 20
_DEAD = {403, 404, 410}
_LINK_REDIRECTS = 5
_SHORTEST_SECRET = 8


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Seconds. `paid_s` bounds a paid request as a whole, however slowly its reply drips."""

    connect_s: float = 10.0
    read_s: float = 30.0
    paid_s: float = 60.0
    free_s: float = 60.0
    link_s: float = 600.0


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete reply: status, headers by lower-case name, body."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class NothingSent(Exception):
    """No byte of the request left this machine."""


class NoReply(Exception):
    """The request may or may not have arrived; no complete reply came."""


NOTHING_SENT: dict[type[Exception], str] = {
    httpx.ConnectError: "the connection was not made (refused, unreachable, name not found, TLS failed)",
    httpx.ConnectTimeout: "the connection was not made in time",
    httpx.PoolTimeout: "there was no free connection",
    httpx.UnsupportedProtocol: "the address is no http(s) address",
    httpx.ProxyError: "the proxy refused to connect",
}
"""The errors of httpx's own transport after which nothing was sent; after others something may be."""


class PaidHttp:
    """Sends paid requests: each once, on a fresh connection, no redirects, a total deadline."""

    def __init__(
        self, headers: Mapping[str, str], at_once: int, timeouts: Timeouts, *, loopback: bool
    ) -> None:
        self._secret = _secret_of(headers)
        limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=0)
        self._deadline_s = timeouts.paid_s
        self._client = httpx.AsyncClient(
            headers=headers,
            limits=limits,
            timeout=httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s, read=timeouts.paid_s),
            follow_redirects=False,
            trust_env=not loopback,
        )

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send once and read the whole reply.

        Raises:
            NothingSent: it is certain that nothing was sent.
            NoReply: anything else that is not a complete reply.
        """
        try:
            with anyio.fail_after(self._deadline_s):
                async with self._client.stream("POST", url, content=body, headers=headers) as response:
                    return await _whole(response, self._secret)
        except tuple(NOTHING_SENT) as error:
            raise NothingSent(f"{NOTHING_SENT[_listed(error)]}: {_words(error)}") from error
        except TimeoutError as error:
            raise NoReply(f"no complete reply within {self._deadline_s:g} s") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, OSError) as error:
            raise NoReply(_words(error)) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()


class _Transport(httpx.AsyncBaseTransport):
    """httpx over aiohttp, through the environment's proxies, as paid requests go.

    httpx itself leaves proxies to its own transport: behind a mandatory proxy rows would be paid for
    and never fetched.
    """

    def __init__(self, *, use_proxies: bool) -> None:
        self._direct = AiohttpTransport(client=_new_session)
        proxies = urllib.request.getproxies() if use_proxies else {}
        self._proxied = {
            scheme: AiohttpTransport(client=_new_session, proxy=httpx.Proxy(_with_scheme(url)))
            for scheme in ("http", "https")
            if (url := proxies.get(scheme) or proxies.get("all"))
        }

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        # A redirected GET would go out with an empty chunked body; some hosts answer that with 403,
        # which would count as a dead link.
        await request.aread()
        return await self._for(request.url).handle_async_request(request)

    async def aclose(self) -> None:
        for transport in (self._direct, *self._proxied.values()):
            await transport.aclose()

    def _for(self, url: httpx.URL) -> AiohttpTransport:
        if url.scheme not in self._proxied or urllib.request.proxy_bypass(url.host):
            return self._direct
        return self._proxied[url.scheme]


class FreeHttp:
    """Requests that cost nothing: reads with the key, downloads without it."""

    def __init__(self, headers: Mapping[str, str], timeouts: Timeouts, *, loopback: bool) -> None:
        self._secret = _secret_of(headers)
        self._timeouts = timeouts
        timeout = httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s)
        transport = _Transport(use_proxies=not loopback)
        self._api = httpx.AsyncClient(
            headers=headers,
            timeout=timeout,
            transport=transport,
            follow_redirects=False,
            trust_env=not loopback,
        )
        self._links = httpx.AsyncClient(
            headers={"Accept": "image/*", "Accept-Encoding": "identity"},
            timeout=timeout,
            transport=_Transport(use_proxies=not loopback),
            follow_redirects=True,
            max_redirects=_LINK_REDIRECTS,
            trust_env=not loopback,
        )

    async def request(self, method: str, url: str, content: bytes | None = None) -> Reply:
        """Send a request that may be repeated and read the whole reply.

        Raises:
            NoReply: no complete reply came.
        """
        headers = {"Content-Type": "application/json"} if content is not None else None
        try:
            with anyio.fail_after(self._timeouts.free_s):
                async with self._api.stream(method, url, content=content, headers=headers) as response:
                    return await _whole(response, self._secret)
        except TimeoutError as error:
            raise NoReply(f"no complete reply within {self._timeouts.free_s:g} s") from error
        except (httpx.HTTPError, httpx.StreamError, httpx.InvalidURL, aiohttp.ClientError, OSError) as error:
            raise NoReply(_words(error)) from error

    @asynccontextmanager
    async def open_link(self, url: str) -> AsyncIterator[LinkBody]:
        """Open a download.

        Raises:
            LinkFailed: no connection, or a status other than 200.
        """
        async with AsyncExitStack() as stack:
            try:
                with anyio.fail_after(self._timeouts.free_s):
                    response = await stack.enter_async_context(self._links.stream("GET", url))
            except TimeoutError as error:
                raise LinkFailed("the link's host did not answer in time") from error
            except (httpx.HTTPError, httpx.InvalidURL, aiohttp.ClientError, OSError, ValueError) as error:
                raise LinkFailed(f"the link cannot be opened: {_words(error)}") from error
            if response.status_code != 200:
                raise LinkFailed(
                    f"the link answered HTTP {response.status_code}", dead=response.status_code in _DEAD
                )
            yield LinkBody(response, self._timeouts.link_s)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._api.aclose()
        await self._links.aclose()


class LinkBody:
    """The body of an opened link; see `base.Body`."""

    def __init__(self, response: httpx.Response, deadline_s: float) -> None:
        self._response = response
        self._deadline_s = deadline_s
        announced = response.headers.get("content-length", "")
        self.size_bytes: int | None = int(announced) if announced.isdecimal() else None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about 1 MiB; fewer than announced is an error."""
        deadline = anyio.current_time() + self._deadline_s
        waiting, total = bytearray(), 0
        try:
            async with aclosing(_chunks(self._response)) as chunks:
                async for chunk in chunks:
                    waiting += chunk
                    total += len(chunk)
                    if anyio.current_time() > deadline:
                        raise LinkFailed(f"the download took longer than {self._deadline_s:g} s")
                    if len(waiting) >= PIECE_BYTES:
                        yield bytes(waiting)
                        waiting.clear()
        except (httpx.HTTPError, httpx.StreamError, aiohttp.ClientError, OSError) as error:
            raise LinkFailed(f"the download broke off after {total} bytes: {_words(error)}") from error
        on_the_wire = self._response.num_bytes_downloaded
        if self.size_bytes is not None and on_the_wire != self.size_bytes:
            raise LinkFailed(f"the download has {on_the_wire} bytes, {self.size_bytes} were announced")
        if waiting:
            yield bytes(waiting)


async def _whole(response: httpx.Response, secret: bytes) -> Reply:
    """The whole reply; a key that the provider echoes ends here."""
    body = bytearray()
    async with aclosing(_chunks(response)) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > MAX_REPLY_BYTES:
                raise NoReply(f"the reply is larger than {MAX_REPLY_BYTES} bytes")
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Reply(
        response.status_code, headers, bytes(body).replace(secret, b"[key]") if secret else bytes(body)
    )


def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes; httpx returns a generator and types it as an iterator, which cannot be closed."""
    return cast("AsyncGenerator[bytes, None]", response.aiter_bytes())


def _with_scheme(proxy: str) -> str:
    return proxy if "://" in proxy else f"http://{proxy}"


def _secret_of(headers: Mapping[str, str]) -> bytes:
    """The key, if it is long enough to be told from other text."""
    key = headers.get("Authorization", "").removeprefix("Bearer ").encode()
    return key if len(key) >= _SHORTEST_SECRET else b""


def _new_session() -> aiohttp.ClientSession:
    """No connection limit of its own (the engine bounds what is open) and no memory of cookies."""
    connector = aiohttp.TCPConnector(limit=0, ssl=httpx.create_ssl_context())
    return aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar())


def _listed(error: Exception) -> type[Exception]:
    return next(kind for kind in NOTHING_SENT if isinstance(error, kind))


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
