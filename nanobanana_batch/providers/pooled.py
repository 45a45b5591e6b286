"""What aiohttp's pool of connections leaves open: replies that nobody asked for, bodies without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import aiohttp


class Asked(aiohttp.ClientRequest):
    """A request that is answered by what comes after it: for `request_class` of a session.

    What a server has sent on a kept connection before that would be taken for the answer, and be another's.
    """

    async def send(self, conn: aiohttp.connector.Connection) -> aiohttp.ClientResponse:
        """See there; a connection on which something has come meanwhile is as good as closed."""
        if conn.protocol is not None and conn.protocol.should_close:
            raise aiohttp.ServerDisconnectedError
        return await super().send(conn)


async def body_of(response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    """The body as it comes on the wire; of errors the library's own."""
    with _hearing_the_end(response):
        while chunk := await response.content.readany():
            yield chunk


@contextmanager
def _hearing_the_end(response: aiohttp.ClientResponse) -> Iterator[None]:
    """Where a body goes on as no HTTP aiohttp closes the connection, and lets wait who reads, for ever."""
    connection = response.connection
    protocol = None if connection is None else connection.protocol
    closed = None if protocol is None else protocol.closed
    if closed is None:
        yield  # it has all come, or the reader was told
        return

    def end(closed: asyncio.Future[None]) -> None:
        if not closed.cancelled():
            closed.exception()  # else it is complained about that nobody has looked
        content = response.content
        if not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the reply goes on as no HTTP"))

    closed.add_done_callback(end)
    try:
        yield
    finally:
        closed.remove_done_callback(end)
