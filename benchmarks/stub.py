"""The stub server of `stub.c`, compiled when it is needed: it must never be what a benchmark measures."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import tempfile
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

_SOURCE = Path(__file__).with_name("stub.c")
_ANSWERS_WITHIN_S = 30.0


@dataclass(frozen=True)
class Stub:
    """A server that is running."""

    port: int
    pid: int

    @property
    def base_url(self) -> str:
        """Where its API is."""
        return f"http://127.0.0.1:{self.port}"

    def counts(self) -> dict[str, int]:
        """What it was asked so far."""
        found: dict[str, int] = self._read("counts")
        return found

    def times(self) -> list[float]:
        """Seconds that each task took, in the order of their requests."""
        found: list[float] = self._read("times")
        return found

    def cpu_s(self) -> float:
        """Seconds of CPU that it used so far (Linux)."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / 100

    def _read(self, name: str) -> Any:
        with urllib.request.urlopen(f"{self.base_url}/stub/{name}", timeout=_ANSWERS_WITHIN_S) as reply:
            return json.load(reply)


@dataclass(frozen=True)
class Manner:
    """How it answers: see the head of `stub.c`."""

    median_s: float = 1.0
    sigma: float = 0.0
    throttle: float = 0.0
    estimate: float = 1.0
    retry_after_s: float = 0.0
    image_bytes: int = 200_000

    @property
    def words(self) -> tuple[float, ...]:
        """As the program takes them."""
        return self.median_s, self.sigma, self.throttle, self.estimate, self.retry_after_s


@contextmanager
def serving(manner: Manner, cpu: int | None = None) -> Iterator[Stub]:
    """Such a server on a free port, on a core of its own if one is named (`taskset`).

    Raises:
        SystemExit: there is no C compiler here.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [str(_compiled(folder)), "0", str(_image(folder, manner.image_bytes))]
        words += [str(each) for each in manner.words]
        pinned = [] if cpu is None else ["taskset", "-c", str(cpu)]
        with subprocess.Popen([*pinned, *words], stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            try:
                yield Stub(int(process.stdout.readline()), process.pid)
            finally:
                process.terminate()


def _compiled(folder: Path) -> Path:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise SystemExit(
            "the stub server is compiled from benchmarks/stub.c, and there is no C compiler here"
        )
    program = folder / "stub"
    subprocess.run([compiler, "-O2", "-o", str(program), str(_SOURCE), "-lm"], check=True)
    return program


def _image(folder: Path, size: int) -> Path:
    """A PNG of about so many bytes that nothing makes smaller."""
    side = max(int((size / 3) ** 0.5), 1)
    path = folder / "image.png"
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(path)
    return path
