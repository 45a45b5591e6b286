"""Downloads from hosts that are not the provider's: no key goes there, and each step of the way is judged."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from urllib.parse import urljoin, urlsplit

import anyio

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.providers.bodies import unpacked
from nanobanana_batch.providers.failure_words import failure_words
from nanobanana_batch.providers.http import Timeouts
from nanobanana_batch.providers.link_rules import LinkRules, refuse_link
from nanobanana_batch.providers.link_ways import PIECE_BYTES, LinkAnswer, LinkWay, Manner, way_of_links
from nanobanana_batch.providers.proxies import Proxy, proxy_for
from nanobanana_batch.providers.tasks.encoding import USER_AGENT
from nanobanana_batch.providers.watch import Watch, link_route

_DEAD = {403, 404, 410}
_REDIRECTS = {301, 302, 303, 307, 308}
_MOST_REDIRECTS = 5
_MOST_HOSTS = 1000
"""Of which it is remembered which way leads there."""
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT}
_PLAIN = re.compile(r"https?://[a-z0-9.-]+(?::[0-9]{1,5})?/[\w.~:/?\[\]@!$&'()*+,;=%-]*", re.ASCII)
"""A link that is written as it is sent, and that no two libraries read differently."""


class LinkHttp:
    """Gets what links lead to. Redirects are followed; where to is judged anew for each, by the rules."""

    def __init__(self, timeouts: Timeouts, watch: Watch, rules: LinkRules = LinkRules.HTTPS) -> None:
        self._timeouts = timeouts
        self._watch = watch
        self._rules = rules
        self._manner = Manner(_HEADERS, timeouts.connect_s, timeouts.read_s, rules)
        self._ways: dict[tuple[str, Proxy | None], LinkWay] = {}
        self._by_host: dict[tuple[str, str], LinkWay] = {}

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[LinkBody]:
        """Open a download.

        Raises:
            LinkFailed: no connection, or a status other than 200.
        """
        with self._watch.exchange("GET", link_route(url)) as seen:
            answer = await self._answer(url)
            try:
                seen.status = answer.status
                if answer.status != 200:
                    dead = answer.status in _DEAD
                    raise LinkFailed(f"the link answered HTTP {answer.status}", dead=dead)
                yield LinkBody(answer, self._timeouts.link_s, self._watch)
            finally:
                seen.received_bytes = answer.received_bytes
                await answer.aclose()

    async def aclose(self) -> None:
        """Close all connections."""
        for way in self._ways.values():
            await way.aclose()

    async def _answer(self, url: str) -> LinkAnswer:
        try:
            with anyio.move_on_after(self._timeouts.free_s):
                return await self._followed(url)
        except LinkFailed:
            raise
        except ValueError as error:
            # In whatever form, these quote the link, or the part of it that they do not like.
            raise LinkFailed(f"the link cannot be opened: it is malformed ({type(error).__name__})") from None
        except Exception as error:
            said = self._watch.words(failure_words(error))
            raise LinkFailed(f"the link cannot be opened: {said}") from None
        raise LinkFailed("the link's host did not answer in time")

    async def _followed(self, url: str) -> LinkAnswer:
        """What a link leads to in the end; of a redirect the head is read, and never the body."""
        for _ in range(_MOST_REDIRECTS + 1):
            url = as_sent(url)
            refuse_link(url, self._rules)
            answer = await self._way(url).get(url)
            there = answer.header("Location") if answer.status in _REDIRECTS else ""
            if not there:
                return answer
            await answer.aclose()
            url = _from(url, there)
        raise LinkFailed(f"the link redirects more than {_MOST_REDIRECTS} times")

    def _way(self, url: str) -> LinkWay:
        """The environment is asked once for each host: that takes as long as half a request."""
        scheme, host, *_ = urlsplit(url)
        if (known := self._by_host.get((scheme, host))) is not None:
            return known
        proxy = proxy_for(url)
        if (scheme, proxy) not in self._ways:
            self._ways[scheme, proxy] = way_of_links(url, proxy, self._manner)
        if len(self._by_host) >= _MOST_HOSTS:
            self._by_host.clear()
        way = self._by_host[scheme, host] = self._ways[scheme, proxy]
        return way


class LinkBody:
    """The body of an opened link; see `base.Body`."""

    def __init__(self, answer: LinkAnswer, deadline_s: float, watch: Watch) -> None:
        self._answer = answer
        self._deadline_s = deadline_s
        self._watch = watch
        announced = answer.header("Content-Length")
        self.size_bytes: int | None = int(announced) if announced.isdecimal() else None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about 1 MiB.

        Raises:
            LinkFailed: it broke off, took longer than its deadline, or has not the length that was announced.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + self._deadline_s
        waiting: list[bytes] = []
        size = total = 0
        try:
            async with aclosing(unpacked(self._answer.codings, self._answer.chunks())) as chunks:
                async for chunk in chunks:
                    waiting.append(chunk)
                    size += len(chunk)
                    total += len(chunk)
                    if now() > deadline:
                        raise LinkFailed(f"the download took longer than {self._deadline_s:g} s")
                    if size >= PIECE_BYTES:
                        yield b"".join(waiting)
                        waiting, size = [], 0
        except LinkFailed:
            raise
        except Exception as error:
            why = self._watch.words(failure_words(error))
            raise LinkFailed(f"the download broke off after {total} bytes: {why}") from None
        on_the_wire = self._answer.received_bytes
        if self.size_bytes is not None and on_the_wire != self.size_bytes:
            raise LinkFailed(f"the download has {on_the_wire} bytes, {self.size_bytes} were announced")
        if size:
            yield b"".join(waiting)


def as_sent(url: str) -> str:
    """An address as it goes out: one that is plain as it is spelt, of others what is no ASCII encoded.

    Raises:
        ValueError: it is none of HTTP.
    """
    if _PLAIN.fullmatch(url):
        return url
    import httpx

    try:
        found = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(str(error)) from None
    if found.scheme not in ("http", "https") or not found.host:
        raise ValueError
    return str(found)


def _from(url: str, location: str) -> str:
    """Where a redirect leads. A path is left as it is spelt, which `urljoin` does not do with `//` in it."""
    if location.startswith("/") and not location.startswith("//"):
        scheme, host, *_ = urlsplit(url)
        return f"{scheme}://{host}{location}"
    return urljoin(url, location)
