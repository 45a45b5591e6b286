"""The only way out of the service: to an address that was judged, and to no other.

An address passes in its one canonical spelling and if a stranger on the internet could have it, a name if it
has the form of a public one. A name is resolved once for each connection, so that an answer that changes is
never connected to unjudged. Sockets are our own: no proxy, no redirect and no pool comes between.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from nanobanana_batch.service.contract import URL_MAX_CHARS, ApiError, invalid

Address = IPv4Address | IPv6Address
Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]

_MAX_HEAD_BYTES = 16 * 1024  # of a reply
_CHUNK_BYTES = 64 * 1024
_STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})[ \r]")
_PORTS = {"http": 80, "https": 443}

# One grammar for the check and for the connection: two parsers could read two hosts in one URL.
_URL = re.compile(
    r"(?P<scheme>https?)://(?P<authority>[^/?#]+)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?(?:#.*)?", re.IGNORECASE
)
_AUTHORITY = re.compile(
    r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<host>[0-9a-z.-]+))(?::(?P<port>[1-9][0-9]{0,4}))?", re.IGNORECASE
)
_NOT_IN_A_URL = re.compile(r"[^\x21-\x7e]|[\\<>\"{}|^`]")
_LABEL = re.compile(r"(?!-)[0-9a-z-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_LOCAL_SUFFIXES = (
    *(".localhost", ".localdomain", ".local", ".internal", ".intranet", ".lan", ".home", ".home.arpa"),
    *(".corp", ".private", ".test", ".invalid", ".onion", ".alt"),
)
_THOUGH_GLOBAL = (  # what `is_global` misses
    IPv4Network("168.63.129.16/32"),  # a cloud's own
    IPv4Network("192.0.0.0/24"),  # protocol assignments, of which the library knows some
    IPv4Network("192.31.196.0/24"),  # AS112, answered nearby
    IPv4Network("192.52.193.0/24"),  # AMT
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("192.175.48.0/24"),  # AS112
    IPv6Network("2001::/23"),  # protocol assignments: Teredo, benchmarks, ORCHID
    IPv6Network("2002::/16"),  # 6to4: any IPv4 address
    IPv6Network("2620:4f:8000::/48"),  # AS112
    IPv6Network("3fff::/20"),  # documentation
)
_UNICAST_V6 = IPv6Network("2000::/3")  # outside of it lie mapped, compatible, translated and site-local ones


def is_loopback(host: str) -> bool:
    """Whether a host, as a URL or a header names it, is this machine."""
    name = host.strip("[]").rstrip(".").lower()
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


class AddressRefused(Exception):
    """The URL leads, or may lead, where the service must not connect; the text goes on after its name."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a URL leads: to a name that is still to be resolved, or to an address that was judged."""

    scheme: str
    host: str  # lower case, without brackets
    port: int
    path: str  # with the query
    address: Address | None

    @property
    def authority(self) -> str:
        """For the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def target_of(url: object, *, allow_loopback: bool = False) -> Target:
    """What the URL alone shows; `allow_loopback` also lets plain HTTP to a loopback address through.

    Raises:
        AddressRefused: it is no https URL, or leads to this machine or its network, in whatever spelling.
    """
    if not isinstance(url, str) or _NOT_IN_A_URL.search(url):
        raise AddressRefused("must be a URL of visible ASCII characters.")
    if len(url) > URL_MAX_CHARS:
        raise AddressRefused(f"is longer than {URL_MAX_CHARS} characters.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise AddressRefused("must be an https URL.")
    scheme = parts["scheme"].lower()
    host, port, address = _place(parts["authority"])
    path = (parts["path"] or "/") + (parts["query"] or "")
    if scheme == "https":
        judged(() if address is None else (host,))
    elif not (allow_loopback and address is not None and address.is_loopback):
        raise AddressRefused("must be an https URL.")
    return Target(scheme, host, port or _PORTS[scheme], path, address)


def judged(answers: Iterable[str]) -> tuple[Address, ...]:
    """All of a name's addresses or none: one internal address among them is enough to refuse it.

    Raises:
        AddressRefused: one of them is none that a stranger on the internet could have.
    """
    addresses = tuple(ip_address(answer) for answer in answers)
    if not all(map(_is_public, addresses)):
        raise AddressRefused("must not lead to an internal address.")
    return addresses


def _is_public(address: Address) -> bool:
    if address.version == 6 and address not in _UNICAST_V6:
        return False
    is_known = any(address in network for network in _THOUGH_GLOBAL)
    return address.is_global and not address.is_multicast and not is_known


def _place(authority: str) -> tuple[str, int | None, Address | None]:
    """Host, port if given, and the address if the host is one."""
    parts = _AUTHORITY.fullmatch(authority)
    port = int(parts["port"]) if parts and parts["port"] else None
    if parts is None or (port or 0) > 65535:
        raise AddressRefused("must name a plain host without a user, and a port from 1 to 65535 if any.")
    host = (parts["ipv6"] or parts["host"]).lower()
    name = host.removesuffix(".")
    if parts["ipv6"] or _NUMBER.fullmatch(name.rpartition(".")[2]):
        return host, port, _written(IPv6Address if parts["ipv6"] else IPv4Address, host)
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise AddressRefused("must name a host as in DNS.")
    if "." not in name or name.endswith(_LOCAL_SUFFIXES):
        raise AddressRefused("must not name a host of a local network.")
    return host, port, None


def _written(kind: type[IPv4Address] | type[IPv6Address], text: str) -> Address:
    """Only the one spelling: decimal, octal, hexadecimal and shortened ones hide an address."""
    try:
        return kind(text)
    except ValueError as error:
        raise AddressRefused("must write an address in its usual form.") from error


async def resolve(host: str, port: int) -> list[str]:
    """The addresses of a name as this machine resolves it. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(place[0]) for *_, place in found]


