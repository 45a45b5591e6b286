"""Kill a run again and again, resume it, and compare with a run that nobody touched.

python -m tests.campaign.kill --manifest manifests/parti.yaml --kills 20
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.results import read_results
from tests.process.harness import Bench, bench, wrong_hashes


@dataclass(frozen=True)
class Verdict:
    """What the service's ledger and the folder say after all kills."""

    kills: int
    rows: int
    completed: int
    paid: int
    paid_twice: int
    held: int
    wrong_hashes: int
    same_results: bool
    seconds: float


def campaign(
    folder: Path,
    manifest: Path,
    *,
    kills: int,
    span_s: float,
    flags: tuple[str, ...] = (),
    seed: int = 1,
    **options: object,
) -> Verdict:
    """Run to the end under kills at random moments of the first `span_s` seconds, and once undisturbed."""
    chance = random.Random(seed)
    began = time.monotonic()
    with bench(folder / "killed", manifest, seed=7, **options) as killed:
        done = _kill_often(killed, kills, span_s, chance, flags)
        last = killed.finish(*flags)
        paid = killed.bodies_paid()
        frame = read_results(killed.out)
    with bench(folder / "calm", manifest, seed=7, **options) as calm:
        calm.finish(*flags)
        same = (calm.out / "results.csv").read_bytes() == (killed.out / "results.csv").read_bytes()
    if last.returncode not in (0, 1):
        raise RuntimeError(last.stderr)
    return Verdict(
        kills=done,
        rows=len(frame),
        completed=int((frame["status"] == "completed").sum()),
        paid=sum(paid.values()),
        paid_twice=sum(count - 1 for count in paid.values()),
        held=int((frame["status"] == "unknown").sum()),
        wrong_hashes=len(wrong_hashes(killed.out)),
        same_results=same,
        seconds=time.monotonic() - began,
    )


def _kill_often(
    bench: Bench, kills: int, span_s: float, chance: random.Random, flags: tuple[str, ...]
) -> int:
    """Kill until it was done often enough, or the run has come to its end before."""
    for done in range(kills):
        process = bench.start(*flags)
        try:
            process.communicate(timeout=chance.uniform(0.0, span_s))
        except subprocess.TimeoutExpired:
            os.kill(process.pid, signal.SIGKILL)
            process.communicate()
        else:
            return done
    return kills


def main() -> None:
    """Print the verdict; fail on anything paid twice or lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--manifest", type=Path, default=Path("manifests/parti.yaml"))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--span", type=float, default=2.5, help="seconds after its start within which a run is killed"
    )
    parser.add_argument("--flags", default="", help="more flags of the run")
    parser.add_argument("--no-idempotency", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = campaign(
            Path(folder),
            given.manifest,
            kills=given.kills,
            span_s=given.span,
            flags=tuple(given.flags.split()),
            idempotency=not given.no_idempotency,
        )
    print(verdict)
    if verdict.paid_twice or verdict.wrong_hashes or verdict.completed + verdict.held != verdict.rows:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
