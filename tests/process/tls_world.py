"""A provider that can only be reached through a proxy: nobody else knows its name, and it speaks TLS."""

from __future__ import annotations

import re
import select
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

HOST = "api.nanobanana.test"
BASE_URL = f"https://{HOST}"
_FOLDER = Path(__file__).parent / "tls"
AUTHORITY = _FOLDER / "ca.pem"
"""Who has signed the provider's certificate; its key is lost, and the server's is of no use elsewhere."""
CERTIFICATE = _FOLDER / "server.pem"
"""With its key."""
AUTH = ("somebody", "proxy-password-71f0c2")


@dataclass
class Proxy:
    """Speaks SOCKS5 and HTTP on one port, and knows the provider's name."""

    port: int
    needs_auth: bool = False
    is_mute: bool = False
    """It hangs up in the midst of what it is asked."""
    asked: list[tuple[str, int]] = field(default_factory=list)
    """Host and port of each connection."""

    def url(self, scheme: str, *, auth: bool = False) -> str:
        """As people write it into a variable."""
        return f"{scheme}://{':'.join(AUTH) + '@' if auth else ''}127.0.0.1:{self.port}"


@contextmanager
def proxied(service_url: str, *, needs_auth: bool = False) -> Iterator[Proxy]:
    """A proxy, and behind it the service as `BASE_URL`; its links are plain HTTP at the same name."""
    port = urlsplit(service_url).port
    assert port is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)

    def front(client: socket.socket) -> None:
        with context.wrap_socket(client, server_side=True) as inner:
            _relay(inner, ("127.0.0.1", port))

    with ExitStack() as stack:
        tls_port = stack.enter_context(_listening(front))
        places = {443: ("127.0.0.1", tls_port), 80: ("127.0.0.1", port)}
        proxy = Proxy(0, needs_auth)
        proxy.port = stack.enter_context(_listening(lambda client: _serve(client, proxy, places)))
        yield proxy


@contextmanager
def _listening(serve: object) -> Iterator[int]:
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)

    def one(client: socket.socket) -> None:
        with client, suppress(OSError, ssl.SSLError, ValueError, IndexError):
            serve(client)  # type: ignore[operator]

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                threading.Thread(target=one, args=(client,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def _serve(client: socket.socket, proxy: Proxy, places: dict[int, tuple[str, int]]) -> None:
    first = client.recv(1, socket.MSG_PEEK)
    if proxy.is_mute:
        return
    if first == b"\x05":
        _socks(client, proxy, places)
    else:
        _http(client, proxy, places)


def _socks(client: socket.socket, proxy: Proxy, places: dict[int, tuple[str, int]]) -> None:
    """RFC 1928, as far as it is needed here: a name and a port, with or without a password."""
    _, count = _exactly(client, 2)
    methods = _exactly(client, count)
    wanted = 2 if proxy.needs_auth else 0
    if wanted not in methods:
        client.sendall(b"\x05\xff")
        return
    client.sendall(bytes([5, wanted]))
    if proxy.needs_auth:
        name = _exactly(client, _exactly(client, 2)[1])
        word = _exactly(client, _exactly(client, 1)[0])
        is_known = (name.decode(), word.decode()) == AUTH
        client.sendall(b"\x01\x00" if is_known else b"\x01\x01")
        if not is_known:
            return
    kind = _exactly(client, 4)[3]
    assert kind == 3, "the name is for the proxy to look up"
    host = _exactly(client, _exactly(client, 1)[0]).decode()
    port = int.from_bytes(_exactly(client, 2), "big")
    proxy.asked.append((host, port))
    if host != HOST:
        client.sendall(b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00")
        return
    client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
    _relay(client, places[port])


def _http(client: socket.socket, proxy: Proxy, places: dict[int, tuple[str, int]]) -> None:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += _exactly(client, 1)
    method, target, _ = head.split(b" ", 2)
    if proxy.needs_auth and b"proxy-authorization: basic" not in head.lower():
        client.sendall(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
        return
    if method == b"CONNECT":
        host, _, port = target.decode().rpartition(":")
        proxy.asked.append((host, int(port)))
        client.sendall(b"HTTP/1.1 200 Connected\r\n\r\n" if host == HOST else b"HTTP/1.1 502 No\r\n\r\n")
        if host == HOST:
            _relay(client, places[int(port)])
        return
    proxy.asked.append((urlsplit(target.decode()).hostname or "", 80))
    _relay(client, places[80], _to_origin(head))


def _to_origin(piece: bytes) -> bytes:
    """`GET http://host/path` as the host itself wants it."""
    return re.sub(rb"^([A-Z]+) http://[^/ ]+", rb"\1 ", piece)


def _relay(client: socket.socket, place: tuple[str, int], first: bytes = b"") -> None:
    """Everything, both ways, until one side has enough; one thread, since TLS bears no more."""
    with socket.create_connection(place) as server:
        server.sendall(first)
        other = {client: server, server: client}
        while True:
            is_waiting = isinstance(client, ssl.SSLSocket) and client.pending()
            for source in [client] if is_waiting else select.select(list(other), [], [], 60)[0]:
                piece = source.recv(65536)
                if not piece:
                    return
                other[source].sendall(_to_origin(piece))


def _exactly(client: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        piece = client.recv(count - len(found))
        if not piece:
            raise ValueError("it went away")
        found += piece
    return found
