"""The only way out of the service: to an address that was judged, and to no other.

A name is resolved once for each connection, so that an answer that changes is never connected to unjudged.
Sockets are our own: no proxy of the environment, no redirect and no pool comes between.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import cache

from nanobanana_batch.service.addresses import Address, Target, judged

_MAX_HEAD_BYTES = 16 * 1024  # of a reply

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name as this machine resolves it."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


async def connect(target: Target, address: Address) -> Connection:
    """To this address and no other; a certificate has to be that of the name."""
    secure = target.scheme == "https"
    return await asyncio.open_connection(
        str(address),
        target.port,
        limit=_MAX_HEAD_BYTES,
        flags=socket.AI_NUMERICHOST,
        ssl=_tls() if secure else None,
        server_hostname=target.host.removesuffix(".") if secure else None,
    )


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Network:
    """All that the service needs of the world outside; a test puts a world of its own here."""

    resolve: Callable[[str, int], Awaitable[Sequence[str]]] = resolve
    connect: Callable[[Target, Address], Awaitable[Connection]] = connect
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    timeout_s: float = 10.0  # of one attempt, from the name to the end of what is read

    async def reach(self, target: Target) -> Connection:
        """A connection to where a URL leads, if all that its name resolves to is public."""
        if target.address is not None:
            return await self.connect(target, target.address)
        addresses = judged(await self.resolve(target.host, target.port))
        if not addresses:
            raise OSError("the name has no address")
        return await self.connect(target, addresses[0])
