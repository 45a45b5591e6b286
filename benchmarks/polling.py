"""What asking about 1,000 tasks in flight costs, with batch reads, without, and with callbacks.

    python -m benchmarks.polling [--rows N] [--concurrency N] [--latency S]

Whole runs of the command with the provider's real profile: 3 s between two reads of a task, at most 10 reads
a second. For callbacks the service's way into the world is replaced: the name of the front, which a
person would bring, leads straight to the run's receiver on this machine, without TLS. All else is real.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn

from benchmarks.lines import Line, Scale, at_most, noted
from nanobanana_batch.results import read_results
from nanobanana_batch.service.app import make_app
from nanobanana_batch.service.faults import ExposedProtocol
from nanobanana_batch.service.network import Address, Connection, Network, Target
from nanobanana_batch.service.options import ServiceOptions

_FRONT = "front.example.com"
_PUBLIC = "93.184.216.34"
_READS = ("POST /v1/tasks/batch", "GET /v1/tasks/{task_id}")
_LOOK_S = 1.0
_STARTED_S = 30.0
_MOST_READS_PER_S = 10.0
"""Of the profile."""


@dataclass(frozen=True)
class Moment:
    """What the service has counted so far."""

    at_s: float
    submits: int
    reads: int
    requests: int


@dataclass(frozen=True)
class Figures:
    """One run."""

    rows: int
    completed: int
    moments: list[Moment]
    exit_code: int

    @property
    def seconds(self) -> float:
        """The whole run."""
        return self.moments[-1].at_s

    def steady(self, in_flight: int) -> tuple[float, float, float]:
        """Rows, reads and all requests a second, from when all are in flight until the last is submitted."""
        within = [moment for moment in self.moments if in_flight < moment.submits < self.rows]
        if len(within) < 2:
            raise SystemExit("there was no steady state; give more --rows")
        first, last = within[0], within[-1]
        took_s = last.at_s - first.at_s
        pairs = ((first.submits, last.submits), (first.reads, last.reads), (first.requests, last.requests))
        rows, reads, requests = ((after - before) / took_s for before, after in pairs)
        return rows, reads, requests


@contextmanager
def serving(options: ServiceOptions, network: Network) -> Iterator[str]:
    """The real application on a real port, in a thread, with a world of our own around it."""
    options.data_dir.mkdir(parents=True)
    with socket.create_server(("127.0.0.1", options.port)) as listener:
        protocol: Any = ExposedProtocol
        servers: list[uvicorn.Server] = []

        def run() -> None:  # the thread that opens the database is the one that uses it
            app = make_app(options, network)
            config = uvicorn.Config(
                app, http=protocol, lifespan="on", log_config=None, access_log=False, timeout_keep_alive=75
            )
            servers.append(uvicorn.Server(config))
            servers[0].run(sockets=[listener])

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield options.base_url
        finally:
            servers[0].should_exit = True
            thread.join()


def network_to(port: int) -> Network:
    """A world in which the front is a public host that hands every call on to a port of this machine."""

    async def resolve(host: str, _: int) -> list[str]:
        return [_PUBLIC] if host == _FRONT else []

    async def connect(_: Target, __: Address) -> Connection:
        return await asyncio.open_connection("127.0.0.1", port)

    return Network(resolve, connect)


def measure(folder: Path, manifest: Path, flags: list[str], options: ServiceOptions, hook: int) -> Figures:
    """One run to its end, looked at once a second."""
    with serving(options, network_to(hook)) as base_url:
        before = counted(base_url, time.monotonic())
        began = time.monotonic()
        process = subprocess.Popen(
            [
                *(sys.executable, "-c", "from nanobanana_batch.cli import main; main()", "run"),
                *(str(manifest), "--out", str(folder / "out"), "--base-url", base_url),
                *("--no-progress", *flags),
            ],
            env={**os.environ, "EVOLINK_API_KEY": "benchmark-key"},
            stderr=subprocess.DEVNULL,
        )
        moments = [before]
        while process.poll() is None:
            time.sleep(_LOOK_S)
            moments.append(counted(base_url, began))
    frame = read_results(folder / "out")
    completed = int((frame["status"] == "completed").sum())
    return Figures(len(frame), completed, moments, process.returncode)


def counted(base_url: str, began: float) -> Moment:
    """The service's own count of what it was asked."""
    end = time.monotonic() + _STARTED_S
    while True:
        try:
            with urllib.request.urlopen(f"{base_url}/admin/requests", timeout=_STARTED_S) as reply:
                counts: dict[str, int] = json.load(reply)
            break
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)  # it is only just starting
    by_route = [(name.rpartition(" ")[0], count) for name, count in counts.items() if "/admin/" not in name]
    return Moment(
        at_s=time.monotonic() - began,
        submits=sum(count for route, count in by_route if route == "POST /v1/images/generations"),
        reads=sum(count for route, count in by_route if route in _READS),
        requests=sum(count for _, count in by_route),
    )


