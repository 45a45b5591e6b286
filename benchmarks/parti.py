"""The real job as whole processes: 1,632 prompts on the embedded service at concurrency 64, then again.

    python -m benchmarks.parti [--manifest FILE] [--latency S]

Prints rows per second, peak memory of the client, and what the second run, which has nothing to do, costs.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.lines import Line, Scale, at_most, noted
from benchmarks.process import Peak
from nanobanana_batch.results import read_results
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.ledger import read_ledger
from nanobanana_batch.service.options import ServiceOptions

_PARTI, _QUICK = Path("manifests/parti.yaml"), Path("manifests/quickstart.yaml")
_MOST_MIB = 114.0
_PROFILE = "extends: evolink\nname: bench\npoll_interval_s: 0.25\n"


@dataclass(frozen=True)
class Figures:
    """One process."""

    seconds: float
    cpu_seconds: float
    peak_mib: float
    exit_code: int


def measure(words: list[str], environment: dict[str, str], output: int | None = None) -> Figures:
    """Run a command to its end and account for it alone; what it prints goes to `output`, if given."""
    began = time.monotonic()
    process = subprocess.Popen(words, env=environment, stdout=output, stderr=output)
    peak = Peak(process.pid)
    _, status, usage = os.wait4(process.pid, 0)
    peak.join()
    return Figures(
        seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=peak.mib,
        exit_code=os.waitstatus_to_exitcode(status),
    )


def twice(manifest: Path, latency_s: float) -> Iterator[tuple[str, Figures, int, int]]:
    """A run and the same again: its figures, rows, and tasks that were paid for by then."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(_PROFILE)
        options = ServiceOptions(data_dir=folder / "service", latency_s=latency_s)
        with EmbeddedService(options) as service:
            words = [
                *(sys.executable, "-c", "from nanobanana_batch.cli import main; main()", "run"),
                *(str(manifest), "--out", str(folder / "out"), "--base-url", service.base_url),
                *("--provider", str(folder / "bench.yaml")),
            ]
            environment = {**os.environ, "EVOLINK_API_KEY": "benchmark-key"}
            for title in ("first run", "second run"):
                figures = measure(words, environment)
                rows = len(read_results(folder / "out"))
                paid = read_ledger(folder / "service").summary.paid_tasks
                yield title, figures, rows, paid


def lines(scale: Scale) -> Iterator[Line]:
    """See `benchmarks.lines`."""
    is_full = scale is Scale.FULL
    for title, figures, rows, paid in twice(_PARTI if is_full else _QUICK, 1.0 if is_full else 0.1):
        note = f"{rows} rows, {paid} paid tasks by then, exit {figures.exit_code}, {figures.seconds:.1f} s"
        name = f"the real job, {title}"
        yield noted(f"{name}: CPU", figures.cpu_seconds / rows * 1e3, "ms a row", note)
        yield at_most(f"{name}: memory", _MOST_MIB, figures.peak_mib, "MiB")


def main() -> None:
    """Print the figures of a first and a second run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, default=_PARTI)
    parser.add_argument("--latency", type=float, default=1.0)
    given = parser.parse_args()
    for title, figures, rows, paid in twice(given.manifest, given.latency):
        print(
            f"{title:<10}: {rows} rows, {paid} paid tasks, exit {figures.exit_code},"
            f" {figures.seconds:.2f} s ({rows / figures.seconds:.0f} rows/s),"
            f" {figures.cpu_seconds:.1f} s of CPU, peak {figures.peak_mib:.0f} MiB"
        )


if __name__ == "__main__":
    main()
