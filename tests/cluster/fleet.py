"""A cluster of several nodes, a service with its ledger, and runs on them as processes of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nanobanana_batch.results import read_results
from tests.process.harness import KEY, Bench, bench, small_manifest, wrong_hashes

CPUS = 1
"""Of a node: so many shards at a time."""
_NODE = {"num_cpus": CPUS, "object_store_memory": 80 << 20}
_NOTICES_DEATHS_SOON = {
    "health_check_initial_delay_ms": 1000,
    "health_check_period_ms": 1000,
    "health_check_failure_threshold": 5,
}
_LONGEST_S = 240.0


@dataclass
class Machines:
    """Nodes that die and are replaced; the head has no place for a shard."""

    cluster: Any
    nodes: list[Any] = field(default_factory=list)

    def add(self, count: int = 1) -> None:
        """So many nodes more."""
        self.nodes += [self.cluster.add_node(**_NODE) for _ in range(count)]

    def kill(self, count: int = 1) -> None:
        """So many nodes, and all processes there, at once and without a word."""
        gone = [pid for node in self.nodes[:count] for pid in _below(_pids(node))]
        for node in self.nodes[:count]:
            self.cluster.remove_node(node, allow_graceful=False)
        for pid in filter(
            _is_alive, gone
        ):  # Ray leaves its workers alive for some moments, and no machine does
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        until(lambda: not any(map(_is_alive, gone)))
        del self.nodes[:count]


def limiters(machines: Machines) -> list[int]:
    """The processes that share limits just now, wherever they are."""
    nodes = [machines.cluster.head_node, *machines.nodes]
    pids = {pid for node in nodes for pid in _below(_pids(node))}
    return [pid for pid in sorted(pids) if b"_RayLimiter" in _command(pid)]


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def _pids(node: Any) -> list[int]:
    return [each.process.pid for several in node.all_processes.values() for each in several]


def _below(pids: list[int]) -> list[int]:
    """All processes that these have started, and theirs."""
    parents = {pid: _parent(pid) for pid in map(int, filter(str.isdecimal, os.listdir("/proc")))}
    found: list[int] = []
    news = set(pids)
    while news := {pid for pid, parent in parents.items() if parent in news and pid not in found}:
        found += sorted(news)
    return found


def _parent(pid: int) -> int:
    """0: it has ended, or ends just now."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0
    return 0 if fields[0] in "ZX" else int(fields[1])


def _is_alive(pid: int) -> bool:
    return bool(_parent(pid))


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """A head and so many nodes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"  # all of them talk on the loopback only
    from ray.cluster_utils import Cluster

    head = {
        "num_cpus": 0,
        "object_store_memory": 80 << 20,
        "include_dashboard": False,
        "_system_config": _NOTICES_DEATHS_SOON,
    }
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    try:
        made = Machines(cluster)
        made.add(count)
        yield made
    finally:
        cluster.shutdown()


@dataclass
class Fleet:
    """One run of a manifest on the machines."""

    bench: Bench
    machines: Machines
    shards: int
    name: str
    rows: int

    def __post_init__(self) -> None:
        self._of_others = self.bench.tasks_paid()

    @property
    def out(self) -> Path:
        return self.bench.folder / f"out-{self.name}"

    @property
    def journal(self) -> Path:
        return self.bench.folder / f"journal-{self.name}"

    def told(self, fact: str) -> int:
        """How often a fact is told in the journals of all shards."""
        parts = [path.read_bytes() for path in self.journal.glob("shard-*/*.jsonl")]
        return b"".join(parts).count(f'"fact":"{fact}"'.encode())

    def start(self, *flags: str) -> subprocess.Popen[str]:
        """The driver, as a process."""
        manifest = small_manifest(self.bench.folder, self.rows, self.name).absolute()
        words = ["run", str(manifest), "--out", str(self.out), *self.bench.where]
        words += ["--ray", self.machines.cluster.address, "--shards", str(self.shards)]
        words += ["--journal", str(self.journal), "--concurrency", "6", *flags]
        environment = {**os.environ, "EVOLINK_API_KEY": KEY}
        return subprocess.Popen(
            [sys.executable, "-m", "nanobanana_batch", *words],
            env=environment,
            cwd=self.bench.folder,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def paid(self) -> int:
        """Tasks that were paid since this run was thought of, as the service has them."""
        return len(self.bench.tasks_paid() - self._of_others)

    def images(self, home: Path | None = None) -> int:
        """Whole images of completed rows in the folders of all shards."""
        folders = sorted((home or self.out).glob(f"shard-*-of-{self.shards}"))
        assert [name for folder in folders for name in wrong_hashes(folder)] == []
        return sum(int((read_results(folder)["status"] == "completed").sum()) for folder in folders)


def ended(driver: subprocess.Popen[str]) -> tuple[int, str]:
    """Its exit code, and what it has said."""
    _, err = driver.communicate(timeout=_LONGEST_S)
    assert "Traceback" not in err, err
    assert KEY not in err
    return driver.returncode, err


def until(is_so: Callable[[], bool]) -> None:
    """Wait for something that other processes do."""
    end = time.monotonic() + _LONGEST_S
    while not is_so():
        assert time.monotonic() < end, "it never came"
        time.sleep(0.05)


@contextmanager
def service(folder: Path, *, latency_s: float) -> Iterator[Bench]:
    """It remembers no keys: whatever is sent once more is paid for once more, and stands in its ledger."""
    manifest = small_manifest(folder, 1)
    with bench(folder, manifest, latency_s=latency_s, idempotency="ignored") as running:
        yield running


def key_is_told(session: Path) -> list[str]:
    """Files of the cluster in which the provider's key stands."""
    files = (path for path in session.rglob("*") if path.is_file() and not path.is_symlink())
    return [str(path) for path in files if KEY.encode() in path.read_bytes()]