def manifest_of(folder: Path, rows: int) -> Path:
    """Small pictures of as many prompts."""
    path = folder / "rows.csv"
    lines = [f"picture {n},gemini-3.1-flash-image-preview,1:1,0.5K" for n in range(rows)]
    path.write_text("\n".join(["prompt,model,aspect_ratio,resolution", *lines]) + "\n")
    return path


def free_port() -> int:
    """One that nobody listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


_WAYS = ("batch", "callbacks", "no batch")


def ways(
    rows: int, concurrency: int, latency_s: float, titles: Sequence[str] = _WAYS
) -> Iterator[tuple[str, Figures]]:
    """Each way of asking, one after the other."""
    hook = free_port()
    back = ["--callback-url", f"https://{_FRONT}/hook", "--callback-listen", f"127.0.0.1:{hook}"]
    for title in titles:
        batch_reads, more = title != "no batch", back if title == "callbacks" else []
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            options = ServiceOptions(
                data_dir=folder / "service", port=free_port(), latency_s=latency_s, batch_reads=batch_reads
            )
            flags = ["--concurrency", str(concurrency), "--submit-concurrency", "32", *more]
            yield title, measure(folder, manifest_of(folder, rows), flags, options, hook)


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    rows, concurrency, latency_s = (2400, 1000, 20.0) if is_full else (8, 8, 0.5)
    for title in _WAYS:
        # Where each is asked about alone, the profile's reads a second are all there are: fewer rows.
        times = 0.2 if title == "no batch" and is_full else 1.0
        yield from _lines(title, int(rows * times), int(concurrency * times), latency_s)


def _lines(title: str, rows: int, concurrency: int, latency_s: float) -> Iterator[Line]:
    (_, got), *_ = ways(rows, concurrency, latency_s, [title])
    name = f"{concurrency:,} in flight, {title}"
    note = f"{got.completed} of {rows} in {got.seconds:.0f} s, exit {got.exit_code}"
    yield noted(f"{name}: reads", got.moments[-1].reads / rows, "a row", note)
    if rows > concurrency:
        _, steady, _ = got.steady(concurrency)
        yield at_most(f"{name}: reads in steady state", _MOST_READS_PER_S, steady, "reads/s")


def main() -> None:
    """Print a line for each way of asking."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=3000)
    parser.add_argument("--concurrency", type=int, default=1000)
    parser.add_argument("--latency", type=float, default=20.0)
    given = parser.parse_args()
    print(
        "way of asking     rows/s  reads/s  requests/s   reads  reads/task  seconds   (per s: steady state)"
    )
    for title, got in ways(given.rows, given.concurrency, given.latency):
        rows, reads, requests = got.steady(given.concurrency)
        asked = got.moments[-1].reads
        print(
            f"{title:<16}{rows:8.1f}{reads:9.2f}{requests:12.1f}{asked:8}{asked / got.rows:12.3f}"
            f"{got.seconds:9.0f}   {got.completed} of {got.rows} completed, exit {got.exit_code}",
            flush=True,
        )


if __name__ == "__main__":
    main()