async def connect(target: Target, address: Address) -> Connection:
    """To this address and no other; a certificate has to be that of the name. Raises OSError."""
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
        """A connection to where a URL leads.

        Raises:
            AddressRefused: not all that its name resolves to is public.
            OSError: nobody is there.
        """
        if target.address is not None:
            return await self.connect(target, target.address)
        addresses = judged(await self.resolve(target.host, target.port))
        if not addresses:
            raise OSError("the name has no address")
        return await self.connect(target, addresses[0])

    async def ask(self, target: Target, request: bytes, max_bytes: int = 0) -> tuple[int, bytes]:
        """Status and body of the final reply, of whose body more than `max_bytes` is never waited for.

        Raises:
            AddressRefused: as `reach`.
            OSError, EOFError, ValueError, asyncio.LimitOverrunError: no reply in time, or none in HTTP.
        """
        async with asyncio.timeout(self.timeout_s):
            reader, writer = await self.reach(target)
            try:
                writer.write(request)
                await writer.drain()
                status, body = 0, bytearray()
                while status < 200:
                    found = _STATUS_LINE.match(await reader.readuntil(b"\r\n\r\n"))
                    if found is None:
                        raise ValueError("the reply is no HTTP")
                    status = int(found[1])
                while max_bytes and len(body) <= max_bytes and (piece := await reader.read(_CHUNK_BYTES)):
                    body += piece
                return status, bytes(body)
            finally:
                writer.transport.abort()  # no more is read, and nobody is waited for

    async def fetch(self, url: str, max_bytes: int) -> bytes:
        """The bytes behind an https URL; redirects are not followed.

        Raises:
            ApiError: 400 where the URL may not or cannot be followed, 413 for more than `max_bytes`.
        """
        try:
            target = target_of(url)  # by HTTP/1.0 the body ends with the connection, and is not chunked
            request = f"GET {target.path} HTTP/1.0\r\nHost: {target.authority}\r\n\r\n".encode("ascii")
            status, body = await self.ask(target, request, max_bytes)
        except AddressRefused as refused:
            raise invalid(f"file_url {refused}", "file_url") from refused
        except (OSError, EOFError, ValueError, asyncio.LimitOverrunError) as error:
            raise invalid("file_url could not be downloaded.", "file_url") from error
        if status != 200:
            raise invalid("file_url leads to no file.", "file_url")
        if len(body) > max_bytes:
            raise ApiError(413, "request_too_large_error", f"The file is larger than {max_bytes} bytes.")
        return body
