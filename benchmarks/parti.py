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
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.results import read_results
from nanobanana_batch.service.embedded import EmbeddedService
from nanobanana_batch.service.ledger import read_ledger
from nanobanana_batch.service.options import ServiceOptions

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
    _, status, usage = os.wait4(process.pid, 0)
    return Figures(
        seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
        peak_mib=usage.ru_maxrss / 1024,
        exit_code=os.waitstatus_to_exitcode(status),
    )


def main() -> None:
    """Print the figures of a first and a second run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, default=Path("manifests/parti.yaml"))
    parser.add_argument("--latency", type=float, default=1.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "bench.yaml").write_text(_PROFILE)
        options = ServiceOptions(data_dir=folder / "service", latency_s=given.latency)
        with EmbeddedService(options) as service:
            words = [
                *(sys.executable, "-c", "from nanobanana_batch.cli import main; main()", "run"),
                *(str(given.manifest), "--out", str(folder / "out"), "--base-url", service.base_url),
                *("--provider", str(folder / "bench.yaml")),
            ]
            environment = {**os.environ, "EVOLINK_API_KEY": "benchmark-key"}
            for title in ("first run ", "second run"):
                figures = measure(words, environment)
                rows = len(read_results(folder / "out"))
                paid = read_ledger(folder / "service").summary.paid_tasks
                print(
                    f"{title}: {rows} rows, {paid} paid tasks, exit {figures.exit_code},"
                    f" {figures.seconds:.2f} s ({rows / figures.seconds:.0f} rows/s),"
                    f" {figures.cpu_seconds:.1f} s of CPU, peak {figures.peak_mib:.0f} MiB"
                )


if __name__ == "__main__":
    main()
