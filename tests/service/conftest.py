"""A real service on a real port: started as a child, spoken to over sockets."""

from __future__ import annotations

import itertools
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.ledger import Ledger, read_ledger
from nanobanana_batch.service.options import ServiceOptions
from tests.service.callback_world import OK, Receiver, Trap

BASE = {"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}
UNIFIED = {"model": "gemini-3-pro-image-preview", "prompt": "a lighthouse in fog"}
_accounts = itertools.count()


def _until(check: Callable[[], Any], deadline_s: float = 30.0) -> Any:
    """Polls until `check` says something true."""
    deadline = time.monotonic() + deadline_s
    while time.monotonic() < deadline:
        if value := check():
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {deadline_s} s")


class Api:
    """One account at one service."""

    def __init__(self, service: EmbeddedService, key: str) -> None:
        self.service = service
        self.key = key
        self.http = httpx.Client(
            base_url=service.base_url, headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
        )

    def post(self, body: Any, *, key: str | None = None, prefix: str = "") -> httpx.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"Idempotency-Key": key} if key else {}
        return self.http.post(f"{prefix}/v1/images/generations", content=content, headers=headers)

    def submit(self, body: Any = BASE, *, key: str | None = None, prefix: str = "") -> str:
        reply = self.post(body, key=key, prefix=prefix)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    def read(self, task: str, prefix: str = "") -> dict[str, Any]:
        reply = self.http.get(f"{prefix}/v1/tasks/{task}")
        assert reply.status_code == 200, reply.text
        value: dict[str, Any] = reply.json()
        return value

    def finished(self, task: str, prefix: str = "") -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            value = self.read(task, prefix)
            return value if value["status"] in ("completed", "failed") else None

        value: dict[str, Any] = _until(ended)
        return value

    def image(self, body: Any = BASE, prefix: str = "") -> bytes:
        """Submitted, waited for, downloaded."""
        task = self.finished(self.submit(body, prefix=prefix), prefix)
        assert task["status"] == "completed", task
        reply = self.http.get(task["results"][0])
        assert reply.status_code == 200
        return reply.content

    def admin(self, path: str) -> Any:
        return self.http.get(f"/admin/{path}").json()

    def faults(self, **changes: Any) -> None:
        reply = self.http.post("/admin/faults", json=changes)
        assert reply.status_code == 200, reply.text

    def ledger(self) -> Ledger:
        return read_ledger(self.service.options.data_dir)

    def raw(self, method: str, path: str, body: bytes = b"", headers: str = "") -> bytes:
        """Everything that the service sends until it closes the connection, byte for byte."""
        url = httpx.URL(self.service.base_url)
        assert url.port is not None
        head = (
            f"{method} {path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\nAuthorization: Bearer {self.key}\r\n"
        )
        head += f"{headers}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
        with socket.create_connection((url.host, url.port), timeout=30) as connection:
            connection.sendall(head.encode() + body)
            return b"".join(iter(lambda: connection.recv(65536), b""))


Start = Callable[..., Api]
NewReceiver = Callable[..., Receiver]
Until = Callable[..., Any]


@pytest.fixture
def until() -> Until:
    return _until


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a service of the test's own; `start(latency_s=0.2, ...)`."""
    with ExitStack() as stack:

        def begin(*, key: str = "key-of-this-test", data: str = "data", **options: Any) -> Api:
            merged: dict[str, Any] = {"latency_s": 0.0, **options}
            service = stack.enter_context(EmbeddedService(ServiceOptions(tmp_path / data, **merged)))
            api = Api(service, key)
            stack.callback(api.http.close)
            return api

        yield begin


@pytest.fixture(scope="session")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedService]:
    options = ServiceOptions(tmp_path_factory.mktemp("service"), latency_s=0.0)
    with EmbeddedService(options) as service:
        yield service


@pytest.fixture
def api(shared_service: EmbeddedService) -> Iterator[Api]:
    """An account of its own at a service that all tests share: for what needs no options."""
    api = Api(shared_service, f"account-{next(_accounts)}")
    yield api
    api.http.close()


@pytest.fixture
def receive() -> Iterator[NewReceiver]:
    """Receivers of callbacks, closed after the test; `receive(answer)`."""
    with ExitStack() as stack:

        def begin(answer: Callable[[int], bytes | None] = lambda number: OK) -> Receiver:
            receiver = Receiver(answer)
            stack.callback(receiver.close)
            return receiver

        yield begin


@pytest.fixture(scope="module")
def trap() -> Iterator[Trap]:
    """Where no connection may arrive; looking at it empties it."""
    trap = Trap()
    yield trap
    trap.close()
