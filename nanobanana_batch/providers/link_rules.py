"""Where links of a provider may lead: to public hosts over HTTPS, and never into this machine's networks.

A link comes from a reply, a redirect or a state, any of which may be somebody else's. Its host is judged by
how it is written before each request, and by the address that is connected to: what a name resolves to is
known only then. Through a proxy the proxy resolves names, and only how they are written can be judged.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Any
from urllib.parse import urlsplit

from nanobanana_batch.errors import LinkFailed

_WAY_ON = "a profile may allow it with `links: {}`"
_NUMBER = re.compile(r"(?i)[0-9]+|0x[0-9a-f]*")
_LOCAL_NAMES = (
    *("localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "home.arpa", "corp"),
    *("private", "test", "invalid", "onion", "alt"),
)
_NOT_PUBLIC_V4 = tuple(
    map(IPv4Network, ("192.0.0.0/24", "192.88.99.0/24", "168.63.129.16/32"))  # the last: a cloud's own
)
_PUBLIC_V6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_STAND_INS = IPv4Network("198.18.0.0/15")
"""For benchmarks; what tunnels give in the place of every name's address, and resolve themselves."""


class LinkRules(StrEnum):
    """What a profile lets links lead to."""

    HTTPS = "https"
    HTTP = "http"
    ANYWHERE = "anywhere"


def rules_for(base_url: str, said: LinkRules) -> LinkRules:
    """Those of a profile, unless its provider is local itself: then its links are, too."""
    host = urlsplit(base_url).hostname or ""
    return LinkRules.ANYWHERE if _fault_of_host(host) else said


def refuse_link(url: str, rules: LinkRules) -> None:
    """Judge a link, or where one redirects to, by how it is written.

    Raises:
        LinkFailed: it leads, or may lead, where none of this provider's may; never for dead.
    """
    if rules is LinkRules.ANYWHERE:
        return
    parts = urlsplit(url)
    if fault := _fault_of_host(parts.hostname or ""):
        raise LinkFailed(f"the link leads to {fault}; {_WAY_ON.format(LinkRules.ANYWHERE)}")
    if parts.scheme != "https" and rules is not LinkRules.HTTP:
        raise LinkFailed(
            f"the link is plain HTTP, and the provider speaks HTTPS; {_WAY_ON.format(LinkRules.HTTP)}"
        )


def public_sockets(rules: LinkRules) -> Callable[[Any], socket.socket] | None:
    """What makes the sockets of direct connections, of each address anew; None where any will do."""
    if rules is LinkRules.ANYWHERE:
        return None

    def make(address_info: Any) -> socket.socket:
        family, kind, protocol, _, place = address_info
        address = ip_address(str(place[0]).partition("%")[0])
        if not (is_public(address) or address in _STAND_INS):
            why = f"it leads into a private network; {_WAY_ON.format(LinkRules.ANYWHERE)}"
            raise OSError(errno.EACCES, why)
        return socket.socket(family, kind, protocol)

    return make


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether a stranger on the internet could have it."""
    if isinstance(address, IPv4Address):
        is_odd = address.is_multicast or any(address in network for network in _NOT_PUBLIC_V4)
        return address.is_global and not is_odd
    if address in _NAT64:  # how a network without IPv4 reaches it
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    inside = address.ipv4_mapped or address.sixtofour
    if inside is not None:
        return is_public(inside)
    return address in _PUBLIC_V6 and address.is_global and address.teredo is None


def _fault_of_host(host: str) -> str:
    """What is wrong with it for a public one; nothing where only its address can tell."""
    host = host.rstrip(".").lower()
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is not None:
        return "" if is_public(address) else "an address that is not public"
    last = host.rpartition(".")[2]
    if _NUMBER.fullmatch(last) or ":" in host:
        return "an address in an unusual form"
    if "." not in host or any(host.endswith(f".{name}") for name in _LOCAL_NAMES):
        return "a host of a local network"
    return ""
