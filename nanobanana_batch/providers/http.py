"""Requests and replies over HTTP: a paid request is sent at most once, on a connection of its own.

Paid requests go without kept connections: a fresh connection tells exactly whether anything was sent,
where a kept one may have been closed by the server in the same moment. Straight to the provider that is
`fresh_posts`, through a proxy httpx's own transport. Reads and downloads, which cost nothing, go over
aiohttp's pool, which stays fast with hundreds of connections where httpx's own does not. httpx is loaded
where a proxy or a local file needs it: it takes as long as some sixty rows.
"""

from __future__ import annotations

import os
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, BinaryIO, cast

import anyio

from nanobanana_batch.providers.bodies import ASKED_FOR, unpacked
from nanobanana_batch.providers.failure_words import failure_words as _words
from nanobanana_batch.providers.fresh_posts import FreshPosts, Headers, NotConnected, texts
from nanobanana_batch.providers.kept import Answer, Kept, kept_to
from nanobanana_batch.providers.profile import Address
from nanobanana_batch.providers.proxies import proxy_for
from nanobanana_batch.providers.watch import Seen, Watch

if TYPE_CHECKING:
    from http.cookiejar import CookieJar

    import httpx

    from nanobanana_batch.providers.transports import Steps

MAX_REPLY_BYTES = 16 << 20
_SOCKS_KEPT = 16
"""Connections through a SOCKS proxy that are kept for the next request."""
_LONGEST_CAUSE = 40_000
"""Characters of a traceback; a longer one quotes what came."""


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
    """The request may or may not have arrived; no complete reply came.

    `head`: status and headers of one whose body was cut off or cannot be decoded; they hold all the same.
    """

    def __init__(self, words: str, head: Reply | None = None) -> None:
        super().__init__(words)
        self.head = head


class _Client:
    """Requests to one address with the key: it goes nowhere else, since no redirect is followed."""

    def __init__(
        self, base_url: str, make: Callable[[], httpx.AsyncClient], watch: Watch, deadline_s: float
    ) -> None:
        self._base_url = base_url
        self._make = make
        self._watch = watch
        self._deadline_s = deadline_s

    @cached_property
    def _client(self) -> httpx.AsyncClient:
        return self._make()

    async def aclose(self) -> None:
        """Close all connections."""
        if "_client" in vars(self):
            await self._client.aclose()

    async def _reply(self, seen: Seen, method: str, path: str, **content: Any) -> Reply:
        """Send once over httpx and read the whole reply; the library's own errors."""
        from nanobanana_batch.providers.transports import Steps

        return await self._stepwise(seen, Steps(), method, path, **content)

    async def _stepwise(self, seen: Seen, steps: Steps, method: str, path: str, **content: Any) -> Reply:
        url, told = f"{self._base_url}{path}", {"trace": steps}
        async with steps.closing_what_failed():
            with anyio.fail_after(self._deadline_s):
                async with self._client.stream(method, url, extensions=told, **content) as response:
                    _hear(response.status_code, response.headers, seen, self._watch)
                    return await _put_together(
                        _chunks(response), seen, self._watch, lambda: response.num_bytes_downloaded
                    )

    @contextmanager
    def _or_no_reply(self, seen: Seen) -> Iterator[None]:
        try:
            yield
        except (NoReply, NothingSent):
            raise
        except TimeoutError as error:
            raise NoReply(f"no complete reply within {self._deadline_s:g} s", _head(seen)) from error
        except Exception as error:  # what these libraries raise is in no list that could be whole
            raise NoReply(self._words(error), _head(seen)) from self._shown(error)

    def _words(self, error: Exception) -> str:
        return self._watch.words(_words(error))

    def _shown(self, error: Exception) -> Exception | None:
        """The cause of an error, unless it quotes the key or a link: libraries quote what is no HTTP."""
        text = "".join(traceback.format_exception(error))
        return error if len(text) <= _LONGEST_CAUSE and self._watch.clean(text) == text else None


