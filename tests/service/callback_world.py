"""What a callback may meet: a trap that nothing must reach, receivers, a service in a world of its own."""

from __future__ import annotations

import itertools
import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from email.message import Message
from email.parser import Parser
from functools import partial
from ipaddress import IPv4Address
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import uvicorn

from nanobanana_batch.service.app import make_app
from nanobanana_batch.service.faults import ExposedProtocol
from nanobanana_batch.service.network import Address, Connection, Network, Target, connect
from nanobanana_batch.service.options import Faults, ServiceOptions

if TYPE_CHECKING:
    from tests.service.conftest import Until

PATIENCE_S = 30.0
PUBLIC_V4, PUBLIC_V6 = "93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"
BODY = {"model": "nano-banana-beta", "prompt": "a lighthouse in fog"}
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
_prompts = itertools.count()


class Trap:
    """Counts every connection to one port, at all addresses of this machine, IPv4 and IPv6."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        self.port: int = self._listener.getsockname()[1]
        self._listener.setblocking(False)

    def connections(self) -> int:
        """How many came since the last look: the kernel completes them before anybody accepts."""
        count = 0
        with suppress(BlockingIOError):
            while True:
                self._listener.accept()[0].close()
                count += 1
        return count

    def close(self) -> None:
        self._listener.close()


@dataclass(frozen=True)
class Got:
    """One request as it arrived."""

    request_line: str
    headers: Message
    body: bytes


class Receiver:
    """Takes POSTs on loopback; `answer(n)` gives the n-th reply's bytes, or None to say nothing at all."""

    def __init__(self, answer: Callable[[int], bytes | None] = lambda number: OK) -> None:
        self.requests: list[Got] = []
        self.answer = answer
        self._changed = threading.Condition()
        self._closing = threading.Event()
        receiver = self

        class Handler(socketserver.StreamRequestHandler):
            def handle(self) -> None:
                with suppress(ConnectionError):
                    receiver._take(self)

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,))
        self._thread.start()

    def url(self, path: str = "/hook") -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _take(self, handler: socketserver.StreamRequestHandler) -> None:
        lines = list(iter(lambda: handler.rfile.readline().decode().rstrip("\r\n"), ""))
        if not lines:
            return
        headers = Parser().parsestr("\n".join(lines[1:]))
        got = Got(lines[0], headers, handler.rfile.read(int(headers["Content-Length"])))
        with self._changed:
            self.requests.append(got)
            number = len(self.requests)
            self._changed.notify_all()
        answer = self.answer(number)
        if answer is None:
            self._closing.wait(PATIENCE_S)
        else:
            handler.wfile.write(answer)

    def wait_for(self, count: int) -> list[Got]:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.requests) >= count, PATIENCE_S), self.requests
            return list(self.requests)

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@dataclass
class World:
    """Names with the answers they give one after the other, and what came of it; nothing leaves loopback."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    trap_port: int = 0
    asked: list[str] = field(default_factory=list)
    reached: list[str] = field(default_factory=list)
    waits_s: list[float] = field(default_factory=list)

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        answers = self.names.get(host)
        if answers is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return answers.pop(0) if len(answers) > 1 else answers[0]

    async def connect(self, target: Target, address: Address) -> Connection:
        """A public address is noted, and refuses; any other leads to the trap, so that a miss shows."""
        self.reached.append(str(address))
        if str(address) in (PUBLIC_V4, PUBLIC_V6):
            raise ConnectionRefusedError
        return await connect(replace(target, port=self.trap_port), IPv4Address("127.0.0.1"))

    async def sleep(self, seconds: float) -> None:
        self.waits_s.append(seconds)

    def network(self, **changes: Any) -> Network:
        return replace(Network(self.resolve, self.connect, self.sleep), **changes)


@dataclass(frozen=True)
class Service:
    """A running one, in this process."""

    http: httpx.Client

    def post(self, url: object, **headers: str) -> httpx.Response:
        body = {**BODY, "prompt": f"number {next(_prompts)}", "callback_url": url}
        return self.http.post("/v1/images/generations", json=body, headers=headers)

    def submit(self, url: str) -> str:
        reply = self.post(url)
        assert reply.status_code == 200, reply.text
        return str(reply.json()["id"])

    def counts(self) -> dict[str, int]:
        """Those that are not zero."""
        found: dict[str, int] = self.http.get("/admin/callbacks").json()
        return {name: count for name, count in found.items() if count}


class _Server:
    """Runs on a thread of its own, which also opens the database."""

    def __init__(self, options: ServiceOptions, network: Network, listener: socket.socket) -> None:
        self._make = partial(make_app, options, network)
        self._listener = listener
        self._server: uvicorn.Server | None = None
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        protocol: Any = ExposedProtocol
        config = uvicorn.Config(self._make(), http=protocol, lifespan="on", log_config=None, access_log=False)
        self._server = uvicorn.Server(config)
        self._server.run(sockets=[self._listener])


@contextmanager
def serving(data_dir: Path, network: Network, **options: Any) -> Iterator[Service]:
    """The real application on a real port; its tasks fail at once, nothing is drawn."""
    options = {"latency_s": 0.0, "faults": Faults(fail_task=1.0), **options}
    data_dir.mkdir(exist_ok=True)
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        port = listener.getsockname()[1]
        chosen = ServiceOptions(data_dir, port=port, **options)
        headers = {"Authorization": "Bearer key-of-this-test"}
        client = httpx.Client(base_url=chosen.base_url, headers=headers, timeout=30, trust_env=False)
        with _Server(chosen, network, listener), client as http:
            http.get("/v1/credits")  # once it answers, it runs, and can be ended
            yield Service(http)


def local(world: World | None = None, **changes: Any) -> Network:
    """Real connections on loopback, no real waiting."""
    return replace(Network(), sleep=(world or World()).sleep, **changes)


def reply(status: int, headers: str = "") -> bytes:
    return f"HTTP/1.1 {status} Some Reason\r\n{headers}Content-Length: 0\r\n\r\n".encode()


def settled(service: Service, count: int = 1) -> dict[str, int] | None:
    """The counts, once so many callbacks are over."""
    counts = service.counts()
    return counts if sum(counts.values()) == count and not counts.get("owed") else None


def outcome(service: Service, until: Until, url: str) -> dict[str, int]:
    """Of the service's first callback."""
    service.submit(url)
    counts: dict[str, int] = until(lambda: settled(service))
    return counts
