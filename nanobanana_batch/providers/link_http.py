"""Downloads from hosts that are not the provider's: no key goes there, and each step of the way is judged."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager

import anyio
import httpx

from nanobanana_batch.errors import LinkFailed
from nanobanana_batch.providers.failure_words import failure_words
from nanobanana_batch.providers.http import Timeouts, _chunks, _no_cookies
from nanobanana_batch.providers.link_rules import LinkRules
from nanobanana_batch.providers.tasks.encoding import USER_AGENT
from nanobanana_batch.providers.transports import PooledTransport, Steps
from nanobanana_batch.providers.watch import Watch, link_route

PIECE_BYTES = 1 << 20
_DEAD = {403, 404, 410}
_LINK_REDIRECTS = 5


class LinkHttp:
    """Downloads from hosts that are not the provider's: without the key, redirects are followed.

    Where to is judged anew for each of them, by the rules.
    """

    def __init__(self, timeouts: Timeouts, watch: Watch, rules: LinkRules = LinkRules.HTTPS) -> None:
        self._timeouts = timeouts
        self._watch = watch
        self._client = httpx.AsyncClient(
            headers={"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": USER_AGENT},
            timeout=httpx.Timeout(timeouts.read_s, connect=timeouts.connect_s),
            transport=PooledTransport(rules),
            follow_redirects=False,
            cookies=_no_cookies(),
        )

    @asynccontextmanager
    async def open(self, url: str) -> AsyncIterator[LinkBody]:
        """Open a download.

        Raises:
            LinkFailed: no connection, or a status other than 200.
        """
        with self._watch.exchange("GET", link_route(url)) as seen:
            async with AsyncExitStack() as stack:
                response = await self._response(url, stack)
                seen.status = response.status_code
                if response.status_code != 200:
                    dead = response.status_code in _DEAD
                    raise LinkFailed(f"the link answered HTTP {response.status_code}", dead=dead)
                try:
                    yield LinkBody(response, self._timeouts.link_s, self._watch)
                finally:
                    seen.received_bytes = response.num_bytes_downloaded

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def _response(self, url: str, stack: AsyncExitStack) -> httpx.Response:
        steps = Steps()
        try:
            async with steps.closing_what_failed():
                with anyio.fail_after(self._timeouts.free_s):
                    response = await self._followed(url, steps)
                    stack.push_async_callback(response.aclose)
                    return response
        except LinkFailed:
            raise
        except TimeoutError as error:
            raise LinkFailed("the link's host did not answer in time") from error
        except (httpx.InvalidURL, httpx.UnsupportedProtocol, ValueError) as error:
            # In whatever form, these quote the link, or the part of it that they do not like.
            raise LinkFailed(f"the link cannot be opened: it is malformed ({type(error).__name__})") from None
        except Exception as error:
            raise LinkFailed(
                f"the link cannot be opened: {self._watch.words(failure_words(error))}"
            ) from None

    async def _followed(self, url: str, steps: Steps) -> httpx.Response:
        """What a link leads to in the end; of a redirect the head is read, and never the body."""
        request = self._client.build_request("GET", url, extensions={"trace": steps})
        for _ in range(_LINK_REDIRECTS + 1):
            response = await self._client.send(request, stream=True)
            if response.next_request is None:
                return response
            await response.aclose()
            request = response.next_request
        raise LinkFailed(f"the link redirects more than {_LINK_REDIRECTS} times")


class LinkBody:
    """The body of an opened link; see `base.Body`."""

    def __init__(self, response: httpx.Response, deadline_s: float, watch: Watch) -> None:
        self._response = response
        self._deadline_s = deadline_s
        self._watch = watch
        announced = response.headers.get("content-length", "")
        self.size_bytes: int | None = int(announced) if announced.isdecimal() else None

    async def pieces(self) -> AsyncGenerator[bytes, None]:
        """The bytes in pieces of about 1 MiB.

        Raises:
            LinkFailed: it broke off, took longer than its deadline, or has not the length that was announced.
        """
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
        except LinkFailed:
            raise
        except Exception as error:
            why = self._watch.words(failure_words(error))
            raise LinkFailed(f"the download broke off after {total} bytes: {why}") from None
        on_the_wire = self._response.num_bytes_downloaded
        if self.size_bytes is not None and on_the_wire != self.size_bytes:
            raise LinkFailed(f"the download has {on_the_wire} bytes, {self.size_bytes} were announced")
        if waiting:
            yield bytes(waiting)