class PaidHttp(_Client):
    """Sends paid requests, `at_once` at most: each once, on a fresh connection, with a total deadline.

    Where a proxy is in the way httpx leads through it; else there is a shorter one.
    """

    def __init__(
        self, address: Address, headers: Mapping[str, str], at_once: int, timeouts: Timeouts, watch: Watch
    ) -> None:
        limits = {"max_connections": at_once, "max_keepalive_connections": 0}
        waits = {"timeout": timeouts.read_s, "connect": timeouts.connect_s, "read": timeouts.paid_s}
        super().__init__(
            address.url, lambda: _over_httpx(address, headers, limits, waits), watch, timeouts.paid_s
        )
        self._straight: FreshPosts | None = None
        if proxy_for(address.url) is None:
            self._straight = FreshPosts(address.url, _asking(headers), at_once, timeouts.connect_s)
        else:
            self._client = self._make()  # now: what is wrong with the surroundings is no lost reply

    async def post(self, route: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send once and read the whole reply.

        Raises:
            NothingSent: it is certain that nothing was sent.
            NoReply: anything else that is not a complete reply.
        """
        with self._watch.exchange("POST", route, len(body)) as seen:
            if self._straight is None:
                return await self._post(seen, route, body, headers)
            with self._or_no_reply(seen):
                return await self._post_straight(self._straight, seen, route, body, headers)

    async def _post(self, seen: Seen, route: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        from nanobanana_batch.providers.transports import Steps

        steps = Steps()
        with self._or_nothing_sent(steps), self._or_no_reply(seen), self._or_not_connected():
            return await self._stepwise(seen, steps, "POST", route, content=body, headers=headers)

    async def _post_straight(
        self, straight: FreshPosts, seen: Seen, route: str, body: bytes, headers: Mapping[str, str]
    ) -> Reply:
        def heard(status: int, lines: Headers) -> None:
            _hear(status, texts(lines), seen, self._watch)

        def came(size: int) -> None:
            seen.received_bytes += size

        try:
            packed = await straight.post(
                route, body, headers, heard, came, within_s=self._deadline_s, most_bytes=MAX_REPLY_BYTES
            )
        except NotConnected as error:
            why = error.__cause__ if isinstance(error.__cause__, Exception) else error
            raise NothingSent(f"{error}: {self._words(why)}") from self._shown(why)
        codings = seen.headers.get("content-encoding", "").split(",")
        return await _put_together(unpacked(codings, _whole(packed)), seen, self._watch)

    @contextmanager
    def _or_not_connected(self) -> Iterator[None]:
        from nanobanana_batch.providers.transports import NOTHING_SENT

        try:
            yield
        except tuple(NOTHING_SENT) as error:
            why = next(said for kind, said in NOTHING_SENT.items() if isinstance(error, kind))
            raise NothingSent(f"{why}: {self._words(error)}") from self._shown(error)

    @contextmanager
    def _or_nothing_sent(self, steps: Steps) -> Iterator[None]:
        """What goes wrong on the way to a proxy, or through it, has many names; how far it came has one."""
        try:
            yield
        except NoReply as error:
            if not steps.were_only_connecting:
                raise
            raise NothingSent(f"the connection was not made: {error}") from error.__cause__


class FilesHttp(_Client):
    """Requests to the host that holds uploaded files; a file goes out as a stream."""

    def __init__(
        self, address: Address, headers: Mapping[str, str], timeouts: Timeouts, watch: Watch
    ) -> None:
        waits = {"timeout": timeouts.read_s, "connect": timeouts.connect_s}
        super().__init__(
            address.url, lambda: _over_httpx(address, headers, {}, waits), watch, timeouts.link_s
        )

    async def request(
        self,
        method: str,
        route: str,
        file: tuple[str, BinaryIO, str] | None = None,
        fields: Mapping[str, str] | None = None,
        **parts: str,
    ) -> Reply:
        """Send a request, with a file (name, content, media type) and a form's fields; read the whole reply.

        Raises:
            NoReply: no complete reply came.
        """
        files = {"file": file} if file is not None else None
        size_bytes = os.fstat(file[1].fileno()).st_size if file is not None else 0
        with self._watch.exchange(method, route, size_bytes) as seen, self._or_no_reply(seen):
            return await self._reply(seen, method, route.format(**parts), files=files, data=fields)


class FreeHttp(_Client):
    """Reads, which cost nothing: over connections that are kept; through a SOCKS proxy httpx leads."""

    def __init__(
        self, address: Address, headers: Mapping[str, str], timeouts: Timeouts, watch: Watch
    ) -> None:
        limits = {"max_connections": None, "max_keepalive_connections": _SOCKS_KEPT}
        waits = {"timeout": timeouts.read_s, "connect": timeouts.connect_s}
        super().__init__(
            address.url, lambda: _over_httpx(address, headers, limits, waits), watch, timeouts.free_s
        )
        self._headers, self._timeouts = _asking(headers), timeouts

    @cached_property
    def _kept(self) -> Kept | None:
        waits = self._timeouts
        return kept_to(self._base_url, self._headers, waits.connect_s, waits.read_s)

    async def aclose(self) -> None:
        """Close all connections."""
        await super().aclose()
        if (kept := vars(self).get("_kept")) is not None:
            await kept.aclose()

    async def request(
        self, method: str, route: str, content: bytes | None = None, query: str = "", **parts: str
    ) -> Reply:
        """Send a request that may be repeated and read the whole reply; `parts` fill the route's ids.

        Raises:
            NoReply: no complete reply came.
        """
        headers = {"Content-Type": "application/json"} if content is not None else {}
        path = route.format(**parts) + (f"?{query}" if query else "")
        with self._watch.exchange(method, route, len(content or b"")) as seen, self._or_no_reply(seen):
            if self._kept is None:
                return await self._reply(seen, method, path, content=content, headers=headers)
            with anyio.fail_after(self._deadline_s):
                url = f"{self._base_url}{path}"
                async with self._kept.answer(method, url, content, headers) as answer:
                    return await self._heard(seen, answer)

    async def _heard(self, seen: Seen, answer: Answer) -> Reply:
        _hear(answer.status, answer.headers, seen, self._watch)
        return await _put_together(answer.chunks(), seen, self._watch, lambda: answer.received_bytes)


def _hear(status: int, headers: Mapping[str, str], seen: Seen, watch: Watch) -> None:
    """The head of a reply; a key that the provider echoes ends here."""
    seen.status = status
    seen.headers = watch.secret.removed_from_all({name.lower(): value for name, value in headers.items()})
    seen.request_id = seen.headers.get("x-request-id")
    watch.clock.hear(seen.headers)


async def _put_together(
    chunks: AsyncGenerator[bytes, None],
    seen: Seen,
    watch: Watch,
    on_the_wire: Callable[[], int] = lambda: 0,
) -> Reply:
    """The whole reply, without a key; `on_the_wire`: how many bytes of its body have come so far."""
    body = bytearray()
    async with aclosing(chunks):
        async for chunk in chunks:
            body += chunk
            seen.received_bytes = len(body)
            if max(len(body), on_the_wire()) > MAX_REPLY_BYTES:
                raise NoReply(f"the reply is larger than {MAX_REPLY_BYTES} bytes", _head(seen))
    seen.body = watch.secret.removed_from_body(bytes(body))
    return Reply(seen.status or 0, seen.headers, seen.body)


async def _whole(body: bytes) -> AsyncGenerator[bytes, None]:
    yield body


def _head(seen: Seen) -> Reply | None:
    return None if seen.status is None else Reply(seen.status, seen.headers, b"")


def _chunks(response: httpx.Response) -> AsyncGenerator[bytes, None]:
    """The body as it comes; httpx returns a generator and types it as an iterator, which cannot be closed."""
    raw = cast("AsyncGenerator[bytes, None]", response.aiter_raw())
    return unpacked(response.headers.get_list("content-encoding", split_commas=True), raw)


def _asking(headers: Mapping[str, str]) -> dict[str, str]:
    return {**headers, "Accept-Encoding": ASKED_FOR}


def _over_httpx(
    address: Address,
    headers: Mapping[str, str],
    limits: Mapping[str, int | None],
    waits: Mapping[str, float],
) -> httpx.AsyncClient:
    import httpx

    from nanobanana_batch.providers.transports import own_transport

    return httpx.AsyncClient(
        headers=_asking(headers),
        transport=own_transport(address.url, httpx.Limits(**limits)),
        timeout=httpx.Timeout(**waits),
        follow_redirects=False,
        cookies=_no_cookies(),
    )


def _no_cookies() -> CookieJar:
    """A jar that takes none: each request stands for itself."""
    from http.cookiejar import CookieJar, DefaultCookiePolicy

    return CookieJar(DefaultCookiePolicy(allowed_domains=[]))
