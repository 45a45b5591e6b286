"""Two runs started together, and runs that are interrupted at every moment.

python -m tests.campaign.crowd --pairs 50 --step 0.01
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.results import read_results
from tests.process.harness import Bench, bench, small_manifest


@dataclass
class Tally:
    """How it went."""

    tries: int = 0
    paid_twice: int = 0
    unfinished: int = 0
    exits: dict[int, int] | None = None

    def count(self, code: int) -> None:
        """One more process that ended with this exit code."""
        self.exits = self.exits or {}
        self.exits[code] = self.exits.get(code, 0) + 1


def _judge(it: Bench, tally: Tally) -> None:
    tally.tries += 1
    tally.paid_twice = sum(count - 1 for count in it.bodies_paid().values())
    tally.unfinished += int((read_results(it.out)["status"] != "completed").sum())


def pairs(folder: Path, count: int) -> Tally:
    """Two processes on one new folder at the same moment, so many times: one works, one leaves with 4."""
    tally = Tally()
    table = small_manifest(folder, 4)
    with bench(folder, table, latency_s=0.1) as it:
        for number in range(count):
            own = Bench(
                folder, it.service, it.data, small_manifest(folder, 4, f"pair-{number}"), f"out-{number}"
            )
            both = [own.start(), own.start()]
            for process in both:
                process.communicate(timeout=120)
                tally.count(process.returncode)
            own.finish()
            _judge(own, tally)
    return tally


def interrupts(folder: Path, step_s: float, until_s: float) -> Tally:
    """One run after the other, each interrupted a step later than the one before, each resumed to its end."""
    tally = Tally()
    with bench(folder, small_manifest(folder, 4), latency_s=0.1) as it:
        for number in range(round(until_s / step_s)):
            own = Bench(
                folder, it.service, it.data, small_manifest(folder, 4, f"cut-{number}"), f"out-{number}"
            )
            process = own.start()
            try:
                process.wait(timeout=number * step_s)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGINT)
            process.communicate(timeout=120)
            tally.count(process.returncode)
            own.finish()
            _judge(own, tally)
    return tally


def main() -> None:
    """Print how it went; fail on anything paid twice or unfinished."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, default=50)
    parser.add_argument("--step", type=float, default=0.01)
    parser.add_argument("--until", type=float, default=1.5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        together = pairs(Path(name) / "pairs", given.pairs)
        print(f"started together: {together}", flush=True)
        cut = interrupts(Path(name) / "cuts", given.step, given.until)
        print(f"interrupted every {given.step:g} s: {cut}")
    if together.paid_twice or together.unfinished or cut.paid_twice or cut.unfinished:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
