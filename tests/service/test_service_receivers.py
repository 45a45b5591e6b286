"""No receiver can hold a task up, fill the service's memory or pass for another."""

from __future__ import annotations

import asyncio
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from nanobanana_batch.service import network
from nanobanana_batch.service.network import Address, Connection, Target, connect
from tests.service.callback_world import (
    OK,
    PATIENCE_S,
    PUBLIC_V4,
    World,
    local,
    outcome,
    reply,
    serving,
    settled,
)

if TYPE_CHECKING:
    from tests.service.conftest import NewReceiver, Until


def test_a_receiver_that_says_nothing_is_given_up(tmp_path: Path, receive: NewReceiver, until: Until) -> None:
    receiver = receive(lambda number: None)
    with serving(tmp_path, local(timeout_s=0.05), allow_loopback_callbacks=True) as service:
        assert outcome(service, until, receiver.url()) == {"failed": 1}
    assert len(receiver.requests) == 4


def test_a_name_that_takes_for_ever_to_resolve_is_given_up(tmp_path: Path, until: Until) -> None:
    """The time limit is of the whole attempt."""

    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.get_running_loop().create_future()
        return [PUBLIC_V4]

    with serving(tmp_path, local(resolve=resolve, timeout_s=0.02)) as service:
        assert outcome(service, until, "https://hooks.example.com/") == {"failed": 1}


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (b"", "failed"),
        (b"HTTP/1.1 200 OK\r\n", "failed"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", "failed"),
        (b"HTTP/1.1 20 OK\r\n\r\n", "failed"),
        (b"HTTP/9.1 200 OK\r\n\r\n", "failed"),
        (b"220 mail.example.com ESMTP\r\n\r\n", "failed"),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 10_000 + b"\r\n", "failed"),
        (b"\x00" * 100_000, "failed"),
        (b"HTTP/1.1 103 Early Callbacks\r\nLink: </a>\r\n\r\n" + OK, "delivered"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + reply(500), "failed"),
        (b"HTTP/1.0 200\r\n\r\n", "delivered"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nonly this", "delivered"),
    ],
    ids=lambda value: f"{value!a:.40}",
)
def test_what_is_no_answer_is_no_success(
    tmp_path: Path, receive: NewReceiver, until: Until, answer: bytes, verdict: str
) -> None:
    receiver = receive(lambda number: answer)
    with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
        assert outcome(service, until, receiver.url()) == {verdict: 1}


def test_an_endless_reply_is_not_read(tmp_path: Path, until: Until) -> None:
    """The connection is closed after the head: a receiver cannot fill memory, or hold a place."""
    sent_bytes: list[int] = []

    def flood(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(PATIENCE_S)
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            try:
                while sum(sent_bytes) < 1 << 30:
                    sent_bytes.append(connection.send(bytes(1 << 16)))
            except ConnectionError:
                return

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=flood, args=(listener,))
        thread.start()
        with serving(tmp_path, local(), allow_loopback_callbacks=True) as service:
            port = listener.getsockname()[1]
            assert outcome(service, until, f"http://127.0.0.1:{port}/") == {"delivered": 1}
            thread.join(PATIENCE_S)
    assert not thread.is_alive()
    assert sum(sent_bytes) < 1 << 26


def test_receivers_that_hang_hold_no_task_up(tmp_path: Path, until: Until) -> None:
    """Nor are there ever more connections than places; what waits for one is on disk."""
    places, tasks = 64, 80
    open_now, most, release = 0, 0, threading.Event()

    async def hang(target: Target, address: Address) -> Connection:
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        await asyncio.to_thread(release.wait, PATIENCE_S)
        open_now -= 1
        raise ConnectionRefusedError

    with serving(tmp_path, local(connect=hang)) as service:
        for _ in range(tasks):
            service.submit(f"https://{PUBLIC_V4}/")
        until(lambda: service.http.get("/admin/ledger").json()["failed"] == tasks)
        until(lambda: open_now == places)
        assert service.counts() == {"owed": tasks}
        release.set()
        until(lambda: service.counts() == {"failed": tasks})
    assert most == places


def test_one_that_breaks_the_sender_breaks_no_other(
    tmp_path: Path, receive: NewReceiver, until: Until, caplog: pytest.LogCaptureFixture
) -> None:
    """Whatever goes wrong with a callback is that callback's alone."""

    async def resolve(host: str, port: int) -> list[str]:
        raise RuntimeError("a defect")

    receiver = receive()
    with serving(tmp_path, local(resolve=resolve), allow_loopback_callbacks=True) as service:
        service.submit("https://hooks.example.com/")
        service.submit(receiver.url())
        assert until(lambda: settled(service, 2)) == {"failed": 1, "delivered": 1}
    assert "a defect" in caplog.text


# HTTPS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For hooks.example.com, with its key in one file."""
    folder = tmp_path_factory.mktemp("certificate")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
    names = ["-subj", "/CN=hooks.example.com", "-addext", "subjectAltName=DNS:hooks.example.com"]
    subprocess.run([*command.split(), *names], cwd=folder, check=True, capture_output=True)
    both = folder / "both.pem"
    both.write_bytes((folder / "cert.pem").read_bytes() + (folder / "key.pem").read_bytes())
    return both


class SecureReceiver:
    """Speaks TLS on loopback; says 200 to each request, and which name each client asked for."""

    def __init__(self, certificate: Path) -> None:
        self.names: list[str | None] = []
        self.requests: list[bytes] = []
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = lambda connection, name, context: self.names.append(name)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> SecureReceiver:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(PATIENCE_S)
                self._answer(connection)

    def _answer(self, connection: socket.socket) -> None:
        try:
            with self._context.wrap_socket(connection, server_side=True) as secure:
                self.requests.append(secure.recv(65536))
                secure.sendall(OK)
        except OSError:
            return


def trusting(certificate: Path | None) -> Callable[[], ssl.SSLContext]:
    return lambda: ssl.create_default_context(cafile=certificate)


@pytest.mark.parametrize(
    ("host", "trusted", "verdict"),
    [
        ("hooks.example.com", True, "delivered"),
        ("hooks.example.com.", True, "delivered"),
        ("other.example.com", True, "failed"),
        ("hooks.example.com", False, "failed"),
    ],
)
def test_the_name_is_proved_and_the_address_is_the_judged_one(
    tmp_path: Path,
    certificate: Path,
    until: Until,
    monkeypatch: pytest.MonkeyPatch,
    host: str,
    trusted: bool,
    verdict: str,
) -> None:
    """The name, which no DNS knows, is in the handshake and the Host header; its certificate is checked."""
    monkeypatch.setattr(network, "_tls", trusting(certificate if trusted else None))
    world = World({host: [[PUBLIC_V4]]})

    async def connect_here(target: Target, address: Address) -> Connection:
        assert str(address) == PUBLIC_V4
        return await connect(target, IPv4Address("127.0.0.1"))

    with (
        SecureReceiver(certificate) as receiver,
        serving(tmp_path, local(resolve=world.resolve, connect=connect_here)) as service,
    ):
        assert outcome(service, until, f"https://{host}:{receiver.port}/hook") == {verdict: 1}
        assert set(receiver.names) == {host.removesuffix(".")}
        got = b"".join(receiver.requests)
    if verdict == "delivered":
        assert got.startswith(b"POST /hook HTTP/1.1\r\n")
        assert f"\r\nHost: {host}:{receiver.port}\r\n".encode() in got
    else:
        assert got == b""


def test_the_default_trusts_what_the_machine_trusts() -> None:
    context = network._tls()
    assert context.verify_mode == ssl.CERT_REQUIRED
    assert context.check_hostname
