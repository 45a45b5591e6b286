"""Which proxy a request goes through: what the environment says, read as curl reads it, for every way alike.

httpx, aiohttp and urllib each read NO_PROXY differently: httpx fails on `[::1]` and on networks, and
none of the others knows networks. A paid request and its image would then go different ways.
"""

from __future__ import annotations

import os
import re
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from nanobanana_batch.errors import BadSurroundings

_PORTS = {"http": 80, "https": 443, "socks5": 1080, "socks5h": 1080}
"""Of the kinds of proxies that there is a way through, where the variable names no port."""
_SOCKS = ("socks5", "socks5h")
_HOST = re.compile(r"[\w.-]+|[0-9A-Fa-f:.]+(%\w+)?")


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy is. As a text it has no password."""

    scheme: str
    host: str
    port: int
    auth: tuple[str, str] | None = field(default=None, repr=False)

    @property
    def is_socks(self) -> bool:
        """Whether it speaks SOCKS; names are then looked up at the proxy, where they can be."""
        return self.scheme in _SOCKS

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def proxy_for(url: str) -> Proxy | None:
    """The proxy for this address; None: it is spoken to directly, as all of this machine is.

    Raises:
        BadSurroundings: a variable names no usable proxy.
    """
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    if is_this_machine(host) or _is_excepted(host, port):
        return None
    return named_proxy(parts.scheme)


def named_proxy(scheme: str) -> Proxy | None:
    """The proxy for addresses of this scheme, whatever NO_PROXY excepts.

    Raises:
        BadSurroundings: a variable names no usable proxy.
    """
    proxies = urllib.request.getproxies()
    for kind in (scheme, "all"):
        if value := proxies.get(kind, "").strip():
            return _read(value, _variable(f"{kind}_proxy"))
    return None


def is_this_machine(host: str) -> bool:
    """Whether a host is on loopback, by its name or address."""
    address = _address(host)
    return host.rstrip(".").lower() == "localhost" if address is None else address.is_loopback


def _variable(name: str) -> str:
    """As the person has spelled it."""
    return next((spelled for spelled in os.environ if spelled.lower() == name), name)


def _read(value: str, variable: str) -> Proxy:
    parts = _parts(value if "://" in value else f"http://{value}")
    if parts is None:
        raise BadSurroundings(
            f"The variable {variable} holds no address of a proxy; nothing was sent.",
            hint="It looks like http://proxy.example.com:8080. Correct it, or unset it.",
        )
    if parts.scheme not in _PORTS:
        raise BadSurroundings(
            f"The variable {variable} names a proxy of a kind that is not supported; nothing was sent.",
            hint="There is a way through http://, https://, socks5:// and socks5h://.",
        )
    if parts.scheme in _SOCKS and find_spec("socksio") is None:
        raise BadSurroundings(
            f"The variable {variable} names a SOCKS proxy, and the package for that is missing.",
            hint="pip install 'nanobanana-batch[socks]'",
        )
    auth = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
    return Proxy(parts.scheme, parts.hostname or "", parts.port or _PORTS[parts.scheme], auth)


def _parts(url: str) -> SplitResult | None:
    """None where it has no host that could be one, or a port that is none."""
    try:
        parts = urlsplit(url)
        is_one = parts.port != 0 and _HOST.fullmatch(parts.hostname or "") is not None
    except ValueError:
        return None
    return parts if is_one and parts.netloc.isprintable() else None


# --- what goes directly ----------------------------------------------------------------------------


def _is_excepted(host: str, port: int) -> bool:
    """Whether NO_PROXY holds for it."""
    of_environment = urllib.request.getproxies_environment()
    if not of_environment:  # on a Mac the system has such a list too
        return bool(urllib.request.proxy_bypass(host))
    return any(_covers(entry, host, port) for entry in _entries(of_environment.get("no", "")))


def _entries(text: str) -> Iterator[str]:
    """Between commas or blanks; some write addresses, of which the host counts."""
    for entry in re.split(r"[,\s]+", text):
        if found := entry.lower().rpartition("://")[2]:
            yield found


def _covers(entry: str, host: str, port: int) -> bool:
    address = _address(host)
    if entry == "*":
        return True
    if "/" in entry:
        return address is not None and _is_in(address, entry)
    name, entry_port = _split_port(entry)
    if entry_port not in (None, port):
        return False
    if address is not None:
        return address == _address(name)
    domain, name = name.removeprefix("*").strip("."), host.rstrip(".").lower()
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))


def _is_in(address: IPv4Address | IPv6Address, entry: str) -> bool:
    try:
        return address in ip_network(re.sub(r"[\[\]]", "", entry), strict=False)
    except ValueError:
        return False


def _split_port(entry: str) -> tuple[str, int | None]:
    """`host:port`, `[::1]:port` or either without a port; an IPv6 address may stand without brackets."""
    found = re.fullmatch(r"(\[[^\]]*\]|[^:]*):([0-9]{1,5})", entry)
    return (found[1], int(found[2])) if found else (entry, None)


def _address(host: str) -> IPv4Address | IPv6Address | None:
    try:
        found = ip_address(host.strip("[]"))
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
