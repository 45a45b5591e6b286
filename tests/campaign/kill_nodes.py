"""Kill nodes of a Ray cluster with their disks, and drivers, again and again.

    python -m tests.campaign.kill_nodes --kills 20

A node that is killed is replaced by an empty one; a driver is started again, as a person would.
The service remembers no keys: whatever is sent once more is paid for twice, and its ledger tells.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from nanobanana_batch.results import read_results
from tests.cluster.fleet import Fleet, Machines, machines, service

_LATENCY_S = 2.0
_BETWEEN = 12
"""At most so many rows are paid for before the next kill is due."""
_ROWS_A_KILL = 2 * _BETWEEN
"""While nodes die and are replaced the others go on: so many rows leave some for the last kill."""
_TYPED_AGAIN = 5
_END_S = 600.0


@dataclass(frozen=True)
class Verdict:
    """What the service's ledger and the folders say after all kills."""

    nodes: int
    """Kills of both nodes, with all folders."""
    single: int
    """Kills of one node; the folders stay."""
    drivers: int
    rows: int
    completed: int
    held: int
    paid: int
    paid_twice: int
    exit_code: int
    said: str

    @property
    def kills(self) -> int:
        """How many there were: fewer than asked for show less."""
        return self.nodes + self.single + self.drivers


def campaign(folder: Path, *, rows: int, shards: int, kills: int, seed: int) -> Verdict:
    """One run on one cluster: kill so many times, run to the end, judge."""
    chance, done = random.Random(seed), {"nodes": 0, "single": 0, "drivers": 0}
    brought = folder / "brought"
    with service(folder, latency_s=_LATENCY_S) as running, machines(2) as found:
        run = Fleet(running, found, shards, "campaign", rows)
        driver = run.start("--bring-to", str(brought))
        for _ in range(kills):
            if not _goes_on(driver, run, chance.randint(1, _BETWEEN)):
                break
            what = chance.choice(sorted(done))
            done[what] += 1
            driver = _kill(what, run, found, driver, brought)
        code, said = _to_the_end(driver, run, brought)
        bodies = running.bodies_paid()
        statuses = [status for one in brought.glob("shard-*") for status in read_results(one)["status"]]
        return Verdict(
            **done,
            rows=rows,
            completed=statuses.count("completed"),
            held=statuses.count("unknown"),
            paid=sum(bodies.values()),
            paid_twice=sum(count - 1 for count in bodies.values()),
            exit_code=code,
            said=said[-2000:],
        )


def _goes_on(driver: subprocess.Popen[str], run: Fleet, more: int) -> bool:
    """Until so many more rows are paid for; False where the run has ended before."""
    goal, until = run.told("Accepted") + more, time.monotonic() + _END_S
    while run.told("Accepted") < goal and time.monotonic() < until:
        if driver.poll() is not None:
            return False
        time.sleep(0.1)
    return True


def _kill(
    what: str, run: Fleet, found: Machines, driver: subprocess.Popen[str], brought: Path
) -> subprocess.Popen[str]:
    if what == "drivers":
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
        return run.start("--bring-to", str(brought))
    count = 2 if what == "nodes" else 1
    found.kill(count)
    if what == "nodes":
        shutil.rmtree(run.out, ignore_errors=True)
    found.add(count)
    return driver


def _to_the_end(driver: subprocess.Popen[str], run: Fleet, brought: Path) -> tuple[int, str]:
    for _ in range(_TYPED_AGAIN):
        _, said = driver.communicate(timeout=_END_S)
        if driver.returncode == 0:
            break
        driver = run.start("--bring-to", str(brought))
    return driver.returncode, said


def main() -> None:
    """Run it and say what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=4)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        verdict = campaign(
            Path(folder),
            rows=_ROWS_A_KILL * given.kills,
            shards=given.shards,
            kills=given.kills,
            seed=given.seed,
        )
    print(verdict)
    is_well = verdict.completed + verdict.held == verdict.rows and not verdict.paid_twice
    is_well = is_well and verdict.kills == given.kills
    raise SystemExit(0 if is_well else 1)


if __name__ == "__main__":
    main()
