"""No URL leads the service to this machine or its network: what is allowed is listed, not what is forbidden.

An address passes in its one canonical spelling and from public ranges only, a name if it has the form of a
public one. What a name resolves to is judged anew before each connection, which then goes to that address.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from nanobanana_batch.service import contract

Address = IPv4Address | IPv6Address

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
_PORTS = {"http": 80, "https": 443}

_LOCAL_SUFFIXES = (
    *(".localhost", ".localdomain", ".local", ".internal", ".intranet", ".lan", ".home", ".home.arpa"),
    *(".corp", ".private", ".test", ".invalid", ".onion", ".alt"),
)

_INTERNAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8",  # this host
            "10.0.0.0/8",
            "100.64.0.0/10",  # behind a carrier's NAT
            "127.0.0.0/8",
            "168.63.129.16/32",  # a cloud's own, though it looks public
            "169.254.0.0/16",  # link-local, metadata of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",  # protocol assignments
            "192.0.2.0/24",  # documentation
            "192.31.196.0/24",  # AS112
            "192.52.193.0/24",  # AMT
            "192.88.99.0/24",  # 6to4 relays
            "192.168.0.0/16",
            "192.175.48.0/24",  # AS112
            "198.18.0.0/15",  # benchmarks
            "198.51.100.0/24",  # documentation
            "203.0.113.0/24",  # documentation
            "224.0.0.0/4",  # multicast
            "240.0.0.0/4",  # reserved, broadcast
        ),
    )
)
# Outside of 2000::/3 lie ::, ::1, IPv4-mapped and -compatible, NAT64, ULA, link-local, site-local, multicast.
_PUBLIC_V6 = IPv6Network("2000::/3")
_INTERNAL_V6 = tuple(
    map(
        IPv6Network,
        (
            "2001::/23",  # protocol assignments: Teredo, benchmarks, ORCHID
            "2001:db8::/32",  # documentation
            "2002::/16",  # 6to4: any IPv4 address
            "2620:4f:8000::/48",  # AS112
            "3fff::/20",  # documentation
        ),
    )
)
_LOOPBACK_V4, _LOOPBACK_V6 = IPv4Network("127.0.0.0/8"), IPv6Address("::1")


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
    """What the URL alone shows; `allow_loopback` also lets plain HTTP to a loopback address through."""
    scheme, authority, path = _split(url)
    host, port, address = _place(authority)
    target = Target(scheme, host, port or _PORTS[scheme], path, address)
    if scheme == "https":
        judged(() if address is None else (host,))
    elif not (allow_loopback and address is not None and is_loopback(address)):
        raise AddressRefused("must be an https URL.")
    return target


def judged(answers: Iterable[str]) -> tuple[Address, ...]:
    """All of a name's addresses or none: one internal address among them is enough to refuse it."""
    addresses = tuple(ip_address(answer) for answer in answers)
    if not all(map(is_public, addresses)):
        raise AddressRefused("must not lead to an internal address.")
    return addresses


def is_public(address: Address) -> bool:
    """Whether an address is one that a stranger on the internet could have."""
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _INTERNAL_V4)
    return address in _PUBLIC_V6 and not any(address in network for network in _INTERNAL_V6)


def is_loopback(address: Address) -> bool:
    """127.0.0.0/8 and ::1, and no other spelling of them."""
    return address in _LOOPBACK_V4 if isinstance(address, IPv4Address) else address == _LOOPBACK_V6


def _split(url: object) -> tuple[str, str, str]:
    if not isinstance(url, str) or _NOT_IN_A_URL.search(url):
        raise AddressRefused("must be a URL of visible ASCII characters.")
    if len(url) > contract.URL_MAX_CHARS:
        raise AddressRefused(f"is longer than {contract.URL_MAX_CHARS} characters.")
    parts = _URL.fullmatch(url)
    if parts is None:
        raise AddressRefused("must be an https URL.")
    return parts["scheme"].lower(), parts["authority"], (parts["path"] or "/") + (parts["query"] or "")


def _place(authority: str) -> tuple[str, int | None, Address | None]:
    """Host, port if given, and the address if the host is one."""
    parts = _AUTHORITY.fullmatch(authority)
    port = int(parts["port"]) if parts and parts["port"] else None
    if parts is None or (port or 0) > 65535:
        raise AddressRefused("must name a plain host without a user, and a port from 1 to 65535 if any.")
    host = (parts["ipv6"] or parts["host"]).lower()
    if parts["ipv6"]:
        return host, port, _written(IPv6Address, host)
    if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
        return host, port, _written(IPv4Address, host)
    _check_name(host.removesuffix("."))
    return host, port, None


def _written(kind: type[IPv4Address] | type[IPv6Address], text: str) -> Address:
    """Only the one spelling: decimal, octal, hexadecimal and shortened ones hide an address."""
    try:
        return kind(text)
    except ValueError as error:
        raise AddressRefused("must write an address in its usual form.") from error


def _check_name(name: str) -> None:
    if len(name) > 253 or not all(_LABEL.fullmatch(label) for label in name.split(".")):
        raise AddressRefused("must name a host as in DNS.")
    if "." not in name or name.endswith(_LOCAL_SUFFIXES):
        raise AddressRefused("must not name a host of a local network.")
